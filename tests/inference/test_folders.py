"""Folders and lists of pairs, and the functions `fuse` and `fuse_many`."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import check_refused, refusion, small_model
from support.networks import small_network
from support.scenes import textured

import refusion as package
from refusion.hub.errors import ModelError
from refusion.images import PictureError, read_picture
from refusion.models.model import ReFusion
from refusion.pairs.failures import FAILURES
from refusion.pairs.jobs import match_folders, read_list
from refusion.pairs.matching import RECORD

MODEL = small_network()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "model")


def fused_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in (RECORD, FAILURES))


def test_folders_are_matched_by_stem_and_what_is_done_is_skipped(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    command = ["fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model]
    result = refusion(*command)
    assert result.code == 0, result.err
    assert "6 fused, 0 already there, 0 failed." in result.out
    assert "--overwrite" not in result.out
    assert fused_names(out) == [f"scene{k}.png" for k in range(6)]
    one = ReFusion.from_pretrained(model).fuse(pair_folder / "ir" / "scene3.png", pair_folder / "vis" / "scene3.png")
    np.testing.assert_array_equal(np.asarray(Image.open(out / "scene3.png")), np.asarray(one))

    (out / "scene1.png").unlink()
    (out / "scene2.png").write_bytes(b"kept")
    again = refusion(*command, "--stretch").out
    assert "1 fused, 5 already there" in again
    assert "What was there is kept; --overwrite fuses it again with these options." in again
    assert (out / "scene2.png").read_bytes() == b"kept"
    assert "6 fused, 0 already there" in refusion(*command, "--overwrite").out
    assert (out / "scene2.png").read_bytes() != b"kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_ends_the_run(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "scene2.png").symlink_to("/dev/full")
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model)
    assert (result.code, fused_names(out)) == (1, [f"scene{k}.png" for k in range(3)])
    assert "2 fused, 0 already there, 1 failed." in result.out
    assert "scene2.png cannot be saved: No space left on device." in result.err
    assert "The disk is full, so the other 3 pairs were not fused; make room, and give the command again." in result.err


def test_results_of_other_settings_are_told_apart(model, pair_folder, tmp_path):
    out, note = tmp_path / "out", "of the kept results"
    command = ["fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model]
    refusion(*command)
    assert note not in refusion(*command).err
    for index in range(2):
        (out / f"scene{index}.png").unlink()
    mixed = refusion(*command, "--anchor", "none", "--nodata", "nan")
    differing = "anchor heat (now none); nodata not given (now nan)"
    assert f"Note: 4 {note} have other settings: {differing}." in mixed.err
    assert "2 fused, 4 already there" in mixed.out
    back = refusion(*command)
    assert f"Note: 2 {note} have other settings: anchor none (now heat); nodata nan (now not given)." in back.err

    other = small_model(tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    for path in other.glob("SHA256SUMS"):
        path.unlink()
    said = refusion(*command[:-1], other, "--overwrite").err
    assert note not in said
    (out / "scene3.png").unlink()
    assert f"Note: 5 {note} have other settings: another model or other weights." in refusion(*command).err
    assert note not in refusion(*command, "--quiet").err
    assert fused_names(out) == [f"scene{k}.png" for k in range(6)]
    assert RECORD not in refusion("fuse", out, pair_folder / "vis", "-o", tmp_path / "again", "--model", model).err
    (out / "scene3.png").unlink()
    assert refusion(*command).code == 0
    assert len((out / RECORD).read_text().splitlines()) == 4  # the same settings are not recorded again
    (out / "scene3.png").unlink()
    shutil.move(out / RECORD, tmp_path)
    (out / RECORD).mkdir()
    unrecorded = refusion(*command)
    assert unrecorded.code == 0
    assert "so a later run will not tell results of other settings apart" in unrecorded.err


def test_with_nothing_left_to_fuse_a_model_on_the_hub_need_not_be_there(pair_folder, tmp_path, model):
    command = ["fuse", pair_folder / "ir", pair_folder / "vis", "-o", tmp_path / "out", "--model"]
    refusion(*command, model)
    result = refusion(*command, "someone/other")
    assert result.code == 0
    assert "The settings of the kept results were not compared with those of now: There is no folder" in result.err


def test_a_damaged_record_of_settings_does_not_stop_a_run(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / RECORD).write_bytes(b'{"since": 1}\n[]\n\xff\n{"since": 0, "settings": {"anchor": "none"}}\n{"si')
    (out / "scene1.png").write_bytes(b"kept")
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model)
    assert result.code == 0
    assert "Note: 1 of the kept results has other settings: anchor none (now heat)." in result.err


def test_an_empty_file_and_a_folder_are_no_results(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    (out / "scene1.png").mkdir(parents=True)
    (out / "scene2.png").touch()
    (out / "scene3.png").write_bytes(b"kept")
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model)
    assert result.code == 1
    assert "4 fused, 1 already there, 1 failed." in result.out
    assert "scene1: scene1.png cannot be saved, since a folder has this name; rename one of them." in result.err
    assert read_picture(out / "scene2.png").size == (64, 48)


def test_a_failing_pair_is_reported_and_the_others_are_done(model, pair_folder, tmp_path):
    (pair_folder / "ir" / "scene2.png").write_bytes(b"broken")
    Image.fromarray(textured(1, 30, 40)).save(pair_folder / "vis" / "scene4.png")
    Image.fromarray(textured(1)).save(pair_folder / "vis" / "lonely.png")
    (pair_folder / "ir" / "notes.txt").write_text("no picture")
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", tmp_path / "out", "--model", model)
    assert result.code == 1
    assert "4 fused, 0 already there, 2 failed." in result.out
    assert "scene2: ir/scene2.png is not an image" in result.err
    assert "scene4: The two sources must show the same scene" in result.err
    assert "lonely.png in vis has no partner" in result.err
    assert fused_names(tmp_path / "out") == [f"scene{k}.png" for k in (0, 1, 3, 5)]


def test_packed_volumes_among_images_fail_under_their_whole_names(model, pair_folder, tmp_path):
    for folder in ("ir", "vis"):
        (pair_folder / folder / "pet.nii.gz").write_bytes(gzip.compress(b"damaged"))
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", tmp_path / "out", "--model", model)
    assert result.code == 1
    (failure,) = [json.loads(line) for line in (tmp_path / "out" / FAILURES).read_text().splitlines()]
    assert failure["id"] == "pet.nii.gz"
    assert failure["error"].startswith(
        "ir/pet.nii.gz is by its name a NIfTI volume (compressed with gzip), but damaged"
    )
    assert " pet.nii.gz: ir/pet.nii.gz is by its name a NIfTI volume" in result.err


def test_all_failures_are_in_a_file_until_they_are_mended(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    command = ["fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model]
    good = (pair_folder / "ir" / "scene0.png").read_bytes()
    for index in range(2, 6):
        (pair_folder / "ir" / f"scene{index}.png").write_bytes(b"broken")
    for index in range(7):
        (pair_folder / "vis" / f"lonely{index}.png").write_bytes(good)
    result = refusion(*command)
    assert f"2 fused, 0 already there, 4 failed. Written to {out}." in result.out
    assert f"Not fused, all in {out / FAILURES}: scene2: ir/scene2.png is not an image" in result.err
    assert result.err.endswith("left out: lonely4.png in vis has no partner in ir and 2 more like this")
    failures = [json.loads(line) for line in (out / FAILURES).read_text().splitlines()]
    assert [(one["row"], one["id"]) for one in failures[:4]] == [(index, f"scene{index}") for index in range(2, 6)]
    assert failures[3]["error"].startswith("ir/scene5.png is not an image")
    assert failures[-1] == {"row": None, "id": None, "error": "lonely6.png in vis has no partner in ir"}
    assert len(failures) == 4 + 7

    # A folder of results may be a source.
    assert "Skipped" not in refusion("fuse", out, pair_folder / "vis", "-o", tmp_path / "more", "--model", model).err
    for index in range(7):
        (pair_folder / "vis" / f"lonely{index}.png").unlink()
    (pair_folder / "ir" / "scene2.png").write_bytes(good)
    assert refusion(*command, "--quiet").code == 1
    assert [json.loads(line)["row"] for line in (out / FAILURES).read_text().splitlines()] == [3, 4, 5]
    for index in range(3, 6):
        (pair_folder / "ir" / f"scene{index}.png").write_bytes(good)
    assert refusion(*command).code == 0
    assert not (out / FAILURES).exists()


def test_a_file_named_like_the_list_of_failures_is_kept(model, pair_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / FAILURES).write_text('{"a": "ir/1.png", "b": "vis/1.png"}\n')
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model)
    check_refused(result, "failures.jsonl is there and is no list of failures, so it is kept; move it elsewhere.")
    assert [path.name for path in out.iterdir()] == [FAILURES]


def test_patterns_pair_files_of_one_folder(model, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for seed, name in enumerate(("x_ir.png", "x_vis.png", "y_ir.png", "y_vis.bmp", "other.png")):
        Image.fromarray(textured(seed)).save(folder / name)
    command = ["fuse", folder, "-o", tmp_path / "out", "--model", model, "--suffix", "tif"]
    assert refusion(*command, "--match", "*_ir.*", "*_vis.*").code == 0
    assert fused_names(tmp_path / "out") == ["x.tif", "y.tif"]
    check_refused(refusion(*command), "--match")


def test_results_of_folders_are_not_written_to_the_name_of_a_file(pair_folder, tmp_path):
    for name in ("fused.png", "fused.MP4"):
        result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", tmp_path / name)
        check_refused(result, "are written to a folder; give the name of one, such as fused.")
        assert not (tmp_path / name).exists()


def test_folders_that_do_not_fit_are_refused(pair_folder, tmp_path):
    ir, vis = pair_folder / "ir", pair_folder / "vis"
    with pytest.raises(PictureError, match="output folder ir is one of the source folders"):
        match_folders(ir, vis, ir)
    with pytest.raises(PictureError, match="has a partner"):
        match_folders(ir, vis, tmp_path / "out", patterns=("*_ir.*", "*_vis.*"))
    with pytest.raises(PictureError, match="needs one"):
        match_folders(ir, vis, tmp_path / "out", patterns=("ir.png", "*"))
    with pytest.raises(PictureError, match=r"cannot have the suffix \.gif"):
        match_folders(ir, vis, tmp_path / "out", ".gif")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_results_that_would_replace_sources_are_refused(model, pair_folder, tmp_path, overwrite):
    ir, vis, out = pair_folder / "ir", pair_folder / "vis", tmp_path / "out"
    out.mkdir()
    (out / "scene3.png").symlink_to(vis / "scene4.png")
    for folder in (ir, vis):
        (folder / "vis").mkdir()
        Image.fromarray(textured(9)).save(folder / "vis" / "scene1.png")
    before = {path: path.read_bytes() for path in pair_folder.rglob("*.png")}
    own, other = pair_folder / "own.csv", pair_folder / "other.csv"
    own.write_text("a,b\nir/scene0.png,vis/scene0.png\n")
    other.write_text("a,b,output\nir/scene0.png,vis/scene0.png,\nir/scene1.png,vis/scene1.png,vis/scene0.png\n")
    for sources, target, words in (
        ([own], ir, "own.csv, line 2: the output scene0.png is one of the sources"),
        ([other], pair_folder, "other.csv, line 3: the output vis/scene0.png is one of the sources"),
        ([ir, vis], pair_folder, "The result vis/scene1.png in pairs is one of the sources"),
        ([ir, vis], out, "The result scene3.png in out is one of the sources"),
    ):
        check_refused(refusion("fuse", *sources, "-o", target, "--model", model, *overwrite), words)
    assert {path: path.read_bytes() for path in pair_folder.rglob("*.png")} == before
    assert fused_names(out) == ["scene3.png"]


def test_folders_of_results_that_cannot_be_are_refused_before_anything_is_fused(model, pair_folder, tmp_path):
    for folder in ("ir", "vis"):
        (pair_folder / folder / "sub").mkdir()
        Image.fromarray(textured(9)).save(pair_folder / folder / "sub" / "scene9.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("a file")
    targets = [(out, "The output sub is a file, but a folder is needed")]
    if Path("/proc/self").is_dir():
        targets.append((Path("/proc/refusion"), "Nothing can be written to the folder /proc: No such file"))
    for target, words in targets:
        check_refused(refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", target, "--model", model), words)
    assert fused_names(out) == ["sub"]


def test_line_breaks_and_control_characters_in_names_are_escaped(model, pair_folder, tmp_path):
    name = "x\n0 failed\x1b[2K\u202e.png"
    escaped = r"x\n0 failed\x1b[2K\u202e"
    for folder in ("ir", "vis"):
        (pair_folder / folder / "scene1.png").rename(pair_folder / folder / name)
    (pair_folder / "ir" / name).write_bytes(b"no image")
    Image.fromarray(textured(8)).save(pair_folder / "ir" / f"alone {name}")
    (pair_folder / "vis" / f"{name}.md").touch()
    out = tmp_path / f"out\n{name}".removesuffix(".png")
    result = refusion("fuse", pair_folder / "ir", pair_folder / "vis", "-o", out, "--model", model)
    assert result.code == 1
    assert f"Not fused, all in {tmp_path / 'out'}\\n{escaped}/failures.jsonl: {escaped}: " in result.err
    assert escaped.replace("\\", "\\\\") in (out / FAILURES).read_text("utf-8")
    assert f"alone {escaped}.png in ir has no partner" in result.err
    assert f"{escaped}.png.md." in result.err
    assert len(result.out.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(result.out + result.err)
    assert len(fused_names(out)) == 5
    result = refusion("evaluate", "--data", pair_folder, "--fused", out, "--metrics", "SD")
    assert f"left out: alone {escaped}.png in ir" in result.err
    assert not {"\x1b", "\u202e"} & set(result.out + result.err)


def test_lists(model, pair_folder, tmp_path):
    csv = pair_folder / "pairs.csv"
    csv.write_text("a,b,output\nir/scene0.png,vis/scene0.png,\nir/scene1.png,vis/scene1.png,deep/one.tif\n")
    result = refusion("fuse", csv, "-o", tmp_path / "out", "--model", model)
    assert result.code == 0, result.err
    assert fused_names(tmp_path / "out") == ["deep", "scene0.png"]
    assert fused_names(tmp_path / "out" / "deep") == ["one.tif"]
    rows = [{"a": "ir/scene2.png", "b": "vis/scene2.png", "output": "two.png"}, {"a": "gone.png", "b": "gone.png"}]
    lines = pair_folder / "pairs.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    result = refusion("fuse", lines, "-o", tmp_path / "lines", "--model", model)
    assert result.code == 1
    assert f"There is no file gone.png; check the path {pair_folder / 'gone.png'}." in result.err
    assert fused_names(tmp_path / "lines") == ["two.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n", "lists no pair"),
        ("x,y\n1,2\n", "has the columns x, y, but it needs a and b"),
        ("a,b,output\n1.png,2.png,../over.png\n", "outside of the output folder"),
        ("a,b,output\n1.png,2.png,o.gif\n", "pairs.csv, line 2: o.gif ends in .gif"),
        ("a,b,output\n1.png,2.png,o\n", "pairs.csv, line 2: o has no suffix"),
        ("a,b,a\n1.png,2.png,3.png\n", "has the column a more than once; remove or rename all but one"),
        ("a,b\n1.png,2.png,o.png\n", "line 2 has more values than the list has columns; name all columns in the"),
        ("a,b\n1.png,2.png\nir/a,b.png,vis/a,b.png\n", "line 3 has more values than the list has columns"),
        ("a,b,output\n1.png,2.png,o.png\n3.png,4.png,o.png\n", "line 3: line 2 has the output o.png too"),
        ("a,b,output\n1.png,2.png,o.png\n3.png,4.png,O.PNG\n", "line 3: line 2 has the output O.PNG too"),
        ("a,b,output\n1.png,2.png,o.png\n3.png,4.png,x/../o.png\n", "line 3: line 2 has the output x/../o.png too"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, content, words):
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(PictureError) as caught:
        read_list(tmp_path / "pairs.csv", tmp_path / "out")
    assert words in str(caught.value)


def test_blank_lines_above_a_list_and_empty_values_behind_it_do_not_count(tmp_path):
    (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbf\r\n\r\na,b\r\n1.png,2.png,,\r\n\r\n3.png,,\r\n")
    jobs = read_list(tmp_path / "pairs.csv", tmp_path / "out")
    assert [job.name for job in jobs.pairs] == ["1.png"]
    assert [sentence.partition(":")[0] for sentence in jobs.unmatched] == ["pairs.csv, line 6"]


def test_blanks_around_the_columns_of_a_list_do_not_count(tmp_path):
    (tmp_path / "pairs.csv").write_text("a , b , output \n one.png , two.png , three.png \nfour.png,five.png, \n")
    jobs = read_list(tmp_path / "pairs.csv", tmp_path / "out").pairs
    assert [(job.a.name, job.b.name, job.name) for job in jobs] == [
        ("one.png", "two.png", "three.png"),
        ("four.png", "five.png", "four.png"),
    ]


def test_a_name_that_is_too_long_fails_alone(model, pair_folder, tmp_path):
    long = f"{'ü' * 130}.png"
    (pair_folder / "pairs.csv").write_text(
        f"a,b,output\nir/scene0.png,vis/scene0.png,{long}\n{long},vis/scene1.png,1.png\n"
        f"ir/scene2.png,vis/scene2.png,2.png\nir/scene3.png,vis/scene3.png,{long}/3.png\n"
    )
    result = refusion("fuse", pair_folder / "pairs.csv", "-o", tmp_path / "out", "--model", model)
    assert result.code == 1
    assert "1 fused, 0 already there, 3 failed." in result.out
    assert f"{tmp_path / 'out' / long} cannot be used: File name too long." in result.err
    assert f"{long} cannot be saved: File name too long." in result.err
    assert f"{long} cannot be opened: File name too long." in result.err
    assert fused_names(tmp_path / "out") == ["2.png"]


def test_a_list_that_is_no_json_names_the_line(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"a": "1.png", "b": "2.png"}\nnothing\n')
    with pytest.raises(PictureError, match=r"pairs\.jsonl, line 2 is not JSON"):
        read_list(tmp_path / "pairs.jsonl", tmp_path / "out")


def test_a_killed_run_leaves_whole_files_and_the_next_one_goes_on(model, tmp_path):
    for offset, folder in ((0, "ir"), (50, "vis")):
        (tmp_path / folder).mkdir()
        for index in range(16):
            Image.fromarray(textured(index + offset, 128, 128)).save(tmp_path / folder / f"{index}.png")
    out = tmp_path / "out"
    arguments = ["fuse", tmp_path / "ir", tmp_path / "vis", "-o", out, "--model", model]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "refusion", *map(str, arguments)], env=environment)
    while process.poll() is None and not (out.is_dir() and len(list(out.glob("*.png"))) >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = list(out.glob("[0-9]*.png"))
    assert 0 < len(done) < 16
    for path in done:
        assert read_picture(path).size == (128, 128)
    assert f"{16 - len(done)} fused, {len(done)} already there" in refusion(*arguments).out


def test_a_run_that_the_user_stops_says_what_was_done_and_what_failed(model, tmp_path):
    for offset, folder in ((0, "ir"), (50, "vis")):
        (tmp_path / folder).mkdir()
        for index in range(10, 40):
            Image.fromarray(textured(index + offset, 128, 128)).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "ir" / "10.png").write_bytes(b"")
    out = tmp_path / "out"
    command = ["fuse", tmp_path / "ir", tmp_path / "vis", "-o", out, "--model", model]
    # Started in the background, a process may ignore the signal.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "from refusion.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (out.is_dir() and len(list(out.glob("[0-9]*.png"))) >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=100)
    assert process.returncode == 130, error
    assert "0 already there, 1 failed." in said
    assert "10: ir/10.png is an empty file" in error
    assert "The run was stopped, so the other " in error
    assert "Traceback" not in error


def test_fuse_gives_pictures_arrays_and_files(tmp_path):
    a, b = textured(1), textured(2)
    fused = package.fuse([a, b], model=MODEL)
    expected = np.asarray(MODEL.fuse(a, b))
    np.testing.assert_array_equal(fused.to_array(), expected)
    np.testing.assert_array_equal(np.asarray(fused.to_image()), expected)
    fused.save(tmp_path / "f.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "f.png")), expected)
    assert (fused.size, fused.notes, fused.alignment) == ((64, 48), (), None)
    deep = np.stack([a, b, a], axis=-1).astype(np.uint16) * 257
    coloured = package.fuse([a, deep], model=MODEL)
    assert coloured.to_array().dtype == np.uint16
    coloured.save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png").bits == 16


def test_fuse_takes_stacks_that_are_resized_and_aligned():
    stack = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
    rng = np.random.default_rng(1)
    scene = rng.integers(0, 256, (14, 18)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
    frames = [np.ascontiguousarray(np.roll(scene, shift, axis=1)[8:-8, 8:-8]) for shift in (0, 3, 6)]
    fused = package.fuse(frames, model=stack, align="translation", output_range="network")
    assert len(fused.notes) == 2
    middle = np.s_[:, 12:-12]
    aligned = np.abs(fused.to_array()[middle].astype(int) - frames[0][middle])
    plain = package.fuse(frames, model=stack, output_range="network").to_array()[middle]
    assert aligned.mean() < 0.3 * np.abs(plain.astype(int) - frames[0][middle]).mean()
    larger = Image.fromarray(frames[1]).resize((400, 304))
    with pytest.raises(PictureError, match="All images of a stack"):
        package.fuse([frames[0], larger, frames[2]], model=stack)
    assert package.fuse([frames[0], larger, frames[2]], model=stack, resize="a").size == frames[0].shape[::-1]


def test_fuse_many_goes_on_after_a_failure_and_takes_pairs_as_needed():
    taken = []

    def pairs():
        for index in range(6):
            taken.append(index)
            yield (textured(index), textured(50 + index)[:, : 64 if index != 1 else 32])

    outcomes = package.fuse_many(pairs(), model=MODEL)
    first = next(outcomes)
    assert len(taken) <= 3
    rest = [first, *outcomes]
    assert [outcome.index for outcome in rest] == list(range(6))
    assert isinstance(rest[1].error, PictureError)
    assert rest[1].fused is None
    for index in (0, 2, 5):
        expected = np.asarray(MODEL.fuse(textured(index), textured(50 + index)))
        np.testing.assert_array_equal(rest[index].fused.to_array(), expected)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_fuse_many_yields_the_pairs_before_an_error_of_the_iterable(batch_size):
    def pairs():
        for index in range(3):
            yield textured(index), textured(50 + index)
        raise RuntimeError("no more frames")

    outcomes = package.fuse_many(pairs(), model=MODEL, batch_size=batch_size)
    assert [next(outcomes).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="no more frames"):
        next(outcomes)


def test_fuse_many_checks_its_options_when_it_is_called_and_not_its_pairs():
    with pytest.raises(ValueError, match="0 pairs"):
        package.fuse_many([], model=MODEL, batch_size=0)
    with pytest.raises(ModelError, match="refusion-nothing"):
        package.fuse_many([], model="refusion-nothing")
    pair = (textured(1), textured(2))
    outcomes = list(package.fuse_many([Path("a.png"), "a.png", None, pair[:1], pair], model=MODEL))
    assert [outcome.reason for outcome in outcomes] == [
        f"A pair is two images, as in (a, b), but a single {type(Path()).__name__} was given.",
        "A pair is two images, as in (a, b), but a single str was given.",
        "A pair is two images, as in (a, b), but a single NoneType was given.",
        "A pair is two images, but 1 was given.",
        "",
    ]


def test_a_stack_on_the_command_line_has_the_task_of_its_model(tmp_path):
    model = small_model(tmp_path / "model", "multi-focus")
    paths = [tmp_path / f"frame{index}.png" for index in range(4)]
    for index, path in enumerate(paths):
        Image.fromarray(textured(index)).save(path)
    command = ["-o", tmp_path / "f.png", "--model", model, "--task", "multi-focus"]
    assert refusion("fuse", *paths, *command).code == 0
    first = (tmp_path / "f.png").read_bytes()
    assert refusion("fuse", *paths[::-1], *command).code == 0
    assert (tmp_path / "f.png").read_bytes() == first
    assert refusion("fuse", *paths, "-o", tmp_path / "own.png", "--model", model).code == 0
    assert (tmp_path / "own.png").read_bytes() == first
    check_refused(
        refusion("fuse", *paths, "-o", tmp_path / "g.png", "--model", model, "--task", "ir-vis"),
        "ir-vis fuses two images of different kinds",
    )
