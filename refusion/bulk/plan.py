"""What a bulk fusion has left to do: the parts without a shard, and those of which something is to be fused again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refusion.bulk.shards import Footer, lost_images, read_shards
from refusion.pairs.rows import Part
from refusion.system.stores import Store


@dataclass(frozen=True)
class Plan:
    """The parts of a source, and which of them a run fuses.

    Attributes:
        parts: all parts, in order.
        done: the parts that have a shard, with what its footer says.
        lost: number of images that are gone, of the parts that have a shard and lack some.
        pending: the parts to fuse.
    """

    parts: Sequence[Part]
    done: Mapping[Part, Footer]
    lost: Mapping[Part, int]
    pending: Sequence[Part]

    @property
    def pending_rows(self) -> int:
        """Number of rows to fuse; of a part that has a shard, these are the failed ones and those without image."""
        failed = {part: len(footer.failures) for part, footer in self.done.items()}
        return sum(failed.get(part, part.rows) + self.lost.get(part, 0) for part in self.pending)

    @property
    def done_rows(self) -> int:
        """Number of rows that were fused or had failed before, without those whose image is gone."""
        return sum(part.rows for part in self.done) - sum(self.lost.values())


def make_plan(store: Store, parts: Sequence[Part], *, images: bool, retry_failed: bool) -> Plan:
    """Compare the parts of a source with the results that are there.

    Args:
        store: the folder of the results.
        parts: all parts.
        images: whether the images are separate files, which may be gone.
        retry_failed: fuse rows again that failed before.

    Raises:
        DataError: a shard is damaged, or belongs to none of these parts.
    """
    done = read_shards(store, parts)
    lost = lost_images(store, done) if images else {}
    again = {part for part, footer in done.items() if part in lost or (retry_failed and footer.failures)}
    return Plan(parts, done, lost, [part for part in parts if part not in done or part in again])
