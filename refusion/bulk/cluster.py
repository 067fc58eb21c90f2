"""Workers on many machines: actors of Ray Data, which restarts them, reassigns their parts, and scales."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

from refusion.bulk.worker import Worker
from refusion.pairs.errors import DataError
from refusion.pairs.rows import Part, Piece
from refusion.system.errors import sentence_of


def connect(address: str, device: str | None, workers: int | None) -> list[str]:
    """Connect to a Ray cluster.

    Args:
        address: as for `ray.init`; ``local`` starts a cluster on this machine.
        device: see `refusion.fuse_dataset`.
        workers: largest number of workers.

    Returns:
        The device of each worker that the cluster has room for now.

    Raises:
        ValueError: Ray is not installed, there is no such cluster, or it has no GPU.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # For a cluster that is started here.
    try:
        import ray
    except ImportError as error:
        raise ValueError('Fusing on many machines needs Ray; install it with pip install "refusion[bulk]".') from error
    try:
        ray.init(address=address, include_dashboard=False if address == "local" else None, ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"There is no Ray cluster at {address}: {error}") from error
    cpus, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
    if device == "cuda" and not gpus:
        raise ValueError(f"The Ray cluster at {address} has no GPU; choose cpu.")
    kind, count = ("cuda", gpus) if gpus and device != "cpu" else ("cpu", cpus)
    return [kind] * max(1, min(count, workers or count))


def fuse_on_cluster(
    worker: Worker, parts: Sequence[Part], count: int, max_count: int | None
) -> Iterator[tuple[int, str]]:
    """Fuse parts in actors that have a GPU or a CPU each; only the places of rows pass through Ray, not images.

    Args:
        worker: the worker that each actor runs; its device selects GPUs or CPUs.
        parts: the parts.
        count: initial number of actors.
        max_count: largest number of actors; if not given, as many as the cluster has room for, now and later.

    Yields:
        The number of rows of each finished part, and the process that fused it.

    Raises:
        DataError: a worker failed; the message gives the reason.
        ChildProcessError: Ray gave up.
    """
    import ray.data
    from ray.exceptions import RayError

    items = ray.data.from_items([{"part": json.dumps(asdict(part))} for part in parts], override_num_blocks=len(parts))
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max_count, initial_size=min(count, len(parts)))
    cpus, gpus = (None, 1) if worker.device == "cuda" else (1, None)
    done = items.map(cast(Any, _Actor), fn_constructor_args=(worker,), compute=pool, num_cpus=cpus, num_gpus=gpus)
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            yield int(row["rows"]), str(row["process"])
    except RayError as error:
        raise ChildProcessError(f"The Ray cluster gave up; run the same command again to resume. ({error})") from error


class _Actor:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        said = json.loads(row["part"])
        part = Part(said["first"], said["rows"], tuple(Piece(**piece) for piece in said["pieces"]))
        try:
            rows, process = self.worker.fuse(part)
        except (ValueError, OSError) as error:  # Ray would turn it into a traceback.
            return {"rows": 0, "process": "", "error": sentence_of(error)}
        return {"rows": rows, "process": process, "error": ""}
