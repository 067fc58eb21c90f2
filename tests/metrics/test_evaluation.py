"""Scores over a set of pairs, through the command that prints and writes them."""

import csv
import json
import math
import os
import re
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import datasets
import numpy as np
import pytest
import typer
from PIL import Image, PngImagePlugin
from support import program
from support.command import check_refused, refusion
from support.scenes import textured

from refusion.cli.evaluate import evaluate as evaluate_command
from refusion.hub.folder import save_model
from refusion.images import PictureError, Reading
from refusion.inference.offsets import offset_note
from refusion.metrics.conventions import REFUSION
from refusion.metrics.defects import border_step_ratio
from refusion.metrics.evaluation import evaluate
from refusion.metrics.fusion import DEFAULT_METRICS, mef_ssim, score
from refusion.metrics.reports import Report, to_csv, to_json
from refusion.metrics.scoring import SCORED, levels, scored_metrics
from refusion.metrics.tables import to_markdown
from refusion.models.model import ReFusion
from refusion.pairs.dataset import Pairs, load_pairs, read_row
from refusion.pairs.errors import DataError
from refusion.pairs.fused_folder import FusedFolder
from refusion.pairs.sources import open_source
from refusion.system.markdown import NOTHING
from refusion.tasks import get_task


@pytest.fixture
def model(tmp_path) -> ReFusion:
    model = ReFusion(channels=8, heads=4, blocks=1).eval()
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model, model.config)
    return model


@pytest.fixture
def pair_folder(pair_folder) -> Path:
    """Pairs of one scene each: unrelated textures may seem to be off by a pixel, which a note would say."""
    for index in range(6):
        first, second = (pair_folder / side / f"scene{index}.png" for side in ("ir", "vis"))
        average(first, second).save(second)
    return pair_folder


@pytest.fixture
def pairs(pair_folder) -> Pairs:
    return load_pairs(pair_folder, get_task("ir-vis"))


def average(a, b) -> Image.Image:
    return Image.blend(Image.open(a), Image.open(b), 0.5)


@pytest.fixture
def averages(pair_folder, tmp_path) -> Path:
    """Plain averages of the pairs, in a folder of their own."""
    folder = tmp_path / "averages"
    folder.mkdir()
    for index in range(6):
        sources = (pair_folder / side / f"scene{index}.png" for side in ("ir", "vis"))
        average(*sources).save(folder / f"scene{index}{'.png' if index % 2 else '.TIF'}")
    return folder


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_scores_are_those_of_the_pictures_that_a_user_gets(pairs, model):
    evaluation = evaluate(pairs, model.fuse)
    assert [row.name for row in evaluation.scored] == [f"scene{i}" for i in range(6)]
    assert evaluation.failed == []
    sources = read_row(pairs.dataset[2])
    a, b, fused = (*map(levels, sources), np.asarray(model.fuse(*sources)).astype(float))
    expected = score(a, b, fused) | {"border": border_step_ratio(a, b, fused)}
    assert evaluation.scored[2].scores == pytest.approx(expected)
    values = [row.scores["EN"] for row in evaluation.scored]
    statistic = evaluation.statistic("EN")
    assert statistic.mean == pytest.approx(np.mean(values))
    assert statistic.std == pytest.approx(np.std(values))
    assert statistic.count == 6


def test_each_task_has_its_metrics(pairs):
    assert scored_metrics(get_task("ir-vis")) == (*DEFAULT_METRICS, "border", "heat", "bright")
    assert scored_metrics(get_task("multi-focus")) == (*DEFAULT_METRICS, "border", "sharp", "agree")
    assert scored_metrics(get_task("medical")) == (*DEFAULT_METRICS, "border", "background")
    metrics = scored_metrics(get_task("multi-exposure"))
    assert metrics == (*DEFAULT_METRICS, "MEF-SSIM", "border")
    scores = evaluate(pairs, average, metrics).scored[0].scores
    assert tuple(scores) == metrics
    row = pairs.dataset[0]
    fused = np.asarray(average(row["a"]["path"], row["b"]["path"])).astype(float)
    assert scores["MEF-SSIM"] == pytest.approx(mef_ssim(*map(levels, read_row(row)), fused).item())


def test_a_folder_scores_like_the_function_that_made_it(pairs, averages):
    calls = []
    from_folder = evaluate(pairs, FusedFolder(averages), on_pair=lambda: calls.append(None))
    assert from_folder == evaluate(pairs, average)
    assert len(calls) == len(from_folder.scored) == 6


