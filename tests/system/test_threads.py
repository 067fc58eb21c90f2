"""Threads that work side by side, and what ends them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.modules import SMALL

from refusion.inference.engines.dispatch import fuse_luminances
from refusion.modules.fusion import FusionModule
from refusion.system.threads import cpu_threads, in_order, interruptible, side_by_side


def test_a_function_that_fails_ends_the_others():
    ended = threading.Event()

    def fail(stop: threading.Event) -> None:
        raise RuntimeError("the first one failed")

    def go_on(stop: threading.Event) -> None:
        assert stop.wait(60)
        ended.set()

    with pytest.raises(RuntimeError, match="the first one failed"):
        side_by_side([fail, go_on])
    assert ended.is_set()


@pytest.mark.parametrize("count", [1, 2])
def test_who_interrupts_the_calling_thread_ends_all_of_them(count):
    class CancelledError(Exception):
        pass

    def cancel() -> None:
        raise CancelledError

    ended = []

    def go_on(stop: threading.Event) -> None:
        ended.append(stop.wait(60))

    with pytest.raises(CancelledError), interruptible(cancel):
        side_by_side([go_on] * count)
    assert ended == [True] * count
    side_by_side([lambda stop: ended.append(stop.is_set())])
    assert ended[-1] is False


def test_there_are_as_many_threads_as_torch_has():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert cpu_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("wanted", ["", "1", "3", "many"])
def test_without_torch_there_are_as_many_as_it_would_have(wanted):
    code = (
        "import sys; from refusion.system.threads import cpu_threads as n; print(n()); "
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": wanted}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    expected = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert found.stdout == expected.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("engine", ["onnx", "strips", "whole"])
def test_a_forked_worker_fuses_after_its_parent(engine):
    module = FusionModule(**SMALL).eval()
    a, b = np.random.default_rng(0).random((2, 256, 256), np.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        (here,) = fuse_luminances(module, [a], [b], engine)

        def fuse() -> bool:
            (there,) = fuse_luminances(module, [a], [b], engine)
            return bool(np.allclose(here, there, atol=1e-5))

        assert ends_well(fuse, 120)
    finally:
        torch.set_num_threads(threads)


def ends_well(function: Callable[[], bool], seconds: float) -> bool:
    """Whether a function returns true in a forked process; one that hangs is ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if function() else 2
        finally:
            os._exit(code)
    for _ in range(int(seconds * 10)):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_arguments(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        taken, inside = [], []

        def arguments():
            for number in range(30):
                taken.append(number)
                yield number, 2

        def double(number: int, factor: int) -> int:
            inside.append(torch.get_num_threads())
            return number * factor

        results = in_order(double, arguments())
        assert next(results) == 0
        assert len(taken) <= 2 * count + 1
        assert list(results) == [2 * number for number in range(1, 30)]
        assert set(inside) == {1}
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_what_fails_in_a_thread_ends_the_rest():
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise RuntimeError("the third one failed")
        return number

    results = in_order(fail_at_three, ((number,) for number in range(1000)))
    with pytest.raises(RuntimeError, match="the third one failed"):
        list(results)
