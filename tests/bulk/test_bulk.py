"""Bulk fusion: what comes out, and what is refused."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support.bulk import pairs, png, results, shards, spoil, write
from support.command import Result, refusion, small_model
from support.hub_server import HubServer
from support.scenes import ROOT, textured

import refusion as package
from refusion.bulk.run import fuse_dataset
from refusion.images.reading import read_picture
from refusion.images.writing import to_png as refusion_to_png
from refusion.inference.options import Options
from refusion.inference.preparation import prepare
from refusion.metrics.fusion import DEFAULT_METRICS, score
from refusion.metrics.scoring import levels
from refusion.pairs.dataset import load_pairs
from refusion.pairs.file_rows import pairs_in_folders
from refusion.tasks import TASKS


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "model")


def test_every_picture_is_that_of_fuse(model, tmp_path):
    rows = pairs(7, 48, 64)
    rows[2]["vis"]["bytes"] = png(np.stack([textured(k, 48, 64) for k in range(3)], axis=-1))
    rows[4]["ir"]["bytes"] = png(textured(4, 48, 64).astype(np.uint16) * 200)
    summary = fuse_dataset(
        write(tmp_path / "pairs.parquet", rows),
        tmp_path / "out",
        model=model,
        id_column="name",
        scores=True,
        rows_per_shard=3,
        workers=1,
    )
    assert (summary.fused, summary.before, summary.failures, summary.processes) == (7, 0, (), 1)
    files = str(tmp_path / "out" / "data" / "*.parquet")
    dataset = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(dataset.features["fused"], datasets.Image)
    assert dataset["row"][:] == list(range(7))
    assert dataset["id"][:] == [f"pair {index}" for index in range(7)]
    for index, row in enumerate(dataset):
        sources = [io.BytesIO(rows[index][name]["bytes"]) for name in ("ir", "vis")]
        expected = package.fuse(sources, model=model)
        np.testing.assert_array_equal(np.asarray(row["fused"]), expected.to_array())
        assert row["fused"].mode == {2: "RGB", 4: "I;16"}.get(index, "L")
        luminance = [levels(read_picture(source).luminance) for source in (*sources, row["fused"])]
        assert {name: row[name] for name in DEFAULT_METRICS} == pytest.approx(score(*luminance))


def fused(*arguments: object) -> Result:
    """The command in this process alone."""
    return refusion("fuse-dataset", *arguments, "--workers", 1)


def test_pairs_are_aligned_and_resized_as_by_fuse(model, tmp_path):
    large = textured(1, 120, 150)
    half = Image.fromarray(large).resize((75, 60), Image.Resampling.LANCZOS)
    rows = [
        {"ir": {"bytes": png(large[4:104, 6:126])}, "vis": {"bytes": png(large[:100, :120])}},
        {"ir": {"bytes": png(large)}, "vis": {"bytes": png(np.asarray(half))}},
    ]
    source = write(tmp_path / "pairs.parquet", rows)
    asked = ("--align", "--motion", "translation", "--resize", "smaller")
    result = fused(source, tmp_path / "out", "--model", model, *asked)
    assert result.code == 0, result.err
    for index, (_, content) in results(tmp_path / "out").items():
        sources = [io.BytesIO(rows[index][name]["bytes"]) for name in ("ir", "vis")]
        expected = package.fuse(sources, model=model, align="translation", resize="smaller")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), expected.to_array())


@pytest.mark.parametrize("options", [{"align": "translation"}, {"align": "translation", "align_border": "crop"}])
def test_what_was_fused_is_scored(model, tmp_path, options):
    """Moved, cropped and resized sources, not those of the data set."""
    large = textured(1, 120, 150)
    half = Image.fromarray(large[:100, :120]).resize((60, 50), Image.Resampling.LANCZOS)
    rows = [
        {"ir": {"bytes": png(large[4:104, 12:132])}, "vis": {"bytes": png(large[:100, :120])}},
        {"ir": {"bytes": png(large[:100, :120])}, "vis": {"bytes": png(np.asarray(half))}},
    ]
    out = tmp_path / "out"
    asked = {"resize": "larger", **options}
    source = write(tmp_path / "pairs.parquet", rows)
    fuse_dataset(source, out, model=model, scores=True, rows_per_shard=2, workers=1, **asked)
    (shard,) = (out / "data").iterdir()
    scored = pq.read_table(shard).to_pylist()
    assert len(scored) == 2
    for row, result in zip(rows, scored, strict=True):
        sources = [io.BytesIO(row[name]["bytes"]) for name in ("ir", "vis")]
        pair = prepare(sources, Options(**asked), TASKS["ir-vis"])
        pictures = pair.a, pair.b, read_picture(io.BytesIO(result["fused"]["bytes"]))
        wanted = score(*(levels(picture.luminance) for picture in pictures))
        assert {name: result[name] for name in DEFAULT_METRICS} == pytest.approx(wanted)


def test_rows_with_notes_are_counted_also_by_a_run_that_resumes(model, tmp_path):
    rows = spoil(pairs(20))
    for index in (2, 3, 11):  # Row 3 fails.
        rows[index]["vis"] = rows[index]["ir"]
    source = write(tmp_path / "pairs.parquet", rows)
    command = [source, tmp_path / "out", "--model", model, "--rows-per-shard", 7]
    for _ in range(2):
        result = fused(*command)
        noted = [
            row["row"]
            for file in (tmp_path / "out" / "data").iterdir()
            for row in pq.read_table(file).to_pylist()
            if row["note"]
        ]
        assert {2, 11} <= set(noted)
        assert f"{len(noted)} rows with a note, in the column note of the results." in result.out
    sharp = fused(write(tmp_path / "none.parquet", pairs(2)), tmp_path / "none", "--model", model)
    assert "with a note" not in sharp.out


def test_bad_rows_are_listed_and_the_others_done(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", spoil(pairs(20)))
    command = [source, tmp_path / "out", "--model", model, "--id-column", "name"]
    result = fused(*command)
    assert result.code == 1
    assert "16 fused, 4 failed, 0 of these rows done before." in result.out
    assert "20 rows in" in result.out
    assert "pair 3: image A of row 3 is not an image" in result.err
    assert "pair 5: The image B of row 5 is missing." in result.err
    assert "pair 8: The two sources must show the same scene" in result.err
    assert "pair 13: The image A of row 13 is only a path" in result.err
    found = results(tmp_path / "out")
    assert sorted(found) == list(range(20))
    again = fused(*command)
    assert again.code == 1
    assert "16 fused, 4 failed, 20 of these rows done before." in again.out
    assert results(tmp_path / "out") == found


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names in Unicode")
def test_files_whose_names_are_not_utf8_are_fused_or_listed(model, tmp_path):
    odd = os.fsdecode(b"odd\xff")
    for number, name in enumerate(("ir", "vis")):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        for stem in ("good", odd, f"bad {odd}"):
            (tmp_path / "pairs" / name / f"{stem}.png").write_bytes(png(textured(number)))
    (tmp_path / "pairs" / "vis" / f"bad {odd}.png").write_bytes(b"no picture")
    (tmp_path / "pairs" / "vis" / f"alone {odd}.png").write_bytes(png(textured(1)))
    result = fused(tmp_path / "pairs", tmp_path / "out", "--model", model)
    assert "2 fused, 2 failed" in result.out, result.err
    table = pq.read_table(tmp_path / "out" / "data")
    assert table["id"].to_pylist() == ["good", r"odd\udcff"]
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text("utf-8").splitlines()]
    assert [failure["id"] for failure in failures] == [r"bad odd\udcff", None]
    assert failures[1]["error"].startswith(r"alone odd\udcff.png in vis has no partner")
    assert fused(tmp_path / "pairs", tmp_path / "out", "--model", model).code == 1


def test_what_failed_is_fused_again_on_request(model, tmp_path):
    out, good = tmp_path / "out", pairs(20)
    source = write(tmp_path / "pairs.parquet", spoil(pairs(20)))
    arguments = [source, out, "--model", model, "--rows-per-shard", 4]
    assert fused(*arguments).code == 1
    before = shards(out)
    mended = spoil(pairs(20))
    mended[3], mended[5] = good[3], good[5]
    write(source, mended)
    assert "the source has changed" in refused(*arguments)
    result = fused(*arguments, "--retry-failed")
    assert result.code == 1
    assert "18 fused, 2 failed, 20 of these rows done before." in result.out
    assert "4 rows in" in result.out
    changed = [name for name, content in shards(out).items() if before[name] != content]
    assert sorted(changed) == ["rows-000000000000.parquet", "rows-000000000004.parquet"]
    whole = write(tmp_path / "whole.parquet", mended)
    fused(whole, tmp_path / "whole", "--model", model, "--rows-per-shard", 4)
    assert results(out) == results(tmp_path / "whole")
    write(source, good)
    assert fused(*arguments, "--retry-failed").code == 0
    assert not (out / "failures.jsonl").read_text()
    assert sorted(results(out)) == list(range(20))
    assert "the source is a different one" in refused(write(source, pairs(21)), *arguments[1:], "--retry-failed")


def test_no_shard_is_open_while_it_is_replaced(model, tmp_path, monkeypatch):
    """Windows refuses to replace an open file."""
    replace = Path.replace

    def replace_closed(path: Path, target: Path) -> Path:
        if str(target) in {opened.path for opened in psutil.Process().open_files()}:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_closed)
    source = write(tmp_path / "pairs.parquet", spoil(pairs(14)))
    arguments = [source, tmp_path / "out", "--model", model, "--workers", 1, "--rows-per-shard", 7]
    assert fused(*arguments).code == 1
    write(source, pairs(14))
    result = fused(*arguments, "--retry-failed")
    assert result.code == 0, result.err
    assert sorted(results(tmp_path / "out")) == list(range(14))


def test_files_that_macos_adds_are_no_parquet(model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "part-0.parquet", pairs(2))
    for name in ("._part-0.parquet", ".DS_Store"):
        (tmp_path / "in" / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100))
    for number, source in enumerate((tmp_path / "in", tmp_path / "in" / "*.parquet")):
        result = fused(source, tmp_path / f"out{number}", "--model", model, "--workers", 1)
        assert result.code == 0, result.err
        assert "2 fused, 0 failed" in result.out
    assert [row["name"] for row in load_pairs(tmp_path / "in", TASKS["ir-vis"]).dataset]
    images = ["1/ir/a.png", "1/ir/._a.png", "1/vis/a.png", "1/vis/._a.png", "1/vis/.DS_Store"]
    assert pairs_in_folders(images, TASKS["ir-vis"], "bucket") == [("1/a", "1/ir/a.png", "1/vis/a.png")]


def test_a_row_without_images_is_a_failed_row(model, pair_folder, tmp_path):
    """In Parquet files, lists and imagefolders."""
    rows = pairs(3)
    rows[0]["ir"] = rows[0]["vis"] = rows[1]["ir"] = None
    parquet = write(tmp_path / "pairs.parquet", rows)
    lines = tmp_path / "pairs.jsonl"
    imagefolder = pair_folder.rename(tmp_path / "[1] images")
    (imagefolder / "ir").rename(imagefolder / "left")
    a, b = "left/scene2.png", "vis/scene2.png"
    listed = [{"a": None, "b": None}, {"b": b}, {"a": a, "b": b}]
    lines = imagefolder / "pairs.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in listed))
    listed.append({"a": a, "b": "../pairs.parquet"})
    named = [{f"{key}_file_name": value for key, value in row.items()} for row in listed]
    (imagefolder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    for source, failed in ((parquet, 2), (lines, 2), (imagefolder, 3)):
        out = tmp_path / f"{source.stem}-{failed}-{source.suffix[1:]}"
        result = fused(source, out, "--model", model)
        assert result.code == 1, result.err
        assert f"1 fused, {failed} failed" in result.out
        assert "The image A of row 0 is missing." in result.err
        assert "The image A of row 1 is missing." in result.err
    assert "The image B of row 3 lies outside of the folder [1] images." in result.err


def test_a_damaged_row_group_fails_alone(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(15))
    group = pq.ParquetFile(source).metadata.row_group(1)
    start = group.column(1).data_page_offset
    content = bytearray(source.read_bytes())
    content[start + 40 : start + 400] = b"\xaa" * 360
    source.write_bytes(content)
    result = fused(source, tmp_path / "out", "--model", model, "--rows-per-shard", 4)
    assert result.code == 1
    assert "10 fused, 5 failed" in result.out
    found = results(tmp_path / "out")
    assert sorted(found) == list(range(15))
    for row in range(5, 10):
        assert f"row {row} cannot be read" in found[row][1]


def test_a_folder_of_pairs_gives_files(model, pair_folder, tmp_path):
    Image.fromarray(textured(9)).save(pair_folder / "vis" / "lonely.png")
    (pair_folder / "ir" / "._scene0.png").write_bytes(b"of macOS")
    out = tmp_path / "out"
    result = fused(pair_folder, out, "--model", model, "--images", "--rows-per-shard", 4)
    assert result.code == 1
    assert "Skipped in ir, since each is a hidden file: ._scene0.png." in result.err
    assert "6 fused, 1 failed" in result.out
    assert "lonely.png in vis has no partner" in (out / "failures.jsonl").read_text()
    rows = pq.read_table(sorted((out / "data").glob("*.parquet"))).to_pylist()
    assert [row["id"] for row in rows] == [f"scene{index}" for index in range(6)]
    for row in rows:
        sources = [pair_folder / folder / f"{row['id']}.png" for folder in ("ir", "vis")]
        with Image.open(out / row["file_name"]) as written:
            np.testing.assert_array_equal(np.asarray(written), package.fuse(sources, model=model).to_array())
    assert len(list(out.glob("images/*/*"))) == 6


def test_a_deleted_image_is_written_again(model, tmp_path):
    out, source = tmp_path / "out", write(tmp_path / "pairs.parquet", spoil(pairs(20)))
    command = [source, out, "--model", model, "--images", "--rows-per-shard", 8]
    assert fused(*command).code == 1
    files = {path: path.read_bytes() for path in sorted(out.glob("images/*/*"))}
    tables = shards(out)
    for path in list(files)[:2]:
        path.unlink()
    result = fused(*command)
    assert "16 fused, 4 failed, 18 of these rows done before." in result.out
    assert {path: path.read_bytes() for path in sorted(out.glob("images/*/*"))} == files
    assert shards(out) == tables
    assert "20 of these rows done before." in fused(*command).out


def test_lists_patterns_and_other_columns(model, pair_folder, tmp_path):
    lines = pair_folder / "pairs.csv"
    lines.write_text("a,b\nir/scene0.png,vis/scene0.png\nir/gone.png,vis/scene1.png\n")
    result = fused(lines, tmp_path / "list", "--model", model)
    assert result.code == 1
    assert f"gone: There is no file gone.png; check the path {pair_folder / 'ir' / 'gone.png'}." in result.err
    assert results(tmp_path / "list")[0][0] == "scene0"
    for part in range(2):
        table = pq.read_table(write(tmp_path / "x.parquet", pairs(3))).select(["ir", "vis"])
        binary = [pa.array([row["bytes"] for row in table[name].to_pylist()]) for name in ("ir", "vis")]
        pq.write_table(pa.table(binary, ["left", "right"]), tmp_path / f"part-{part}.parquet")
    out = tmp_path / "parts"
    result = fused(tmp_path / "part-*.parquet", out, "--model", model, "--columns", "left", "right")
    assert result.code == 0, result.err
    found = results(out)
    assert [found[row][0] for row in sorted(found)] == [str(row) for row in range(6)]
    assert found[0][1] == found[3][1] != found[1][1]


BOTH = """
import sys
sys.path.insert(0, sys.argv[1])
from support.command import refusion
for out, extra in (("kept", ["--workers", 1]), ("streamed", ["--workers", 1, "--streaming"])):
    result = refusion("fuse-dataset", "me/pairs", out, "--id-column", "name", "--model", sys.argv[2], *extra)
    assert result.code == 0, result.err