def test_a_fused_picture_is_found_by_the_name_of_its_pair(averages):
    folder = FusedFolder(averages)
    assert folder.find("scene2") == averages / "scene2.TIF"
    assert folder.find("scene3.png") == averages / "scene3.png"
    with pytest.raises(PictureError, match=r"no fused image scene3\.jpg in averages"):
        folder.find("scene3.jpg")
    (averages / "scene2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"both scene2\.TIF and scene2\.jpg"):
        FusedFolder(averages)


@pytest.mark.parametrize("name", ["scene1_fused.png", "fused-scene1.png", "scene1 (2).png"])
def test_a_fused_picture_with_more_in_its_name_is_named(tmp_path, name):
    for one in (name, "scene10_fused.png", "myscene1.png"):
        (tmp_path / one).write_bytes(b"")
    with pytest.raises(PictureError, match=rf"as in scene1\.png\. If it is {re.escape(name)}, rename it\.$"):
        FusedFolder(tmp_path).find("scene1")
    with pytest.raises(PictureError, match=r"as in scene\.png\.$"):
        FusedFolder(tmp_path).find("scene")


@pytest.fixture
def two_days(tmp_path) -> Path:
    """A folder with two pairs whose files have the same names."""
    for number, folder in enumerate(("d1/ir", "d1/vis", "d2/ir", "d2/vis")):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(textured(number)).save(tmp_path / folder / "0001.png")
    return tmp_path


def test_a_pair_of_a_list_is_named_by_its_output(two_days, model):
    rows = (f"d{day}/ir/0001.png,d{day}/vis/0001.png,days/{day}.png" for day in (1, 2))
    (two_days / "list.csv").write_text("\n".join(["a,b,output", *rows]))
    out = two_days / "out"
    fused = program.refusion("fuse", two_days / "list.csv", "-o", out, "--model", two_days / "model", "--nodata", 7)
    assert fused.code == 0, fused.err
    for day in (1, 2):
        assert (
            f"Note: days/{day}.png: --nodata 7 has no effect: no pixel of more than 8 bits in ir/0001.png" in fused.err
        )
    evaluate_command(two_days / "list.csv", model=[str(two_days / "model")], fused=[out], json_path=out / "s.json")
    models = json.loads((out / "s.json").read_text())["models"]
    assert [[row["name"] for row in one["per_pair"]] for one in models.values()] == 2 * [["days/1", "days/2"]]
    of_model, of_folder = (one["per_pair"] for one in models.values())
    assert of_folder == of_model
    source = open_source(two_days / "list.csv", get_task("ir-vis"))
    assert [name for (name, *_), _ in source.places] == ["days/1", "days/2"]


def test_pairs_of_one_name_do_not_share_a_fused_image(two_days):
    (two_days / "list.csv").write_text("a,b\nd1/ir/0001.png,d1/vis/0001.png\nd2/ir/0001.png,d2/vis/0001.png\n")
    (two_days / "out").mkdir()
    Image.fromarray(textured(5)).save(two_days / "out" / "0001.png")
    pairs = load_pairs(two_days / "list.csv", get_task("ir-vis"))
    names = ["d1/ir/0001", "d2/ir/0001"]
    noted = evaluate(pairs, average, look=lambda a, b: f"{b.name} lies off {a.name}.").notes
    assert noted == [f"{name}: vis/0001.png lies off ir/0001.png." for name in names]
    unused = "--nodata 7 has no effect: no pixel of more than 8 bits in ir/0001.png and vis/0001.png has that value."
    asked = load_pairs(two_days / "list.csv", get_task("ir-vis"), reading=Reading(nodata=7))
    assert asked.notes == evaluate(asked, average).notes == [f"{name}: {unused}" for name in names]
    assert [row.name for row in evaluate(pairs, average).scored] == names
    assert [row.name for row in evaluate(pairs, FusedFolder(two_days / "out")).failed] == names
    (two_days / "list.csv").write_text("a,b\n" + 2 * "d1/ir/0001.png,d1/vis/0001.png\n")
    with pytest.raises(DataError, match="2 pairs are called 0001, so their fused images in out cannot be told apart"):
        evaluate(load_pairs(two_days / "list.csv", get_task("ir-vis")), FusedFolder(two_days / "out"))


def test_pairs_that_fail_have_their_reason_and_the_others_their_scores(pair_folder, averages):
    whole = evaluate(load_pairs(pair_folder, get_task("ir-vis")), FusedFolder(averages))
    streamed = load_pairs(pair_folder, get_task("ir-vis"), streaming=True)
    (averages / "scene0.TIF").unlink()
    Image.fromarray(textured(1, 48, 60)).save(averages / "scene1.png")
    (averages / "scene3.png").write_bytes(b"\xfe\xed these are not pixels")
    (pair_folder / "ir" / "scene4.png").write_bytes(b"")
    Image.fromarray(textured(1, 40, 64)).save(pair_folder / "vis" / "scene5.png")
    evaluation = evaluate(streamed, FusedFolder(averages))
    assert evaluation.scored == whole.scored[2:3]
    assert evaluation.statistic("SD").mean == whole.scored[2].scores["SD"]
    reasons = {failure.name: failure.reason for failure in evaluation.failed}
    assert list(reasons) == ["scene0", "scene1", "scene3", "scene4", "scene5"]
    assert "no fused image scene0 in averages" in reasons["scene0"]
    assert "(scene1.png) is 60 x 48, but its sources are 64 x 48" in reasons["scene1"]
    assert "scene3.png is not an image" in reasons["scene3"]
    assert "scene4.png is an empty file" in reasons["scene4"]
    assert "64 x 40" in reasons["scene5"]


def test_metrics_that_a_pair_is_too_small_for_are_left_out(tmp_path):
    for side in ("under", "over"):
        (tmp_path / side).mkdir()
        for name, height in (("small", 40), ("middle", 43), ("large", 44)):
            Image.fromarray(textured(len(side), height, 50)).save(tmp_path / side / f"{name}.png")
    task = get_task("multi-exposure")
    evaluation = evaluate(load_pairs(tmp_path, task), average, scored_metrics(task))
    rows = {
        row.name: [metric for metric, value in row.scores.items() if math.isnan(value)] for row in evaluation.scored
    }
    assert rows == {"large": [], "middle": ["MEF-SSIM"], "small": ["VIF", "MEF-SSIM"]}
    assert evaluation.statistic("VIF").count == 2
    report = Report(evaluation.metrics, {"average": evaluation})
    assert any("too small" in note for note in report.notes)


def test_reports_do_not_call_other_conventions_by_the_name_of_a_preset(pairs):
    unnamed, named = (replace(REFUSION, sources="mean", name=name) for name in ("refusion", "mine"))
    for use in (lambda how: evaluate(pairs, average, ("MI",), conventions=how), lambda how: Report((), {}, [], how)):
        with pytest.raises(ValueError, match=r"not those of the preset refusion.*name=\"mine\""):
            use(unnamed)
    evaluation = evaluate(pairs, average, ("MI",), conventions=named)
    assert "conventions mine: MI" in Report(("MI",), {"average": evaluation}, [], named).definitions


def test_an_unknown_metric_is_refused_at_once(pairs):
    with pytest.raises(ValueError, match=r"no metric LPIPS; the metrics are EN, .*SSIM, .*Qc, border, background"):
        evaluate(pairs, average, ("EN", "LPIPS"))


def test_pairs_of_a_parquet_file_without_texts_as_names(tmp_path):
    bytes_of = []
    for seed in (1, 2):
        Image.fromarray(textured(seed)).save(tmp_path / "picture.png")
        bytes_of.append({"bytes": (tmp_path / "picture.png").read_bytes(), "path": None})
    columns = {"name": [7, 8], "a": [bytes_of[0]] * 2, "b": [bytes_of[1], {"bytes": b"?", "path": None}]}
    picture = datasets.Image(decode=False)
    features = datasets.Features({"name": datasets.Value("int64"), "a": picture, "b": picture})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "pairs.parquet")
    evaluation = evaluate(load_pairs(tmp_path / "pairs.parquet", get_task("ir-vis"), streaming=True), average)
    assert [row.name for row in evaluation.scored] == ["7"]
    assert [failure.name for failure in evaluation.failed] == ["8"]


