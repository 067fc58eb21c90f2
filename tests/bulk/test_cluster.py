"""Bulk fusion on a Ray cluster of two nodes of this machine, with kills of a node and of the driver."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.bulk import finish, pairs, results, shards, spoil, start, write
from support.object_store import object_store
from support.scenes import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra bulk")]

MODEL = "refusion-ir-vis"
ROWS = 40
PATIENCE = 400
"""Seconds after which a run counts as hanging, on a busy machine too."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each, that notice soon when one is gone."""
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        # It reads the variables when it is imported.
        from ray.cluster_utils import Cluster

        noticing = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
        node = {"num_cpus": 1, "object_store_memory": 80_000_000}
        made = Cluster(True, head_node_args={**node, "include_dashboard": False, "_system_config": noticing})
        try:
            made.add_node(**node)
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> tuple[Path, Path]:
    """A source, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("embedded")
    source, out = write(folder / "pairs.parquet", spoil(pairs(ROWS))), folder / "out"
    finish(start(source=source, out=out, model=MODEL, rows_per_shard=2, workers=1))
    return source, out


def command(source: object, out: object, cluster: Any, *extra: str) -> subprocess.Popen:
    words = [sys.executable, "-m", "refusion", "fuse-dataset", str(source), str(out), "--ray", cluster.address]
    words += ["--model", MODEL, "--rows-per-shard", "2", *extra]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(process: subprocess.Popen, now: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not now():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rows_are_those_of_one_process_and_failures_are_tried_again(cluster, embedded, tmp_path):
    source, whole = embedded
    out = tmp_path / "out"
    said, error = (process := command(source, out, cluster)).communicate(timeout=PATIENCE)
    assert process.returncode == 1, error
    assert "36 fused, 4 failed, 0 of these rows done before." in said
    assert "40 rows in" in said
    assert "image A of row 3 is not an image" in " ".join(error.split())
    assert shards(out) == shards(whole)
    assert results(out) == results(whole)
    good = pairs(ROWS)
    mended = spoil(pairs(ROWS))
    mended[3] = good[3]
    said, error = command(
        write(tmp_path / "pairs.parquet", mended), out, cluster, "--retry-failed", "--workers", "1"
    ).communicate(timeout=PATIENCE)
    assert "37 fused, 3 failed, 40 of these rows done before." in said, error
    assert "4 rows in" in said
    assert sorted(results(out)) == list(range(ROWS))


def test_both_nodes_take_part(cluster, tmp_path):
    for count in (ROWS, 20 * ROWS):  # An actor that starts late, on a busy machine, gets nothing of a short run.
        source = write(tmp_path / f"{count}.parquet", pairs(count))
        said, error = (process := command(source, tmp_path / f"out-{count}", cluster)).communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
        if "with 2 processes" in said:
            return
    pytest.fail(said)


def test_kills_of_the_driver_lose_and_double_nothing(cluster, embedded, tmp_path):
    source, whole = embedded
    out = tmp_path / "out"
    for count in (1, 8):
        process = command(source, out, cluster)
        wait_until(process, lambda count=count: len(list(out.glob("data/*"))) >= count)
        process.kill()
        process.communicate()
    assert len(list(out.glob("data/*"))) < ROWS // 2
    # The actors of the last driver may still be at work.
    said, error = command(source, out, cluster).communicate(timeout=PATIENCE)
    assert "36 fused, 4 failed" in said, error
    assert shards(out) == shards(whole)
    assert results(out) == results(whole)


def test_bad_input_is_a_sentence(cluster, tmp_path):
    _, error = (process := command(tmp_path / "gone", tmp_path / "out", cluster)).communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "There is no folder or file" in error
    source = write(tmp_path / "pairs.parquet", pairs(4))
    _, error = (process := command(source, tmp_path / "out", cluster, "--device", "cuda")).communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "has no GPU; choose cpu." in error
    assert "Traceback" not in error
    assert command(source, tmp_path / "out", cluster).wait(PATIENCE) == 0
    (tmp_path / "out" / "data" / "rows-000000000002.parquet").unlink()
    (tmp_path / "out" / ".unfinished").rmdir()
    (tmp_path / "out" / ".unfinished").write_text("")
    _, error = (process := command(source, tmp_path / "out", cluster)).communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "File exists" in error
    assert "Traceback" not in error


def test_an_object_store_on_both_ends(cluster, embedded, tmp_path):
    source, whole = embedded
    with object_store() as store:
        store.put("pairs/pairs.parquet", source.read_bytes())
        out = store.uri("fused")
        process = command(store.uri("pairs/pairs.parquet"), out, cluster)
        wait_until(process, lambda: len(store.names("fused/data")) >= 3)
        process.kill()
        process.communicate()
        said, error = command(store.uri("pairs/pairs.parquet"), out, cluster).communicate(timeout=PATIENCE)
        assert "36 fused, 4 failed" in said, error
        found = {Path(name).name: store.get(name) for name in store.names("fused/data")}
    assert found == shards(whole)


# The last one, since a node is gone after it.
def test_a_node_that_is_killed_costs_no_row(cluster, embedded, tmp_path):
    source, whole = embedded
    out = tmp_path / "out"
    process = command(source, out, cluster)
    wait_until(process, lambda: len(list(out.glob("data/*"))) >= 4)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert process.poll() is None
    said, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, error
    assert "36 fused, 4 failed, 0 of these rows done before." in said
    assert shards(out) == shards(whole)
    assert results(out) == results(whole)
