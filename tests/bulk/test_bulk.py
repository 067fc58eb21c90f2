"""Bulk fusion: what comes out, what a kill leaves, and what is refused."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accelerate import PartialState
from PIL import Image
from support import bulk_worker
from support.command import refusion, small_model
from support.hub_server import HubServer
from support.scenes import ROOT, textured

import refusion as package
from refusion.bulk.run import fuse_dataset
from refusion.images.reading import read_picture
from refusion.metrics.evaluation import levels
from refusion.metrics.fusion import DEFAULT_METRICS, score
from refusion.pairs.rows import Source, _Stream, open_source
from refusion.tasks import get_task

IR_VIS = get_task("ir-vis")


@pytest.fixture(autouse=True)
def _no_process_left():
    yield
    PartialState._reset_state()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "model")


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def pairs(count: int, height: int = 16, width: int = 24) -> list[dict]:
    return [
        {
            "name": f"pair {index}",
            "ir": {"bytes": png(textured(index, height, width)), "path": None},
            "vis": {"bytes": png(textured(1000 + index, height, width)), "path": None},
        }
        for index in range(count)
    ]


def write(path: Path, rows: list[dict], group: int = 5) -> Path:
    features = datasets.Features({"name": datasets.Value("string"), "ir": datasets.Image(), "vis": datasets.Image()})
    pq.write_table(pa.Table.from_pylist(rows, features.arrow_schema), path, row_group_size=group)
    return path


def spoil(rows: list[dict]) -> list[dict]:
    """Rows 3, 5, 8 and 13 cannot be fused."""
    rows[3]["ir"]["bytes"] = b"broken"
    rows[5]["vis"] = None
    rows[8]["vis"]["bytes"] = png(textured(1, 20, 20))
    rows[13]["ir"] = {"bytes": None, "path": str(ROOT / "space" / "examples" / "ir-vis_ir.png")}
    return rows


def results(out: Path) -> dict[int, tuple]:
    """Id and picture, or what went wrong, by row; no row is there twice."""
    found: dict[int, tuple] = {}
    rows = [row for shard in sorted((out / "data").glob("*.parquet")) for row in pq.read_table(shard).to_pylist()]
    for row in rows:
        assert row["row"] not in found
        found[row["row"]] = (row["id"], row["fused"]["bytes"])
    if (out / "failures.jsonl").is_file():
        for line in (out / "failures.jsonl").read_text().splitlines():
            failure = json.loads(line)
            assert failure["row"] not in found
            found[failure["row"]] = (failure["id"], failure["error"])
    return found


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


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory) -> tuple[Path, dict[int, tuple]]:
    """Twenty rows, four of which fail, and what becomes of them if nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    source = write(folder / "pairs.parquet", spoil(pairs(20)))
    for process in bulk_worker.start(source=source, out=folder / "out", model=model, rows_per_shard=4):
        process.join()
        assert process.exitcode == 0
    expected = results(folder / "out")
    assert sorted(expected) == list(range(20))
    return source, expected


# One after the other on the same folder: within the first shard, right after it, within a later one, and so on.
def test_kills_at_many_rows_lose_and_double_nothing(model, uninterrupted, tmp_path):
    source, expected = uninterrupted
    arguments = {"source": source, "out": tmp_path / "out", "model": model, "rows_per_shard": 4}
    counts = []
    for rows in (0, 1, 3, 4, 5, 6, 1):
        (process,) = bulk_worker.start(kill_after=rows, **arguments)
        process.join()
        assert process.exitcode == -9
        counts.append(len(results(tmp_path / "out")))
    # Rows 3, 5, 8 and 13 fail, so that they are not in the shards.
    assert counts == [0, 0, 0, 3, 6, 9, 9]
    (process,) = bulk_worker.start(**arguments)
    process.join()
    assert process.exitcode == 0
    assert results(tmp_path / "out") == expected
    shards = {path.name: path.read_bytes() for path in (tmp_path / "out" / "data").iterdir()}
    assert shards == {path.name: path.read_bytes() for path in (source.parent / "out" / "data").iterdir()}


