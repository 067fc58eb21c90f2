"""The processes that train together, over Hugging Face Accelerate; a process alone needs nothing of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# What torchrun and accelerate set, and the starters of MPI.
_COUNT_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def rank_here() -> int:
    """Number of this process as its starter says, before anything is connected; 0 if it is the only one."""
    return int(os.environ.get("RANK") or os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or 0)


class LostProcessError(RuntimeError):
    """Another process of the run ended or cannot be reached; the message is a sentence for people."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. Every one of them makes the same calls in the same order.

    Attributes:
        rank: number of this process, from 0; the process 0 writes what is written.
        count: how many there are.
        device: where tensors lie that go from one to the other.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"process {self.rank + 1} of {self.count}"

    def part(self, length: int) -> range:
        """Places of this process's part in a batch of `length`, which `count` divides."""
        share = length // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: "Sequence[Tensor]") -> "list[Tensor]":
        """Mean of each tensor over the processes, in one flat buffer; the tensors themselves where one is alone.

        Raises:
            LostProcessError: another process is gone.
        """
        if self.count == 1 or not tensors:
            return list(tensors)
        import torch
        from accelerate.utils import reduce

        with _together():
            flat = reduce(torch.cat([tensor.detach().flatten() for tensor in tensors]), "mean")
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]

    def average_numbers(self, numbers: Sequence[float]) -> list[float]:
        """The same of plain numbers."""
        if self.count == 1:
            return list(numbers)
        import torch

        (mean,) = self.average([torch.tensor(numbers, dtype=torch.float64, device=self.device)])
        return mean.tolist()

    def gather(self, numbers: Sequence[int]) -> list[int]:
        """Whole numbers of all processes, in their order; every process gives equally many.

        Raises:
            LostProcessError: another process is gone.
        """
        if self.count == 1:
            return list(numbers)
        import torch

        return self._gather(torch.tensor(numbers)).tolist()

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """One string of bytes of every process, in their order.

        Raises:
            LostProcessError: another process is gone.
        """
        if self.count == 1:
            return [content]
        import torch

        sizes = self.gather([len(content)])
        longest = max(1, *sizes)
        flat = self._gather(torch.frombuffer(bytearray(content.ljust(longest, b"\0")), dtype=torch.uint8))
        return [part.cpu().numpy().tobytes()[:size] for part, size in zip(flat.split(longest), sizes, strict=True)]

    def wait(self) -> None:
        """Wait until every process has come here.

        Raises:
            LostProcessError: another process is gone.
        """
        self.gather([0])

    def _gather(self, tensor: "Tensor") -> "Tensor":
        from accelerate.utils import gather

        with _together():
            return gather(tensor.to(self.device))

    def leave(self) -> None:
        """End the connections; nothing may be exchanged afterwards."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


ALONE = Processes()


def join_processes(cpu: bool) -> Processes:
    """Connect to the other processes that torchrun or accelerate started; `ALONE` if this is the only one.

    Args:
        cpu: train on CPUs even where there are GPUs.

    Raises:
        ValueError: accelerate was asked for several processes and started one.
        LostProcessError: the others cannot be reached.
    """
    if all(os.environ.get(name, "1") == "1" for name in _COUNT_VARIABLES):
        # `accelerate launch --cpu --num_processes 2` starts one process and sets these for a second that never comes.
        if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ and "RANK" not in os.environ:
            raise ValueError(
                "accelerate was asked for several processes but started one, as it does with --cpu. On CPUs, use "
                "accelerate launch --multi_gpu --num_processes N train.py ... --device cpu, or "
                "torchrun --nproc-per-node N train.py ... --device cpu."
            )
        return ALONE
    from accelerate import PartialState

    with _together():
        state = PartialState(cpu=cpu)
    return Processes(state.process_index, state.num_processes, str(state.device))


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    # What torch raises for a lost connection depends on the backend; all of it is a RuntimeError.
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise LostProcessError(
            "Another process of the run has ended or cannot be reached, so this one stops too. The last checkpoint is "
            f"intact; add --resume to go on from it, with any number of processes that divides the batch. ({reason})"
        ) from error
