"""Several contenders over one data set: ranks, intervals, differences, and what is written of them."""

import csv
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from support.command import check_refused, refusion
from support.scenes import textured

from refusion.cli.evaluate import evaluate as evaluate_command
from refusion.metrics.comparison import best_first, compare, sign_flip_p
from refusion.metrics.evaluation import Evaluation, PairScores
from refusion.metrics.fusion import METRIC_SETS, METRICS
from refusion.metrics.reports import Report, to_json
from refusion.metrics.scoring import choose_metrics, load_metric, scored_metrics
from refusion.metrics.tables import to_latex, to_markdown
from refusion.tasks import get_task


def scored(**metrics) -> Evaluation:
    """An evaluation of the pairs p0, p1, ... from a row of values for each metric."""
    count = len(next(iter(metrics.values())))
    rows = [PairScores(f"p{i}", {name: values[i] for name, values in metrics.items()}) for i in range(count)]
    return Evaluation(tuple(metrics), rows)


DIRECTIONS = {"EN": True, "border": False}


@pytest.fixture
def evaluations() -> dict[str, Evaluation]:
    return {
        "first": scored(EN=[1.0, 2.0, 3.0, 4.0], border=[1.0, 1.0, 1.0, math.nan]),
        "second & co": scored(EN=[2.0, 3.0, 4.0, 4.5], border=[2.0, 1.0, 3.0, 9.0]),
        "third": scored(EN=[2.0, 3.0, 4.0, 4.5], border=[0.5, 0.5, 2.0, 0.0]),
    }


def test_ranks_follow_the_direction_and_are_shared(evaluations):
    standings = compare(evaluations, DIRECTIONS).standings
    assert [s.ranks["EN"] for s in standings.values()] == [3, 1.5, 1.5]
    assert [s.ranks["border"] for s in standings.values()] == [1.5, 3, 1.5]
    assert [s.mean_rank for s in standings.values()] == [2.25, 2.25, 1.5]


def test_quantities_that_are_equal_by_the_conventions_count_once(evaluations):
    values = {name: one.statistic("EN").mean for name, one in evaluations.items()}
    given = {name: scored(EN=[9 - x], SD=[x], variance=[x], VIF=[x], VIFF=[x]) for name, x in values.items()}
    for conventions, names, ranks in (
        ("refusion", ("EN", "SD", "variance"), [7 / 3, 11 / 6, 11 / 6]),
        ("vifb", ("EN", "SD", "variance"), [2, 2, 2]),
        ("mefb", ("EN", "VIF", "VIFF"), [2, 2, 2]),
        ("mefb", ("EN", "VIFF"), [2, 2, 2]),
    ):
        report = Report(names, given, conventions=conventions)
        assert [s.mean_rank for s in report.comparison.standings.values()] == pytest.approx(ranks)
        assert ("those that are equal (" in " ".join(report.notes)) == (conventions != "refusion" and len(names) > 2)
    assert report.comparison.standings["first"].ranks["VIFF"] == 3


def test_values_that_differ_by_rounding_share_a_rank():
    standings = compare({"one": scored(EN=[0.3, 0.3]), "other": scored(EN=[0.1 + 0.2, 0.3])}, {"EN": True}).standings
    assert [s.ranks["EN"] for s in standings.values()] == [1.5, 1.5]


def test_pairs_count_that_every_contender_has(evaluations):
    evaluations["third"].scored.pop(0)
    comparison = compare(evaluations, DIRECTIONS)
    assert comparison.pairs == ("p1", "p2", "p3")
    assert comparison.counts == {"EN": 3, "border": 2}
    assert comparison.standings["first"].means["EN"].mean == 3
    assert comparison.standings["third"].means["border"].mean == 1.25


