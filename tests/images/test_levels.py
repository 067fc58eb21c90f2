"""Depth and range: one rule for every source and every command."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.command import refusion, small_model
from support.networks import small_network
from support.scenes import textured

from refusion import fuse
from refusion.images import PictureError, Reading, read_pair, read_picture
from refusion.images.levels import missing_values
from refusion.models.model import ReFusion
from refusion.training.command import main as train
from refusion.training.flags import make_parser, reading_from

MODEL = small_network()
FOCUS = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
UNIT = textured(3) / 255
COUNTS = (7300 + 600 * UNIT).astype(np.uint16)


def with_outliers(values, *places):
    values = values.copy()
    for place, value in places:
        values[place] = value
    return values


@pytest.mark.parametrize("bad", [((5, 6), 16383), ((40, 2), 0), ((0, 0), 65535)], ids=str)
def test_one_pixel_moves_neither_the_own_range_nor_the_note(bad):
    broken = with_outliers(COUNTS, bad)
    good = np.ones(COUNTS.shape, bool)
    good[bad[0]] = False
    own, whole = (read_picture(values, window="own").luminance for values in (broken, COUNTS))
    np.testing.assert_allclose(own[good], whole[good], atol=0.03)
    for values in (broken, COUNTS):
        assert "with little contrast" in (read_picture(values).note or "")


def test_a_small_cloud_does_not_count():
    field = (3000 * UNIT).astype(np.uint16)
    clouded = field.copy()
    clouded[:3, :5] = 15_000
    own, clear = (read_picture(values, window="own").luminance for values in (clouded, field))
    assert np.abs(own[3:] - clear[3:]).max() < 0.05
    clouded[:3, :5] = 60_000
    assert "Except for 1 % of the pixels, array uses only" in (read_picture(clouded).note or "")


def test_one_hot_pixel_does_not_set_the_own_range_of_a_small_image():
    hot = (3000 * UNIT[:10, :10]).astype(np.uint16)
    hot[4, 4] = 60_000
    assert (read_picture(hot, window="own").luminance == 1).sum() == 1 + (hot == np.sort(hot.ravel())[-2]).sum()


def test_a_cloud_that_takes_up_the_own_range_is_said():
    field = (3000 * UNIT).astype(np.uint16)
    clouded = field.copy()
    clouded[:6, :8] += 57_000
    (note,) = Reading("own").notes([read_picture(clouded, window="own")])
    assert "Nearly all pixels of array (all but 4 %) use less than a tenth of its own range" in note
    assert "--window LOW HIGH" in note
    for values, window in ((field, "own"), (clouded, (0, 3000)), (np.full_like(field, 7), "own")):
        assert read_picture(values, window=window).note is None


def test_a_colour_pixel_has_no_data_if_no_channel_has_or_if_one_is_no_number():
    values = np.array([[[0, 0, 0], [0, 5, 0]]], np.float32)
    assert missing_values(values, 0).tolist() == [[True, False]]
    values[0, 1, 1] = np.nan
    assert missing_values(values, np.nan).tolist() == [[False, True]]


@pytest.mark.parametrize("missing", [0, 65_535])
def test_a_value_far_from_all_others_is_said_to_be_perhaps_missing(missing):
    scene = 30_000 + 3000 * UNIT
    border = scene.copy()
    border[:10] = missing
    note = read_picture(border.astype(np.uint16), window="own").note
    assert f"have the value {missing}, far from all others, 3" in note
    assert f"use --nodata {missing} (nodata={missing})" in note
    specks = np.full_like(scene, 30_000)
    specks[0, :2] = missing, 30_100  # alone they set the range, but a pixel is not what is meant by missing
    two = np.where(scene > 31_000, 33_000, missing)
    for values, nodata in ((border, missing), (scene, None), (two, None), (specks, None)):
        note = read_picture(values.astype(np.uint16), window="own", nodata=nodata).note
        assert "far from all others" not in (note or "")


def test_a_note_from_less_than_a_quarter_of_the_range_on():
    for share, noted in ((0.2, True), (0.24, True), (0.26, False), (1, False)):
        values = np.linspace(0, share, 64 * 64).reshape(64, 64)
        for source in (values, (values * 65535).astype(np.uint16)):
            assert ("with little contrast" in (read_picture(source).note or "")) == noted
    assert read_picture((UNIT * 60).astype(np.uint8)).note is None
    assert read_picture(np.full((16, 16), 500, np.uint16)).note is None


def test_a_window_beside_all_values_is_refused():
    kelvin = (29315 + 3000 * UNIT).astype(np.uint16)
    with pytest.raises(PictureError, match=r"array lies in the window 20 to 50: they range from 29\d+ to 3"):
        read_picture(kelvin, window=(20, 50))
    touched = read_picture(with_outliers(kelvin, ((0, 0), 30)), window=(20, 50))
    assert "lies beyond the white end of the window, 20 to 50" in (touched.note or "")


def test_a_window_that_float32_cannot_span_gives_its_white():
    picture = read_picture(np.zeros((8, 8), np.uint16), window=(-1e-46, 0.0))
    np.testing.assert_array_equal(picture.luminance, 1)


def test_a_window_that_burns_a_source_out_is_said(tmp_path):
    mri = (2800 * (UNIT - UNIT.min()) / np.ptp(UNIT)).astype(np.uint16)
    assert "lies beyond the white end of the window, 0 to 80" in (read_picture(mri, window=(0, 80)).note or "")
    background = np.where(mri < 2000, 0, mri).astype(np.uint16)
    assert read_picture(background, window=(0, 80)).note.startswith("100 % of array")
    # Where white is zero, the white end of a window is its lower one.
    tifffile.imwrite(tmp_path / "inverted.tif", 4000 - background, photometric="miniswhite")
    burnt = read_picture(tmp_path / "inverted.tif", window=(2500, 4000)).note
    assert burnt is not None
    assert "white end of the window, 2500 to 4000" in burnt
    assert read_picture(tmp_path / "inverted.tif", window=(1200, 4000)).note is None
    # Bone above the window of the brain, and air below it, are meant to be lost.
    ct = (4000 * (UNIT - UNIT.min()) / np.ptp(UNIT) - 1000).astype(np.float32)
    for window in ((-160, 1500), (400, 1800), (0, 2400), "own"):
        assert read_picture(ct, window=window).note is None


def test_a_window_for_each_source():
    ct, mri = (2000 * UNIT - 1000).astype(np.float32), (900 * UNIT[::-1]).astype(np.uint16)
    a, b = read_pair(ct, mri, window=[(-160, 240), (0, 900)])
    np.testing.assert_allclose(a.luminance, np.clip((ct + 160) / 400, 0, 1), atol=1e-5)
    np.testing.assert_allclose(b.luminance, mri / 900, atol=1e-5)
    a, b = read_pair(ct, mri, window=["own", None])
    assert a.luminance.max() == 1
    assert b.luminance.max() < 0.02
    for window, words in (([(0, 1)] * 3, "3 windows were given for 2"), ([(1, 0), None], "A window must be two")):
        with pytest.raises(PictureError, match=words):
            MODEL.fuse(ct, mri, window=window)


def test_one_camera_has_one_own_range():
    dark, bright = (1000 * UNIT + 200).astype(np.uint16), (9000 * UNIT + 1500).astype(np.uint16)
    apart = Reading("own").all([dark, bright])
    together = Reading("own", alike=True).all([dark, bright, bright])
    assert np.ptp(apart[0].luminance) == 1
    assert together[0].luminance.max() < 0.2
    assert together[1].luminance.max() == together[2].luminance.max() == 1
    one = np.sort(dark.ravel())[15]
    top = np.sort(bright.ravel())[-16]
    np.testing.assert_allclose(
        together[0].luminance, np.clip((dark - float(one)) / (top - float(one)), 0, 1), atol=1e-5
    )
    # The note is on all together, too: the darker one alone would have one.
    wide = (30000 * UNIT).astype(np.uint16)
    assert Reading(alike=True).notes([read_picture(x) for x in (bright, wide)]) == []
    assert len(Reading().notes([read_picture(x) for x in (bright, wide)])) == 1
    fused = FOCUS.fuse_stack([dark, wide, bright])
    assert not any("use only" in note for note in fused.notes)
    assert "and the others together use only" in FOCUS.fuse_stack([dark, dark, bright // 2]).notes[0]


def test_an_image_of_fewer_bits_than_the_others_is_said():
    twelve, sixteen, eight = (4095 * UNIT).astype(np.uint16), (65535 * UNIT).astype(np.uint16), textured(3)
    for others in ([sixteen], [eight], [sixteen, sixteen], [eight, eight], [eight, sixteen]):
        notes = Reading(alike=True).notes([read_picture(twelve, name="a.tif"), *map(read_picture, others)])
        assert len(notes) == 1
        assert "a.tif uses less than 1/16 of the scale, unlike the others, as 12 bits stored in 16 do" in notes[0]
        assert Reading(alike=True).notes([read_picture(twelve, window=(0, 4095)), *map(read_picture, others)]) == []
    assert Reading(alike=True).notes([read_picture(x) for x in (sixteen, eight, sixteen // 2)]) == []
    flat = np.full_like(twelve, 500)
    assert Reading(alike=True).notes([read_picture(x) for x in (sixteen, flat)]) == []


def test_options_without_effect_are_said():
    eight = textured(1), textured(2)
    notes = MODEL.fuse(*eight, window=(10, 40), temperatures=True, nodata=-9999).notes
    assert [note for note in notes if "has no effect on array (first) and array (second): images of 8 bits" in note]
    assert [note for note in notes if "--temperatures has no effect" in note]
    assert [note for note in notes if "--nodata -9999 has no effect" in note]
    assert MODEL.fuse(COUNTS, eight[1], window="own").notes == ()
    only_b = MODEL.fuse(COUNTS, eight[1], window=["own", (10, 40)]).notes
    assert [note for note in only_b if "has no effect on array (second): images" in note]


def test_options_of_other_inputs_are_said(tmp_path):
    model = small_model(tmp_path / "model")
    for name, seed in (("a.png", 1), ("b.png", 2)):
        Image.fromarray(textured(seed)).save(tmp_path / name)
    pair = ["fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "f.png", "--model", model]
    assert refusion(*pair).err == ""
    assert "--crop and --motion change nothing without --align" in refusion(*pair, "--crop").err
    said = refusion(*pair, "--overwrite", "--side-by-side").err
    assert "--overwrite and --side-by-side change nothing here" in said
    assert refusion(*pair, "--crop", "--overwrite", "--quiet").err == ""


# The same in every command


@pytest.fixture
def deep_pairs(tmp_path):
    """The same five pairs twice: infrared of 8 bits, and as counts of 14 bits."""
    for index in range(5):
        infrared, visible = textured(index), Image.fromarray(textured(index + 100))
        for folder in ("d8", "d14"):
            for side in ("ir", "vis"):
                (tmp_path / folder / side).mkdir(parents=True, exist_ok=True)
            visible.save(tmp_path / folder / "vis" / f"{index}.png")
        Image.fromarray(infrared).save(tmp_path / "d8" / "ir" / f"{index}.png")
        counts = (7300 + 2 * infrared.astype(np.uint16)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "d14" / "ir" / f"{index}.tif", counts)
    return tmp_path


def test_evaluate_reads_as_fuse_does(deep_pairs):
    model = small_model(deep_pairs / "model")
    said, means = {}, {}
    for name, *options in (("d8",), ("d14",), ("d14", "--window-a", 7300, 7810), ("d14", "--own-range")):
        report = deep_pairs / "report.json"
        done = refusion("evaluate", "--data", deep_pairs / name, "--model", model, "--json", report, *options)
        assert done.code == 0
        key = " ".join(map(str, (name, *options[:1])))
        said[key], means[key] = done.err, next(iter(json.loads(report.read_text())["models"].values()))["mean"]
    assert "with little contrast" in said["d14"]
    for key in ("d8", "d14 --own-range", "d14 --window-a"):
        assert "with little contrast" not in said[key]
    for figure, value in means["d8"].items():
        if value is None:
            continue
        assert means["d14 --window-a"][figure] == pytest.approx(value, rel=1e-3, abs=1e-3)
    assert means["d14"]["SD"] != pytest.approx(means["d8"]["SD"], rel=0.02)


def test_training_reads_as_fuse_does(deep_pairs, capfd):
    begin = ["--task", "ir-vis", "--data", str(deep_pairs / "d14"), "--crop", "16", "--batch-size", "1", "--steps", "1"]
    small = [*begin, "--device", "cpu"]
    assert train([*small, "--out", str(deep_pairs / "plain")]) == 0
    assert "with little contrast" in capfd.readouterr().err
    assert train([*small, "--out", str(deep_pairs / "own"), "--own-range"]) == 0
    assert "with little contrast" not in capfd.readouterr().err
    assert json.loads((deep_pairs / "own" / "settings.json").read_text())["arguments"]["own_range"] is True
    assert train([*small, "--out", str(deep_pairs / "own"), "--resume"]) == 0
    assert "with little contrast" not in capfd.readouterr().err
    # Other pairs, or the same ones read otherwise, are not what the run was started with.
    assert train([*small, "--out", str(deep_pairs / "own"), "--nodata", "3", "--resume"]) == 2
    assert "started with other values for --nodata" in " ".join(capfd.readouterr().err.split())
    tifffile.imwrite(deep_pairs / "d14" / "ir" / "0.tif", COUNTS)
    assert train([*small, "--out", str(deep_pairs / "own"), "--own-range", "--resume"]) == 2
    assert "are not those that own was started with" in " ".join(capfd.readouterr().err.split())


def test_the_flags_of_training_say_how_pairs_are_read():
    from refusion.tasks import get_task

    flags = ["--data", "d", "--out", "o", "--window-b", "0", "900", "--nodata", "nan", "--temperatures"]
    reading = reading_from(make_parser().parse_args(flags), get_task("multi-focus"))
    assert reading.windows([COUNTS, COUNTS]) == [None, (0, 900)]
    assert np.isnan(reading.nodata)
    assert (reading.temperatures, reading.alike) == (True, True)


def test_the_other_commands_read_as_fuse_does(deep_pairs):
    model = small_model(deep_pairs / "model")
    a, b = deep_pairs / "d14" / "ir" / "0.tif", deep_pairs / "d14" / "vis" / "0.png"
    fuse = ["fuse", a, b, "-o", deep_pairs / "f.png", "--model", model]
    assert "with little contrast" in refusion(*fuse).err
    assert refusion(*fuse, "--own-range").err == ""
    assert refusion(*fuse, "--window", "7300", "7810").err == ""
    assert "Give either --window or --own-range" in refusion(*fuse, "--window", "0", "9", "--own-range").err
    bulk = ["fuse-dataset", deep_pairs / "d14", deep_pairs / "out", "--model", model, "--device", "cpu"]
    for _ in range(2):  # The second time goes on with what is done.
        done = refusion(*bulk, "--window-a", "7300", "7810", "--scores", "--nodata", "nan")
        assert done.code == 0, done.err
    import pyarrow.parquet as pq

    rows = pq.read_table(next((deep_pairs / "out" / "data").glob("*.parquet"))).to_pylist()
    assert all("--nodata nan has no effect" in row["note"] and "contrast" not in row["note"] for row in rows)
    explain = ["explain", a, b, "-o", deep_pairs / "explained"]
    assert "with little contrast" in refusion(*explain).err
    assert refusion(*explain, "--own-range").err == ""


def test_a_nodata_value_is_a_number():
    with pytest.raises(PictureError, match=r"must be a number, or math\.nan; 'nan' was given"):
        read_picture(np.zeros((16, 16), np.uint16), nodata="nan")


@pytest.mark.parametrize("nodata", ["nan", "0", [0], True])
def test_a_nodata_value_that_is_no_number_is_refused_for_any_source(nodata):
    with pytest.raises(PictureError, match=r"must be a number, or math\.nan"):
        fuse(textured(1), textured(2), nodata=nodata)
