"""Work of one worker, in any process on any machine: write a shard for each part it receives."""

import heapq
import io
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from refusion.bulk.shards import IMAGES, lost_rows, open_shard, rows_of, shard_name, shard_schema, write_shard
from refusion.images.reading import read_picture
from refusion.images.writing import to_png
from refusion.inference.finishing import Fused
from refusion.inference.many import fuse_with_sources
from refusion.inference.network import Network
from refusion.inference.options import Options
from refusion.inference.preparation import Prepared
from refusion.models.loading import load
from refusion.pairs.failures import Failure
from refusion.pairs.rows import Part, Row
from refusion.system.stores import Store
from refusion.tasks import Task
from refusion.version import __version__

if TYPE_CHECKING:
    from refusion.models.model import ReFusion

_IMAGES_PER_FOLDER = 1000


@dataclass(frozen=True)
class Worker:
    """Turns parts into shards. It can be pickled, and loads the model in the process where it runs.

    Attributes:
        read: returns the rows of a part.
        store: where the results are written.
        model: the model, or the name of a bundled one.
        device: device of the network.
        task: the task, for its defaults.
        options: options of fusing.
        bits: 8, 16, or None for the depth of the sources.
        images: whether images are written as files.
        metrics: metrics to compute.
        batch_size: see `refusion.fuse_many`.
        version: version of refusion where the run was started.
    """

    read: Callable[[Part], Iterator[Row]]
    store: Store
    model: "ReFusion | str"
    device: str
    task: Task
    options: Options
    bits: int | None
    images: bool
    metrics: tuple[str, ...]
    batch_size: int
    version: str = __version__

    @cached_property
    def network(self) -> Network:
        """The loaded model; raises `ValueError` if refusion has another version here."""
        if self.version != __version__:
            said = f"{socket.gethostname()} has refusion {__version__}, but the run was started with {self.version}"
            raise ValueError(f"{said}; install the same version on every machine.")
        return load(self.task.name, self.model, self.device, self.options.engine)

    def fuse(self, part: Part) -> tuple[int, str]:
        """Fuse the rows of a part and write its shard; if it exists, only rows that failed or lost their image.

        Returns:
            The number of rows tried, and the process.

        Raises:
            DataError: the rest of the source cannot be read.
            OSError: the shard cannot be written.
        """
        name, rows, count = shard_name(part), self.read(part), part.rows
        schema = shard_schema(self.images, self.metrics)
        if not self.store.exists(name):
            write_shard(self.store, name, schema, self._results(rows))
        else:
            shard, footer = open_shard(self.store, name)
            with shard:
                wanted = {failure.row for failure in footer.failures} | lost_rows(shard, self.store.exists)
                count = len(wanted)
                again = self._results(row for row in rows if row.index in wanted)
                kept = (row for row in rows_of(shard) if row["row"] not in wanted)
                rows_of_both = heapq.merge(kept, again, key=lambda x: x["row"] if isinstance(x, dict) else x.row)
                write_shard(self.store, name, schema, rows_of_both)
        return count, f"{socket.gethostname()}-{os.getpid()}"

    def _results(self, rows: Iterator[Row]) -> Iterator[dict[str, Any] | Failure]:
        taken: deque[Row] = deque()

        def pairs() -> Iterator[tuple[Path | BinaryIO, Path | BinaryIO]]:
            for row in rows:
                taken.append(row)
                yield row.sources

        fused = fuse_with_sources(self.network, pairs(), self.options, self.task, self.batch_size, constant=True)
        for outcome, pair in fused:
            row = taken.popleft()
            if outcome.fused is None or pair is None:
                yield Failure(row.index, row.id, outcome.reason)
                continue
            try:
                yield self._result(row, pair, outcome.fused)
            except ValueError as error:
                yield Failure(row.index, row.id, str(error))
            except MemoryError:
                yield Failure(row.index, row.id, "Memory ran out after fusing; make the images smaller.")

    def _result(self, row: Row, pair: Prepared, fused: Fused) -> dict[str, Any]:
        png = to_png(fused.picture, self.bits)
        result = {"row": row.index, "id": row.id, "note": " ".join(fused.notes) or None}
        if self.metrics:
            result |= self._scores(pair, png)
        if not self.images:
            return result | {"fused": {"bytes": png, "path": f"{row.index:09d}.png"}}
        name = f"{IMAGES}/{row.index // _IMAGES_PER_FOLDER:06d}/{row.index:09d}.png"
        with self.store.finishing(name) as unfinished:
            unfinished.write_bytes(png)
        return result | {"file_name": name}

    def _scores(self, pair: Prepared, png: bytes) -> dict[str, float]:
        from refusion.metrics.scoring import large_enough, score_fused

        metrics = large_enough(self.metrics, pair.a.size)
        return score_fused(pair.a, pair.b, read_picture(io.BytesIO(png)), metrics)