def test_sources_are_scored_and_noted_as_they_are_fused(tmp_path):
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    for folder in ("near", "far", "fused"):
        (tmp_path / folder).mkdir()
    linear = PngImagePlugin.PngInfo()
    linear.add(b"gAMA", struct.pack(">I", 100000))
    light = np.rint(255 * (scene / 255.0) ** 2.2).astype(np.uint8)
    Image.fromarray(scene).save(tmp_path / "near" / "same.png")
    Image.fromarray(light).save(tmp_path / "far" / "same.png", pnginfo=linear)
    Image.fromarray(scene).save(tmp_path / "fused" / "same.png")
    for folder, left in (("near", 0), ("far", 24), ("fused", 0)):
        Image.fromarray(np.roll(scene, left, axis=1)).save(tmp_path / folder / "moved.png")
    task = get_task("multi-focus")
    folder, metrics = FusedFolder(tmp_path / "fused"), ("PSNR", "agree")
    report = evaluate(load_pairs(tmp_path, task), folder, metrics, task=task, look=offset_note)
    scores = {row.name: row.scores for row in report.scored}
    assert scores["same"]["PSNR"] > 40
    assert scores["same"]["agree"] < 1
    assert [note for note in report.notes if "moved.png seems to lie about 24 pixels off" in note]