error = refusion("fuse-dataset", "me/nothing", "x").err
assert "There is no data set me/nothing on the Hub" in error
assert "folder" not in error
"""


def test_a_data_set_on_the_hub(model, tmp_path):
    content = write(tmp_path / "pairs.parquet", pairs(5)).read_bytes()
    with HubServer() as server:
        repository = server.add("datasets/me/pairs", {"train-00000-of-00001.parquet": content})
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", BOTH, str(ROOT / "tests"), str(model)]
        result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        server.shutdown()
    assert result.returncode == 0, result.stderr
    kept = results(tmp_path / "kept")
    assert {row: name for row, (name, _) in kept.items()} == {row: f"pair {row}" for row in range(5)}
    assert results(tmp_path / "streamed") == kept
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    assert (manifest["source"], manifest["content"]) == ("me/pairs train", repository.branches["main"])


def test_the_benchmark_needs_more_than_one_file():
    command = [sys.executable, "benchmarks/bulk.py", "--pairs", "8", "--rows-per-shard", "8", "--side", "16"]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "give more --pairs than --rows-per-shard (8)" in result.stderr


def refused(*arguments: object) -> str:
    result = fused(*arguments)
    assert result.code == 2, result.out
    assert "Traceback" not in result.err
    return result.err


def test_images_inside_another_column_are_fused_from_the_flattened_data_set(model, tmp_path):
    rows = [{"key": row["name"], "pair": {"ir": row["ir"], "vis": row["vis"]}} for row in pairs(2)]
    image = datasets.Image()
    features = datasets.Features({"key": datasets.Value("string"), "pair": {"ir": image, "vis": image}})
    nested = datasets.Dataset.from_list(rows, features=features)
    source, out, columns = tmp_path / "pairs.parquet", tmp_path / "out", ("--columns", "pair.ir", "pair.vis")
    nested.to_parquet(source)
    said = refused(source, out, "--model", model, *columns)
    assert "has the columns key, pair, but not pair.ir and pair.vis" in said
    assert "save the data set with flatten() of datasets first" in said
    nested.flatten().to_parquet(source)
    assert fused(source, out, "--model", model, *columns).code == 0
    assert sorted(results(out)) == [0, 1]


def test_what_cannot_be_used_is_one_sentence(model, pair_folder, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(2))
    out, full, common = tmp_path / "out", tmp_path / "full", ("--model", model)
    full.mkdir()
    (full / "other.txt").write_text("")
    assert "no folder or file" in refused(tmp_path / "nothing", out, *common)
    assert "No file matches" in refused(tmp_path / "nothing*.parquet", out, *common)
    assert "columns name, ir, vis, but not depth; check" in refused(source, out, *common, "--columns", "ir", "depth")
    assert "has the columns name, ir, vis, but no column key" in refused(source, out, *common, "--id-column", "key")
    assert "no columns to choose" in refused(pair_folder, out, *common, "--id-column", "key")
    assert "there is no task" in refused(source, out, *common, "--task", "sharp").lower()
    assert "There is no device" in refused(source, out, *common, "--device", "tpu")
    assert "A shard has 0 rows; it must have at least 1." in refused(source, out, *common, "--rows-per-shard", 0)
    few = refusion("fuse-dataset", source, out, *common, "--workers", 0)
    assert (few.code, few.err) == (2, "refusion: A run has 0 workers; it must have at least 1.")
    assert "8 or 16 bits" in refused(source, out, *common, "--bits", 12)
    assert "lies within the source" in refused(pair_folder, pair_folder / "out", *common)
    assert "is a file" in refused(source, source, *common)
    (tmp_path / "cut.parquet").write_bytes(source.read_bytes()[:-20])
    assert "cut.parquet cannot be read as Parquet" in refused(tmp_path / "cut.parquet", out, *common)
    pq.write_table(pa.table({"a": ["x.png"], "b": ["y.png"]}), tmp_path / "names.parquet")
    assert "The images in names.parquet are only paths" in refused(tmp_path / "names.parquet", out, *common)
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "numbers.parquet")
    assert "must hold the bytes" in refused(tmp_path / "numbers.parquet", out, *common)
    write(tmp_path / "empty.parquet", [])
    assert "holds no row" in refused(tmp_path / "empty.parquet", out, *common)
    assert not out.exists()
    assert "holds other.txt; give a new or an empty folder" in refused(source, full, *common)


@pytest.mark.parametrize(
    ("kind", "written"), [([], "data/rows-000000000000.parquet"), (["--images"], "images/000000/000000000.png")]
)
def test_a_disk_that_fills_up_is_told_by_the_file(model, tmp_path, kind, written):
    resource = pytest.importorskip("resource")
    source, out = write(tmp_path / "pairs.parquet", pairs(1, 96, 128)), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        error = refused(source, out, "--model", model, *kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error == f"refusion: {out / written} cannot be used: File too large."
    assert not [path for path in out.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert fused(source, out, "--model", model, *kind).code == 0


def test_a_data_set_in_memory_is_refused_with_what_to_do(model, tmp_path):
    write(tmp_path / "stored.parquet", pairs(2))
    source = datasets.Dataset.from_parquet(str(tmp_path / "stored.parquet"), cache_dir=str(tmp_path / "cache"))
    out = tmp_path / "out"
    with pytest.raises(
        TypeError, match=r'not Dataset\. Save it with to_parquet\("pairs\.parquet"\), and give that file'
    ):
        fuse_dataset(source, out, model=model)
    with pytest.raises(TypeError, match=r"not list\. refusion\.fuse_many fuses pairs in memory"):
        fuse_dataset([("a.png", "b.png")], out, model=model)
    assert not out.exists()
    source.to_parquet(tmp_path / "pairs.parquet")
    assert fuse_dataset(tmp_path / "pairs.parquet", out, model=model, workers=1).fused == 2


def test_a_result_for_which_memory_runs_out_fails_alone(model, tmp_path, monkeypatch):
    written = []

    def to_png(picture, bits):
        written.append(picture)
        if len(written) == 2:
            raise MemoryError
        return refusion_to_png(picture, bits)

    monkeypatch.setattr("refusion.bulk.worker.to_png", to_png)
    summary = fuse_dataset(write(tmp_path / "pairs.parquet", pairs(3)), tmp_path / "out", model=model, workers=1)
    assert summary.fused == 2
    assert [(failure.row, failure.error) for failure in summary.failures] == [
        (1, "Memory ran out after fusing; make the images smaller.")
    ]


def test_a_list_with_a_name_that_is_too_long_is_fused(model, pair_folder, tmp_path):
    (pair_folder / "pairs.csv").write_text(f"a,b\nir/{'n' * 300}.png,vis/scene0.png\nir/scene1.png,vis/scene1.png\n")
    result = fused(pair_folder / "pairs.csv", tmp_path / "out", "--model", model)
    assert result.code == 1
    assert "1 fused, 1 failed" in result.out
    assert "cannot be opened: File name too long." in result.err


def test_an_option_of_stacks_does_not_keep_a_run_from_resuming(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(2))
    fuse_dataset(source, tmp_path / "out", model=model, workers=1)
    before = shards(tmp_path / "out")
    fuse_dataset(source, tmp_path / "out", model=model, workers=1, deghost=False)
    assert shards(tmp_path / "out") == before


def test_a_folder_of_results_is_of_one_source_model_and_settings(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(3))
    out = tmp_path / "out"
    assert fused(source, out, "--model", model, "--rows-per-shard", 2).code == 0
    before = results(out)
    assert "output_range was sources, now it is stretch" in refused(
        source, out, "--model", model, "--output-range", "stretch"
    )
    assert "rows_per_shard was 2, now it is 1" in refused(source, out, "--model", model, "--rows-per-shard", 1)
    assert "engine was None, now it is strips" in refused(source, out, "--model", model, "--engine", "strips")
    other = small_model(tmp_path / "medical", "medical")
    assert "different weights" in refused(source, out, "--model", other, "--task", "ir-vis")
    assert "task was ir-vis, now it is medical" in refused(source, out, "--model", other, "--columns", "ir", "vis")
    assert "source is a different one" in refused(write(tmp_path / "pairs.parquet", pairs(4)), out, "--model", model)
    write(tmp_path / "pairs.parquet", pairs(3))
    assert results(out) == before
    assert "3 of these rows done before" in fused(source, out, "--model", model).out
    shard = out / "data" / "rows-000000000002.parquet"
    shutil.copy(shard, out / "data" / "rows-000000000777.parquet")
    assert "rows-000000000777.parquet in out is not a shard of this run" in refused(source, out, "--model", model)
    (out / "data" / "rows-000000000777.parquet").unlink()
    shutil.copy(shard, out / "data" / "rows-000000000000.parquet")
    assert "it should have 2 rows" in refused(source, out, "--model", model)
    (out / "data" / "rows-000000000000.parquet").unlink()
    shard.write_bytes(shard.read_bytes()[:100])
    assert "is damaged" in refused(source, out, "--model", model)
    shard.unlink()
    assert fused(source, out, "--model", model).code == 0
    assert results(out) == before


def test_a_folder_of_an_older_version_is_told_by_what_it_did_not_know(model, tmp_path):
    source, out = write(tmp_path / "pairs.parquet", pairs(1)), tmp_path / "out"
    assert fused(source, out, "--model", model).code == 0
    manifest = out / "manifest.json"
    begun = json.loads(manifest.read_text())
    older = {key: value for key, value in begun.items() if key not in ("nodata", "weights")} | {"refusion": "0.0.1"}
    manifest.write_text(json.dumps(older))
    error = refused(source, out, "--model", model)
    assert "refusion 0.0.1 had no nodata; refusion 0.0.1 had no weights; refusion was 0.0.1, now it is" in error
    for content in ("{}", "[]", "1", '"refusion"', json.dumps({**older, "refusion": None, "rows_per_shard": []})):
        manifest.write_text(content)
        refused(source, out, "--model", model, "--rows-per-shard", 2)
    manifest.write_text("{}")
    assert "was not written by refusion; give another folder" in refused(source, out, "--model", model)
    manifest.write_text(json.dumps(begun))
    assert "1 of these rows done before" in fused(source, out, "--model", model).out


def test_numbers_of_numpy_are_settings_like_others(model, tmp_path):
    source, out = write(tmp_path / "pairs.parquet", pairs(2)), tmp_path / "out"
    arguments = {"model": model, "window": (np.uint8(3), np.uint8(250)), "workers": 1}
    summary = fuse_dataset(
        source, out, max_pixels=np.int64(1000), bits=np.int64(8), rows_per_shard=np.int64(1), **arguments
    )
    assert (summary.fused, summary.before) == (2, 0)
    again = fuse_dataset(source, out, max_pixels=1000, bits=8, rows_per_shard=1, **arguments)
    assert (again.fused, again.before) == (2, 2)


def test_a_model_in_bfloat16_fuses_as_elsewhere(model, tmp_path):
    loaded = package.ReFusion.from_pretrained(model, torch_dtype=torch.bfloat16)
    rows = pairs(1)
    assert fuse_dataset(write(tmp_path / "pairs.parquet", rows), tmp_path / "out", model=loaded, workers=1).fused == 1
    expected = package.fuse([io.BytesIO(rows[0][name]["bytes"]) for name in ("ir", "vis")], model=loaded)
    _, content = results(tmp_path / "out")[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), expected.to_array())


def test_a_launcher_of_processes_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "without torchrun" in refused(write(tmp_path / "pairs.parquet", pairs(1)), tmp_path / "out")