@pytest.mark.parametrize("first", [True, False])
def test_a_contender_without_a_score_does_not_end_the_comparison_of_the_others(evaluations, first):
    none = {"none": Evaluation(tuple(DIRECTIONS))}
    every = none | evaluations if first else evaluations | none
    alone, comparison = compare(evaluations, DIRECTIONS), compare(every, DIRECTIONS)
    assert (comparison.pairs, comparison.counts, comparison.first) == (alone.pairs, alone.counts, "first")
    assert list(comparison.standings) == list(every)
    assert comparison.standings["third"] == alone.standings["third"]
    assert math.isnan(comparison.standings["none"].mean_rank)
    assert best_first(every, "third", DIRECTIONS) == best_first(evaluations, "third", DIRECTIONS)
    assert best_first(every, "none", DIRECTIONS) == []
    report = Report(tuple(DIRECTIONS), every)
    assert "Not compared, since none of its pairs could be scored: none." in to_latex(report)
    assert "## Differences from first" in to_markdown(report)


def test_differences_are_pair_by_pair(evaluations):
    second = compare(evaluations, DIRECTIONS).standings["second & co"]
    assert second.differences["EN"].mean == pytest.approx(0.875)
    assert second.better == {"EN": 4, "border": 0}
    first = compare(evaluations, DIRECTIONS).standings["first"].differences["EN"]
    assert (first.mean, first.low, first.high) == (0, 0, 0)


def test_p_values_are_those_of_all_signs():
    # Of the 8 assignments of signs, only these signs and their opposites give a sum as far from 0.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flip_p(np.array([1.0, -1.0])) == 1
    assert sign_flip_p(np.zeros(4)) == 1
    assert math.isnan(sign_flip_p(np.array([])))
    # Added up in another order, these give another sum in the last bit.
    assert sign_flip_p(np.array([0.9, 0.6, 0.2, 0.5, 0.5, 0.1 + 0.2, 0.4, 0.5])) == 2 / 256
    # Of many pairs, the signs that were found are one of the 10,000 assignments.
    assert sign_flip_p(np.ones(40)) == 1 / 10_000
    rng = np.random.default_rng(1)
    assert 0.02 < np.mean([sign_flip_p(rng.normal(size=6)) < 0.05 for _ in range(1000)]) < 0.06
    differences = rng.normal(0.4, 1, 14)
    more = np.append(differences, 0)
    assert sign_flip_p(more) == pytest.approx(sign_flip_p(differences), abs=0.02)


def test_intervals_are_those_of_the_mean():
    values = np.random.default_rng(3).normal(5, 2, 400)
    estimate = compare({"one": scored(EN=values.tolist())}, {"EN": True}).standings["one"].means["EN"]
    error = 1.96 * values.std() / 20
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert estimate.high == pytest.approx(values.mean() + error, abs=0.15 * error)
    again = compare({"one": scored(EN=values.tolist())}, {"EN": True}).standings["one"].means["EN"]
    assert again == estimate


def test_nothing_and_a_single_pair_have_no_interval():
    for values in ([], [2.0]):
        evaluation = scored(EN=values) if values else Evaluation(("EN",))
        estimate = compare({"one": evaluation}, {"EN": True}).standings["one"].means["EN"]
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.mean) is not bool(values)


def test_the_best_pair_of_a_contender_is_where_it_leads(evaluations):
    assert best_first({"first": evaluations["first"]}, "first", {"EN": True}) == ["p3", "p2", "p1", "p0"]
    assert best_first(evaluations, "first", {"EN": True})[0] == "p3"
    assert best_first(evaluations, "second & co", {"border": False})[0] == "p1"
    # Not where the metric is highest for all.
    pairs = {"one": scored(EN=[5.0, 7.0]), "other": scored(EN=[3.0, 7.0])}
    assert best_first(pairs, "one", {"EN": True}) == ["p0", "p1"]