def test_kills_of_two_processes_and_a_start_with_another_number(model, uninterrupted, tmp_path):
    source, expected = uninterrupted
    data = tmp_path / "out" / "data"
    arguments = {"source": source, "out": tmp_path / "out", "model": model, "rows_per_shard": 2}
    for processes, shards in ((2, 1), (1, 3), (2, 5)):
        started = bulk_worker.start(processes=processes, **arguments)
        while all(process.is_alive() for process in started) and len(list(data.glob("rows-*"))) < shards:
            time.sleep(0.002)
        for process in started:
            process.kill()
        for process in started:
            process.join()
    done = len(list(data.glob("rows-*")))
    assert done >= 5
    (tmp_path / "out" / ".unfinished" / "rows-000000000099.parquet").write_bytes(b"half")
    for process in (started := bulk_worker.start(processes=2, **arguments)):
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    assert results(tmp_path / "out") == expected
    assert not list((tmp_path / "out" / ".unfinished").iterdir())


def test_a_refusal_ends_all_processes(model, uninterrupted, tmp_path):
    (tmp_path / "file").write_text("")
    started = bulk_worker.start(processes=2, source=uninterrupted[0], out=tmp_path / "file", model=model)
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [1, 1]
    assert (tmp_path / "file").read_text() == ""


