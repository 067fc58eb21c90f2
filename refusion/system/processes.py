"""The processes of distributed training, with Hugging Face Accelerate; a single process does not need it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refusion.system.files import printable

if TYPE_CHECKING:
    from torch import Tensor

# Set by torchrun, by accelerate, and by the launchers of MPI.
_COUNT_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def rank_here() -> int:
    """Rank of this process as set by its launcher, before anything is connected; 0 if it is the only one."""
    return int(os.environ.get("RANK") or os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or 0)


def is_alone() -> bool:
    """Whether this process was started as the only one of its run."""
    return all(os.environ.get(name, "1") == "1" for name in _COUNT_VARIABLES)


def error_line(sentence: str) -> str:
    """An error as all commands print it, with the number of the process if it is not the first."""
    process = f"process {rank_here() + 1}: " if rank_here() else ""
    return printable(f"refusion: {process}{sentence}")


class LostProcessError(RuntimeError):
    """Another process of the run ended or cannot be reached; the message is a sentence for the user."""


@dataclass(frozen=True)
class Processes:
    """This process in a distributed run. All processes must make the same calls in the same order.

    Attributes:
        rank: rank of this process, from 0; process 0 writes the files.
        count: number of processes.
        device: device of the tensors that are exchanged.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the files."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"process {self.rank + 1} of {self.count}"

    def part(self, length: int) -> range:
        """Indices of this process's part of a batch of `length`, a multiple of `count`."""
        share = length // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: "Sequence[Tensor]") -> "list[Tensor]":
        """Mean of each tensor over the processes, in one flat buffer; a single process gets its own tensors.

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
        """Mean of each number over the processes; see `average`."""
        if self.count == 1:
            return list(numbers)
        import torch

        (mean,) = self.average([torch.tensor(numbers, dtype=torch.float64, device=self.device)])
        return mean.tolist()

    def gather(self, numbers: Sequence[int]) -> list[int]:
        """The integers of all processes, in the order of their ranks; all must give the same number of integers.

        Raises:
            LostProcessError: another process is gone.
        """
        if self.count == 1:
            return list(numbers)
        import torch

        return self._gather(torch.tensor(numbers)).tolist()

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """The bytes of every process, in the order of their ranks.

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
        """Wait until every process has reached this call.

        Raises:
            LostProcessError: another process is gone.
        """
        self.gather([0])

    def _gather(self, tensor: "Tensor") -> "Tensor":
        from accelerate.utils import gather

        with _together():
            return gather(tensor.to(self.device))

    def leave(self) -> None:
        """Close the connections; nothing can be exchanged afterwards."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


ALONE = Processes()


def join_processes(cpu: bool) -> Processes:
    """Connect to the other processes started by torchrun or accelerate; `ALONE` if this is the only one.

    Args:
        cpu: train on CPUs even if there are GPUs.

    Raises:
        ValueError: accelerate was asked for several processes but started one.
        LostProcessError: the others cannot be reached.
    """
    if is_alone():
        # `accelerate launch --cpu --num_processes 2` sets these variables but starts only one process.
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
    # The error for a lost connection depends on torch's backend, but is always a RuntimeError.
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise LostProcessError(
            "Another process of the run has ended or cannot be reached, so this one stops too. The last checkpoint is "
            f"intact; add --resume to continue from it, with any number of processes that divides the batch. ({reason})"
        ) from error