def test_the_best_is_bold_and_the_second_underlined(evaluations):
    report = Report(("EN", "border"), evaluations)
    markdown = to_markdown(report)
    first = next(line for line in markdown.splitlines() if line.startswith("| first"))
    third = next(line for line in markdown.splitlines() if line.startswith("| third"))
    assert "**" not in first.split("|")[3]
    # For border, the first has fewer pairs than the others, so only the means over common pairs are marked.
    assert first.split("|")[4] == " 1.000 ± 0.000 (3) "
    assert third.split("|")[3].count("**") == 2
    assert "**" not in third.split("|")[4]
    intervals = markdown.partition("## Intervals")[2].partition("## Differences")[0]
    first, second, third = (line.split("|") for line in intervals.splitlines()[4:7])
    assert [row[3].count("**") for row in (first, second, third)] == [2, 0, 2]
    assert "## Differences from first" in markdown
    assert "p = 0.125, better in 4 of 4" in markdown
    assert "Ranks are those of the means over the 4 pairs that all of them have" in markdown


def test_the_second_is_underlined():
    report = Report(("EN",), {"a": scored(EN=[1.0, 2.0]), "b": scored(EN=[2.0, 2.0]), "c_1": scored(EN=[0.0, 1.0])})
    latex = to_latex(report)
    assert r"b & \textbf{2.000} & 1.00 \\" in latex
    assert r"a & \underline{1.500} & 2.00 \\" in latex
    assert r"c\_1 & 0.500 & 3.00 \\" in latex
    assert r"Method & EN $\uparrow$ & mean rank $\downarrow$ \\" in latex
    assert "<u>1.500" in to_markdown(report)


def test_of_two_only_the_best_is_marked():
    report = Report(("EN",), {"a": scored(EN=[1.0]), "b": scored(EN=[2.0]), "c": Evaluation(("EN",))})
    for text, best in ((to_latex(report), r"\textbf{2.000}"), (to_markdown(report), "**2.000 ± 0.000**")):
        assert best in text
        assert "underline" not in text
        assert "<u>" not in text


def test_latex_is_whole(evaluations):
    latex = to_latex(Report(("EN", "border"), evaluations))
    table = [line for line in latex.splitlines() if not line.startswith("%")]
    assert r"second \& co & " in latex
    assert table[0] == r"\begin{tabular}{lrrr}"
    assert all(line.count(" & ") == 3 for line in table if line.endswith(r"\\"))
    alone = to_latex(Report(("EN",), {"a": scored(EN=[-1.0])}))
    assert r"a & $-1.000$ \\" in alone
    assert "rank" not in alone


def test_json_has_the_comparison_and_the_conventions(evaluations):
    written = json.loads(to_json(Report(("EN", "border"), evaluations)))
    assert written["conventions"]["name"] == "refusion"
    second = written["comparison"]["models"]["second & co"]
    assert second["mean_rank"] == 2.25
    assert second["figures"]["EN"]["rank"] == 1.5
    assert second["figures"]["EN"]["better"] == 4
    assert second["figures"]["EN"]["difference"]["mean"] == pytest.approx(0.875)
    assert "comparison" not in json.loads(to_json(Report(("EN",), {"a": scored(EN=[1.0])})))


def test_metrics_are_chosen_by_name_or_set():
    assert choose_metrics(["qcb, ssim", "CE"]) == ("Qcb", "SSIM", "CE")
    assert choose_metrics(["default", "EN", "heat"]) == (*METRIC_SETS["default"], "heat")
    assert choose_metrics(["all"]) == tuple(METRICS)
    with pytest.raises(ValueError, match=r"no metric 'lpips'; choose EN, .* bright, or one of the sets default, vifb"):
        choose_metrics(["lpips"])
    assert scored_metrics(get_task("ir-vis"), ("Qcb",)) == ("Qcb", "border", "heat", "bright")
    assert scored_metrics(get_task("medical"), ("Qcb", "border")) == ("Qcb", "border", "background")