def test_the_command_under_torchrun(model, uninterrupted, tmp_path):
    source, expected = uninterrupted
    launcher = ["torch.distributed.run", "--nproc-per-node", "2"]
    command = [sys.executable, "-m", *launcher, "-m", "refusion", "fuse-dataset", source, tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*map(str, command), "--model", str(model)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert "16 fused, 4 failed, 0 of these rows done before." in result.stdout
    assert "20 rows in" in result.stdout
    assert "with 2 processes" in result.stdout
    assert results(tmp_path / "out") == expected


def test_bad_rows_are_listed_and_the_others_done(model, uninterrupted, tmp_path):
    source, expected = uninterrupted
    command = ["fuse-dataset", source, tmp_path / "out", "--model", model, "--id-column", "name"]
    result = refusion(*command)
    assert result.code == 1
    assert "16 fused, 4 failed, 0 of these rows done before." in result.out
    assert "pair 3: picture A of row 3 is not a picture" in result.err
    assert "pair 5: The picture B of row 5 is missing." in result.err
    assert "pair 8: The two sources must show the same scene" in result.err
    assert "pair 13: The picture A of row 13 is only a path" in result.err
    found = results(tmp_path / "out")
    assert {row: content for row, (_, content) in found.items()} == {
        row: content for row, (_, content) in expected.items()
    }
    again = refusion(*command)
    assert again.code == 1
    assert "16 fused, 4 failed, 20 of these rows done before." in again.out
    assert results(tmp_path / "out") == found


def test_a_folder_of_pairs_gives_files(model, pair_folder, tmp_path):
    Image.fromarray(textured(9)).save(pair_folder / "vis" / "lonely.png")
    out = tmp_path / "out"
    result = refusion("fuse-dataset", pair_folder, out, "--model", model, "--images", "--rows-per-shard", 4)
    assert result.code == 1
    assert "6 fused, 1 failed" in result.out
    assert "lonely.png has no partner in ir" in (out / "failures.jsonl").read_text()
    rows = pq.read_table(sorted((out / "data").glob("*.parquet"))).to_pylist()
    assert [row["id"] for row in rows] == [f"scene{index}" for index in range(6)]
    for row in rows:
        sources = [pair_folder / folder / f"{row['id']}.png" for folder in ("ir", "vis")]
        with Image.open(out / row["file_name"]) as fused:
            np.testing.assert_array_equal(np.asarray(fused), package.fuse(sources, model=model).to_array())
    assert len(list(out.glob("images/*/*"))) == 6


def test_lists_patterns_and_other_columns(model, pair_folder, tmp_path):
    lines = pair_folder / "pairs.csv"
    lines.write_text("a,b\nir/scene0.png,vis/scene0.png\nir/gone.png,vis/scene1.png\n")
    result = refusion("fuse-dataset", lines, tmp_path / "list", "--model", model)
    assert result.code == 1
    assert "gone: There is no file gone.png" in result.err
    assert results(tmp_path / "list")[0][0] == "scene0"
    for part in range(2):
        table = pq.read_table(write(tmp_path / "x.parquet", pairs(3))).select(["ir", "vis"])
        binary = [pa.array([row["bytes"] for row in table[name].to_pylist()]) for name in ("ir", "vis")]
        pq.write_table(pa.table(binary, ["left", "right"]), tmp_path / f"part-{part}.parquet")
    out = tmp_path / "parts"
    result = refusion("fuse-dataset", tmp_path / "part-*.parquet", out, "--model", model, "--columns", "left", "right")
    assert result.code == 0, result.err
    found = results(out)
    assert [found[row][0] for row in sorted(found)] == [str(row) for row in range(6)]
    assert found[0][1] == found[3][1] != found[1][1]


BOTH = """
import sys
sys.path.insert(0, sys.argv[1])
from support.command import refusion
for out, extra in (("kept", []), ("streamed", ["--streaming"])):
    result = refusion("fuse-dataset", "me/pairs", out, "--id-column", "name", "--model", sys.argv[2], *extra)
    assert result.code == 0, result.err
assert "There is no repository me/nothing on the Hub" in refusion("fuse-dataset", "me/nothing", "x").err
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
    assert manifest["source"] == f"me/pairs train {repository.branches['main']}"


def refused(*arguments: object) -> str:
    result = refusion("fuse-dataset", *arguments)
    assert result.code == 2, result.out
    assert "Traceback" not in result.err
    return result.err


def test_what_cannot_be_used_is_one_sentence(model, pair_folder, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(2))
    out, full, common = tmp_path / "out", tmp_path / "full", ("--model", model)
    full.mkdir()
    (full / "other.txt").write_text("")
    assert "no folder or file" in refused(tmp_path / "nothing", out, *common)
    assert "No file fits" in refused(tmp_path / "nothing*.parquet", out, *common)
    assert "the two picture columns are ir and depth" in refused(source, out, *common, "--columns", "ir", "depth")
    assert "has the columns name, ir, vis; there is no key" in refused(source, out, *common, "--id-column", "key")
    assert "no columns to choose" in refused(pair_folder, out, *common, "--id-column", "key")
    assert "there is no task" in refused(source, out, *common, "--task", "sharp").lower()
    assert "There is no device" in refused(source, out, *common, "--device", "tpu")
    assert "at least 1" in refused(source, out, *common, "--rows-per-shard", 0)
    assert "8 or 16 bits" in refused(source, out, *common, "--bits", 12)
    assert "lies within the source" in refused(pair_folder, pair_folder / "out", *common)
    assert "is a file" in refused(source, source, *common)
    (tmp_path / "cut.parquet").write_bytes(source.read_bytes()[:-20])
    assert "cut.parquet cannot be read as Parquet" in refused(tmp_path / "cut.parquet", out, *common)
    pq.write_table(pa.table({"a": ["x.png"], "b": ["y.png"]}), tmp_path / "names.parquet")
    assert "holds the bytes" in refused(tmp_path / "names.parquet", out, *common)
    write(tmp_path / "empty.parquet", [])
    assert "holds no row" in refused(tmp_path / "empty.parquet", out, *common)
    assert not out.exists()
    assert "holds other.txt; give a new or an empty folder" in refused(source, full, *common)


def test_a_folder_of_results_is_of_one_source_model_and_settings(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(3))
    out = tmp_path / "out"
    assert refusion("fuse-dataset", source, out, "--model", model).code == 0
    before = results(out)
    assert "output_range was sources, now it is stretch" in refused(
        source, out, "--model", model, "--output-range", "stretch"
    )
    other = small_model(tmp_path / "medical", "medical")
    assert "other weights" in refused(source, out, "--model", other, "--task", "ir-vis")
    assert "source has changed" in refused(write(tmp_path / "pairs.parquet", pairs(4)), out, "--model", model)
    write(tmp_path / "pairs.parquet", pairs(3))
    assert results(out) == before
    assert refusion("fuse-dataset", source, out, "--model", model, "--rows-per-shard", 1).code == 0
    shard = next((out / "data").iterdir())
    shutil.copy(shard, out / "data" / "rows-000000000777.parquet")
    assert "Row 0 is in rows-000000000777.parquet and in another" in refused(source, out, "--model", model)
    shard.write_bytes(shard.read_bytes()[:100])
    assert "is damaged" in refused(source, out, "--model", model)


def test_two_runs_in_one_folder_are_refused(model, tmp_path):
    source = write(tmp_path / "pairs.parquet", pairs(40, 64, 64))
    out = tmp_path / "out"
    (first,) = bulk_worker.start(source=source, out=out, model=model, rows_per_shard=1)
    while first.is_alive() and not list((out / "data").glob("rows-*")):
        time.sleep(0.002)
    os.kill(first.pid, 19)  # SIGSTOP, so that it is still there
    try:
        assert "Another run is at work in out" in refused(source, out, "--model", model)
    finally:
        first.kill()
    first.join()
    assert refusion("fuse-dataset", source, out, "--model", model).code == 0
    assert sorted(results(out)) == list(range(40))


def sources_of_31_rows(folder: Path) -> dict[str, Source]:
    rows = pairs(31, 8, 8)
    few, many = (write(folder / f"{group}.parquet", rows, group) for group in (31, 2))
    for name in ("ir", "vis"):
        (folder / "files" / name).mkdir(parents=True)
        for index, row in enumerate(rows):
            (folder / "files" / name / f"{index:02d}.png").write_bytes(row[name]["bytes"])
    streamed = datasets.load_dataset("parquet", data_files=[str(few), str(few)], split="train", streaming=True).take(31)
    streamed = streamed.rename_columns({"name": "id", "ir": "a", "vis": "b"})
    for column in ("a", "b"):
        streamed = streamed.cast_column(column, datasets.Image(decode=False))
    return {
        "few row groups": open_source(few, IR_VIS),
        "many row groups": open_source(many, IR_VIS),
        "files": open_source(folder / "files", IR_VIS),
        "stream": _Stream(streamed, "stream"),
    }


def test_the_rows_of_all_processes_are_those_that_are_not_done(tmp_path):
    picture = pairs(31, 8, 8)[17]["ir"]["bytes"]
    rng = np.random.default_rng(0)
    for name, source in sources_of_31_rows(tmp_path).items():
        for world_size in (1, 2, 5):
            for done in (np.zeros(0, bool), rng.random(25) < 0.7, np.ones(31, bool)):
                parts = [list(source.rows(done, rank, world_size)) for rank in range(world_size)]
                seen = sorted(row.index for part in parts for row in part)
                expected = [row for row in range(31) if row >= len(done) or not done[row]]
                assert seen == expected, (name, world_size)
        row = next(row for row in source.rows(np.zeros(0, bool)) if row.index == 17)
        np.testing.assert_array_equal(
            read_picture(row.sources()[0]).luminance, read_picture(io.BytesIO(picture)).luminance
        )


def test_only_the_row_groups_of_a_process_are_read(tmp_path):
    path = write(tmp_path / "pairs.parquet", pairs(32, 8, 8), group=2)
    source = open_source(path, IR_VIS)
    mine = [row.index for row in source.rows(np.zeros(0, bool), 1, 2)]
    assert mine == [row for group in range(1, 16, 2) for row in (2 * group, 2 * group + 1)]