def test_a_fused_image_is_not_advised_what_is_for_its_sources(pairs, averages):
    Image.fromarray(np.full((48, 64), 300, np.float32)).save(averages / "scene0.TIF")
    (failure,) = evaluate(pairs, FusedFolder(averages)).failed
    assert failure.reason.endswith("floats must be in 0 to 1; scale them to that range.")


def test_fused_images_that_are_dark_or_transparent_by_mistake_are_said(pairs, averages, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, file in enumerate(sorted(averages.iterdir())):
        levels = np.asarray(Image.open(file).convert("L"))
        if number == 0:
            Image.fromarray(levels.astype(np.uint16)).save(folder / file.name)
        else:
            alpha = np.full_like(levels, 128 if number == 1 else 255)
            Image.fromarray(np.dstack([levels, alpha])).save(folder / file.name)
    notes = [note for note in evaluate(pairs, FusedFolder(folder), ("EN",)).notes if "odd/" in note]
    assert len(notes) == 2
    assert "scene0: Except for 1 % of the pixels, odd/scene0.TIF uses only" in notes[0]
    assert "scale its values to the full range first" in notes[0]
    assert notes[1] == "scene1: odd/scene1.png is transparent in part, and is scored over black."


def test_coloured_images_of_grey_sources_are_said_once(pairs, averages, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in averages.iterdir():
        levels = np.asarray(Image.open(file).convert("L"))
        Image.fromarray(np.dstack([levels, levels // 2, levels])).save(folder / f"{file.stem}.png")
    told = "Fused images of odd are in colour, but their sources are grey: they are scored by their luminance."
    assert [note for note in evaluate(pairs, FusedFolder(folder), ("EN",)).notes if "colour" in note] == [told]
    for fused, conventions in ((folder, "vifb"), (averages, "refusion")):
        assert not evaluate(pairs, FusedFolder(fused), ("EN",), conventions=conventions).notes


def test_a_figure_without_meaning_is_left_out_of_its_mean_only(pair_folder, pairs):
    for side in ("ir", "vis"):
        framed = np.asarray(Image.open(pair_folder / side / "scene1.png")).copy()
        framed[:20, :20] = 0
        Image.fromarray(framed).save(pair_folder / side / "scene1.png")

    def lifted(a, b):
        return average(a, b).point(lambda level: max(level, 12))

    metrics = scored_metrics(get_task("medical"))
    evaluation = evaluate(pairs, lifted, metrics)
    statistic = evaluation.statistic("background")
    assert (statistic.mean, statistic.std, statistic.count) == (12, 0, 1)
    assert evaluation.statistic("EN").count == 6
    report = Report(metrics, {"lifted": evaluation})
    written = json.loads(to_json(report), parse_constant=pytest.fail)["models"]["lifted"]
    assert [row["scores"]["background"] for row in written["per_pair"]] == [None, 12, None, None, None, None]
    assert (written["mean"]["background"], written["counts"]["background"]) == (12, 1)
    assert [row["background"] for row in csv.DictReader(to_csv(report).splitlines())] == ["", "12.0", "", "", "", ""]
    assert "| 12.000 ± 0.000 (1) |" in to_markdown(report)
    assert "In brackets" in to_markdown(report)


def test_a_model_of_which_all_pairs_failed_has_no_means(pairs, tmp_path):
    (tmp_path / "none").mkdir()
    evaluation = evaluate(pairs, FusedFolder(tmp_path / "none"))
    assert evaluation.statistic("EN").count == 0
    assert math.isnan(evaluation.statistic("EN").mean)
    report = Report(SCORED, {"a|b": evaluation}, ["ir/x.png has no partner in vis"])
    written = json.loads(to_json(report), parse_constant=pytest.fail)
    assert written["models"]["a|b"]["pairs"] == 0
    assert set(written["models"]["a|b"]["mean"].values()) == {None}
    assert len(written["models"]["a|b"]["failed"]) == 6
    assert written["left_out"] == ["ir/x.png has no partner in vis"]
    markdown = to_markdown(report)
    assert "| a\\|b | 0 of 6 " + f"| {NOTHING} " * len(SCORED) + "|" in markdown
    assert "| scene5 | There is no fused image scene5 in none;" in markdown
    assert "- ir/x.png has no partner in vis" in markdown


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A1", "+1+1", "-1+1", "@SUM(1)"])
def test_a_name_is_no_formula_in_a_spreadsheet(pair_folder, averages, tmp_path, name):
    for folder in ("ir", "vis"):
        (pair_folder / folder / "scene0.png").rename(pair_folder / folder / f"{name.replace('/', '')}.png")
    evaluation = evaluate(load_pairs(pair_folder, get_task("ir-vis")), FusedFolder(averages), ("EN",))
    report = Report(("EN",), {name: evaluation}, [f"{name} is left out"])
    cells = [cell for row in csv.reader(to_csv(report).splitlines()) for cell in row]
    assert [cell for cell in cells if cell.startswith(name[0])] == []
    # Six times that of the model, that of the pair, and the sentence.
    assert len([cell for cell in cells if cell.startswith(f"'{name[0]}")]) == 8


def test_the_command_shows_models_and_folders_side_by_side_and_writes_files(pair_folder, model, averages, tmp_path):
    folder, files = tmp_path / "model", [tmp_path / f"scores.{suffix}" for suffix in ("json", "csv", "md")]
    outputs = [word for pair in zip(("--json", "--csv", "--markdown"), files, strict=True) for word in pair]
    result = program.refusion("evaluate", "--data", pair_folder, "--model", folder, "--fused", averages, *outputs)
    assert (result.code, result.err) == (0, "")
    assert "means over 6 pairs ± population standard deviation" in one_line(result.out)
    written = json.loads(files[0].read_text())
    assert list(written["models"]) == [str(folder), "averages"]
    assert "8-bit grey levels; conventions refusion: MI (nats)" in written["definitions"]
    assert written["figures"]["EN"]["higher_is_better"]
    assert not written["figures"]["border"]["higher_is_better"]
    rows = list(csv.DictReader(files[1].read_text().splitlines()))
    assert list(rows[0]) == ["model", "pair", *scored_metrics(get_task("ir-vis")), "failed", "conventions"]
    for name, scores in written["models"].items():
        assert scores["pairs"] == len(scores["per_pair"]) == 6
        assert scores["failed"] == []
        mine = [row for row in rows if row["model"] == name]
        assert [row["pair"] for row in mine] == [f"scene{i}" for i in range(6)]
        for metric in SCORED:
            values = [float(row[metric]) for row in mine]
            assert scores["mean"][metric] == pytest.approx(np.mean(values))
            assert scores["std"][metric] == pytest.approx(np.std(values))
        shown = f"{scores['mean']['Qabf']:.3f} ± {scores['std']['Qabf']:.3f}"
        assert shown in result.out
        assert shown in files[2].read_text()


def test_the_command_lists_what_failed_in_every_place(pair_folder, averages, tmp_path):
    (averages / "scene0.TIF").unlink()
    (pair_folder / "ir" / "alone.png").write_bytes((pair_folder / "ir" / "scene1.png").read_bytes())
    (pair_folder / "ir" / "scene4.png").write_bytes(b"")
    files = [tmp_path / f"scores.{suffix}" for suffix in ("json", "csv", "md")]
    outputs = [word for pair in zip(("--json", "--csv", "--markdown"), files, strict=True) for word in pair]
    result = refusion("evaluate", "--data", pair_folder, "--fused", averages, *outputs)
    assert result.code == 1, result.err
    assert "4 of 6" in result.out
    for text in (result.err, *(file.read_text() for file in files)):
        assert "no fused image scene0 in averages" in text
        assert "scene4.png is an empty file" in text
        assert "alone.png in ir has no partner in vis" in text
    assert len(json.loads(files[0].read_text())["models"]["averages"]["per_pair"]) == 4


def test_of_many_that_failed_alike_a_few_are_printed_and_the_reports_have_all(pair_folder, averages, tmp_path):
    for file in averages.iterdir():
        file.unlink()
    command = ["evaluate", "--data", pair_folder, "--fused", averages, "--metrics", "EN"]
    for options in ((), ("--csv", tmp_path / "scores.csv")):
        result = refusion(*command, *options)
        assert result.code == 1
        assert result.err.count("There is no fused image scene") == 5
        assert "and 1 more like this" in result.err
        assert ("--json and --csv list all of them." in result.err) == (not options)
    assert (tmp_path / "scores.csv").read_text().count("There is no fused image scene") == 6


def test_names_in_the_table_are_unique(pair_folder, averages, model, tmp_path):
    again = tmp_path / "again" / "averages"
    again.mkdir(parents=True)
    for file in averages.iterdir():
        (again / file.name).write_bytes(file.read_bytes())
    out, folder = tmp_path / "scores.json", str(tmp_path / "model")
    evaluate_command(pair_folder, model=[folder, folder], fused=[averages, again, again], json_path=out)
    names = list(json.loads(out.read_text())["models"])
    assert names == [folder, f"{folder} (2)", "averages", str(again), f"{again} (2)"]


def test_bad_input_is_a_sentence_before_anything_is_scored(pair_folder, averages, tmp_path):
    check_refused(
        refusion("evaluate", "--data", pair_folder, "--fused", tmp_path / "nothing"), "There is no folder", "nothing"
    )
    double = tmp_path / "double"
    double.mkdir()
    for name in ("scene1.png", "scene1.webp"):
        (double / name).write_bytes(b"")
    for options, words in [
        ({"fused": [double]}, r"both scene1\.png and scene1\.webp"),
        ({"data": tmp_path / "absent"}, "There is no folder or file"),
        ({"model": [str(tmp_path)]}, r"config\.json"),
        ({"task": "sharpen"}, "no task 'sharpen'"),
        ({"output_range": "full"}, "no output range 'full'; choose sources, contrast, robust, stretch, network"),
        ({"json_path": tmp_path / "no" / "scores.json"}, r"scores\.json .* there is no folder .*no; create it"),
        ({"csv_path": double}, "double is a folder"),
    ]:
        given = {"data": pair_folder, "fused": [averages], **options}
        with pytest.raises(ValueError, match=words):
            evaluate_command(**given)


def test_reports_replace_nothing_that_is_read_and_not_each_other(pair_folder, averages, tmp_path):
    listed = pair_folder / "pairs.csv"
    listed.write_text("a,b\nir/scene1.png,vis/scene1.png\n")
    table = tmp_path / "table" / "pairs.parquet"
    table.parent.mkdir()
    features = datasets.Features(dict.fromkeys("ab", datasets.Image()))
    content = {"bytes": (pair_folder / "ir" / "scene1.png").read_bytes(), "path": None}
    rows = {key: [content] for key in "ab"}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(table)
    link, new = tmp_path / "link.json", tmp_path / "new.json"
    link.symlink_to(new)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for options, words in [
        ({"ranks_path": pair_folder / "vis" / "scene2.png"}, r"output scene2\.png is one of the files to score"),
        ({"ranks_path": averages / "scene1.png"}, r"output scene1\.png is one of the files to score"),
        ({"data": listed, "csv_path": listed}, r"output pairs\.csv is one of the files to score"),
        ({"data": listed, "ranks_path": pair_folder / "ir" / "scene1.png"}, r"output scene1\.png is one of"),
        ({"data": table.parent, "json_path": table}, r"output pairs\.parquet is one of the files to score"),
        ({"json_path": new, "csv_path": link}, r"Two outputs would be written to link\.json"),
    ]:
        with pytest.raises(ValueError, match=words):
            evaluate_command(**{"data": pair_folder, "fused": [averages], **options})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    evaluate_command(pair_folder, fused=[averages], json_path=new)
    null = Path(os.devnull)
    evaluate_command(pair_folder, fused=[averages], json_path=new, csv_path=null, latex_path=null)


def test_a_failure_is_an_exit_code_of_one(pair_folder, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    with pytest.raises(typer.Exit) as stop:
        evaluate_command(pair_folder, fused=[tmp_path / "none"])
    assert stop.value.exit_code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("no fused image") == 5