@pytest.fixture
def contenders(pair_folder, tmp_path) -> dict[str, str]:
    """Folders of fused images: the mean of both sources, the larger, and the mean with noise."""
    folders = {}
    for name in ("mean", "larger", "noisy"):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(6):
            a, b = (
                np.asarray(Image.open(pair_folder / side / f"scene{index}.png")).astype(float) for side in ("ir", "vis")
            )
            mean = np.maximum(a, b) if name == "larger" else (a + b) / 2
            noise = np.random.default_rng(index).normal(0, 25, a.shape) if name == "noisy" else 0
            Image.fromarray(np.clip(np.rint(mean + noise), 0, 255).astype(np.uint8)).save(folder / f"scene{index}.png")
        folders[name] = folder
    return folders


def test_the_command_compares_folders_and_writes_everything(pair_folder, contenders, tmp_path):
    out = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "md", "tex", "svg")}
    result = refusion(
        *("evaluate", "--data", pair_folder, *(x for folder in contenders.values() for x in ("--fused", folder))),
        *("--metrics", "vifb", "--conventions", "vifb", "--json", out["json"], "--csv", out["csv"]),
        *("--markdown", out["md"], "--latex", out["tex"], "--sheets", tmp_path / "sheets"),
    )
    assert result.code == 0, result.err
    assert "mean rank" in result.out
    assert "conventions vifb" in result.out
    written = json.loads(out["json"].read_text())
    assert list(written["models"]) == list(contenders)
    assert list(written["figures"]) == [*METRIC_SETS["vifb"], "border", "heat", "bright"]
    assert written["conventions"]["ssim_window"] == "gaussian-11"
    ranks = {name: model["mean_rank"] for name, model in written["comparison"]["models"].items()}
    assert written["comparison"]["models"]["noisy"]["figures"]["RMSE"]["rank"] == 3
    assert len(set(ranks.values())) > 1
    for name, rank in ranks.items():
        assert f"{rank:.2f}" in out["tex"].read_text()
        assert re.search(rf"^\| {name} .* {rank:.2f} \|$", out["md"].read_text(), re.MULTILINE)
    sheets = sorted((tmp_path / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["1-mean.png", "2-larger.png", "3-noisy.png"]
    with Image.open(sheets[2]) as sheet:
        assert sheet.width > 700
        assert sheet.height > 6 * 150
        assert len(sheet.getcolors(1 << 20)) > 50


@pytest.mark.parametrize(
    ("option", "parsed"),
    [
        ("--json", lambda text: list(json.loads(text)["models"])),
        ("--csv", lambda text: [next(csv.DictReader(text.splitlines()))["model"]]),
        ("--markdown", lambda text: re.findall(r"^\| (mean) ", text, re.MULTILINE)[:1]),
        ("--latex", lambda text: re.findall(r"^(mean) &", text, re.MULTILINE)),
    ],
)
def test_a_report_for_standard_output_is_all_that_is_there(pair_folder, contenders, tmp_path, option, parsed):
    told = ("evaluate", "--data", pair_folder, "--fused", contenders["mean"], "--metrics", "SD", option)
    there, file = refusion(*told, "-"), refusion(*told, tmp_path / "report")
    assert there.code == 0, there.err
    assert there.out == (tmp_path / "report").read_bytes().decode()
    assert parsed(there.out) == ["mean"]
    assert "means over 6 pairs" in there.err
    assert "means over 6 pairs" in " ".join(file.out.split())
    assert not Path("-").exists()


def test_two_reports_for_standard_output_are_refused(pair_folder, contenders):
    told = ("evaluate", "--data", pair_folder, "--fused", contenders["mean"], "--json", "-", "--csv", "-")
    check_refused(refusion(*told), "Two outputs would be written to -")


def test_ranks_are_plotted(pair_folder, contenders, tmp_path):
    pytest.importorskip("matplotlib")
    folders = [contenders["mean"], contenders["noisy"]]
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        evaluate_command(pair_folder, fused=folders, metrics=["EN,RMSE"], ranks_path=tmp_path / f"ranks{suffix}")
        assert (tmp_path / f"ranks{suffix}").read_bytes().startswith(start)
    text = (tmp_path / "ranks.svg").read_text()
    assert "<!-- noisy -->" in text
    assert "<!-- RMSE -->" in text


def test_a_plot_without_matplotlib_says_what_to_install(pair_folder, contenders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r'needs matplotlib; install it with pip install "refusion\[plots\]"'):
        evaluate_command(pair_folder, fused=[contenders["mean"]], ranks_path=tmp_path / "ranks.png")
    with pytest.raises(ValueError, match=r"ranks\.gif has no suffix of a plot; choose one of \.png, \.svg, \.pdf"):
        evaluate_command(pair_folder, fused=[contenders["mean"]], ranks_path=tmp_path / "ranks.gif")


MODULE = """
import numpy as np

def brightness(a, b, fused):
    assert {image.mode for image in (a, b, fused)} == {"L"}
    return np.asarray(fused).mean()

def distance(a, b, fused):
    return abs(float(np.asarray(fused).mean()) - float(np.asarray(a).mean()))

distance.higher_is_better = False

class Scores:
    @staticmethod
    def contrast(a, b, fused):
        return np.asarray(fused).std()

def everything(a, b, fused):
    return np.asarray(fused)

class Other:
    @staticmethod
    def brightness(a, b, fused):
        return 0.0

def broken(a, b, fused):
    raise RuntimeError("out of memory\\nof the device")

def en(a, b, fused):
    return 0

EN = en
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_metrics.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_metrics", None)


def test_metrics_of_ones_own_stand_beside_the_others(own_module, pair_folder, contenders, tmp_path):
    out = tmp_path / "out.json"
    own = ["own_metrics:brightness", "own_metrics:distance", "own_metrics:Scores.contrast"]
    evaluate_command(pair_folder, fused=[contenders["mean"]], metric=own, metrics=["SD"], json_path=out)
    written = json.loads(out.read_text())
    assert list(written["figures"]) == ["SD", "border", "heat", "bright", "brightness", "distance", "contrast"]
    assert written["figures"]["brightness"] == {"higher_is_better": True, "definition": "own_metrics:brightness"}
    assert not written["figures"]["distance"]["higher_is_better"]
    mean = np.mean([np.asarray(Image.open(file)).mean() for file in contenders["mean"].iterdir()])
    assert written["models"]["mean"]["mean"]["brightness"] == pytest.approx(mean)


def test_metrics_of_ones_own_that_do_not_work_are_sentences(own_module, pair_folder, contenders, capsys):
    for reference, words in (
        ("own_metrics", "write module:function"),
        ("no_such_module:f", "there is no module no_such_module"),
        ("own_metrics:missing", "has no function missing"),
        ("own_metrics:Scores.missing", r"has no function Scores\.missing"),
        ("own_metrics:EN", "EN is already a metric of this package"),
    ):
        with pytest.raises(ValueError, match=words):
            load_metric(reference)
    with pytest.raises(typer.Exit) as stop:
        evaluate_command(pair_folder, fused=[contenders["mean"]], metric=["own_metrics:everything"])
    assert stop.value.exit_code == 1
    assert "must return one number" in capsys.readouterr().err


def test_a_metric_of_ones_own_that_fails_leaves_the_others(own_module, pair_folder, contenders, tmp_path, capsys):
    written, rows = tmp_path / "out.json", tmp_path / "out.csv"
    own = ["own_metrics:brightness", "own_metrics:broken"]
    with pytest.raises(typer.Exit) as stop:
        evaluate_command(
            pair_folder, fused=[contenders["mean"]], metric=own, metrics=["SD"], json_path=written, csv_path=rows
        )
    assert stop.value.exit_code == 1
    assert "own_metrics:broken failed: RuntimeError: out of memory." in capsys.readouterr().err
    scores = json.loads(written.read_text())["models"]["mean"]
    assert scores["counts"]["SD"] == scores["counts"]["brightness"] == scores["pairs"] > 0
    assert scores["counts"]["broken"] == 0
    assert all("out of memory" in line for line in rows.read_text().splitlines()[1:])


def test_two_metrics_of_ones_own_have_two_names(own_module, pair_folder, contenders):
    with pytest.raises(ValueError, match=r"own_metrics:Other\.brightness have the same name"):
        evaluate_command(
            pair_folder,
            fused=[contenders["mean"]],
            metric=["own_metrics:brightness", "own_metrics:Other.brightness"],
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_report_that_cannot_be_written_does_not_lose_the_others(pair_folder, contenders, tmp_path, capsys):
    rows = tmp_path / "out.csv"
    with pytest.raises(typer.Exit) as stop:
        evaluate_command(
            pair_folder, fused=[contenders["mean"]], metrics=["SD"], json_path=Path("/dev/full"), csv_path=rows
        )
    assert stop.value.exit_code == 1
    assert rows.read_text().startswith("model,pair,SD")
    said = capsys.readouterr()
    assert "/dev/full cannot be written: No space left on device." in said.err
    assert "SD" in said.out


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can create files")
def test_a_folder_that_takes_no_reports_is_refused_before_anything_is_scored(pair_folder, contenders):
    given = ["evaluate", "--data", pair_folder, "--fused", contenders["mean"]]
    for flag, name in (("--json", "s.json"), ("--csv", "s.csv"), ("--ranks", "r.png"), ("--sheets", "sheets")):
        result = refusion(*given, flag, f"/proc/{name}")
        check_refused(result, "Nothing can be written to the folder /proc: ", "; choose another.")
        assert not result.out
    result = refusion(*given, "--metrics", "SD", "--csv", "/dev/stdout")
    assert result.code == 0, result.err


def test_options_are_checked_before_anything_is_scored(pair_folder, contenders, tmp_path):
    for options, words in (
        ({"metrics": ["lpips"]}, "no metric 'lpips'"),
        ({"conventions": "matlab"}, "no conventions 'matlab'"),
        ({"sheets": contenders["mean"] / "scene0.png"}, "scene0.png is a file, but a folder is needed"),
        ({"latex_path": tmp_path}, "is a folder; give the name of a file"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluate_command(pair_folder, fused=[contenders["mean"]], **options)
    check_refused(refusion("evaluate", "--data", pair_folder, "--conventions", "x"), "no conventions 'x'")


def test_fused_images_of_another_size_or_missing_are_named(pair_folder, contenders, tmp_path, capsys):
    Image.fromarray(textured(1, 40, 40)).save(contenders["noisy"] / "scene1.png")
    (contenders["noisy"] / "scene2.png").unlink()
    with pytest.raises(typer.Exit) as stop:
        evaluate_command(pair_folder, fused=[contenders["mean"], contenders["noisy"]], metrics=["EN"])
    assert stop.value.exit_code == 1
    said = capsys.readouterr()
    assert "noisy: scene1: The fused image (scene1.png) is 40 x 40" in said.err
    assert "noisy: scene2: There is no fused image scene2 in noisy" in said.err
    assert "over the 4 pairs that all of them have" in " ".join(said.out.split())


def test_without_a_fused_image_that_matches_only_the_reason_is_printed(pair_folder, contenders, tmp_path):
    for path in contenders["mean"].iterdir():
        path.rename(path.with_stem(f"other-{path.stem}"))
    command = ["evaluate", "--data", pair_folder, "--fused", contenders["mean"], "--metrics", "EN"]
    result = refusion(*command, "--csv", tmp_path / "scores.csv")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Not scored: mean: scene0: There is no fused image scene0 in mean")
    assert "no fused image scene5" in (tmp_path / "scores.csv").read_text()
