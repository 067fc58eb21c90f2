"""Bands of rows, a thread for each: together they are the whole picture, and nothing outside notices the threads."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from test_strips import scattered

from refusion.bands import HALO, bands_for, cut, side_by_side
from refusion.strips import fuse_in_strips


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("bands", [2, 3, 8])
def test_bands_and_strips_of_every_height_give_the_plain_forward(padding_mode, bands):
    module = scattered(padding_mode=padding_mode)
    a, b = torch.rand(2, 1, 1, 33, 11)
    with torch.no_grad():
        expected = module(a, b)
    assert expected.std() > 1e-3
    for rows in (1, 2, 3, 4, 5, 9, 13, 40):
        fused = fuse_in_strips(module, a, b, rows=rows, bands=bands)
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bands", [2, 5])
def test_bands_leave_no_seam_in_double_precision(bands):
    module = scattered().double()
    a, b = torch.rand(2, 1, 1, 29, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = module(a, b)
    torch.testing.assert_close(fuse_in_strips(module, a, b, rows=3, bands=bands), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("height", "count"), [(8, 1), (3, 1), (8, 2), (37, 4), (1000, 64)])
def test_every_row_is_owned_by_one_band(height, count):
    bands = cut(height, count)
    owned = [row for band in bands for row in range(band.start + band.own.start, band.start + band.own.stop)]
    assert owned == list(range(height))
    for band in bands:
        assert 0 <= band.start < band.stop <= height
        assert band.own.start == (HALO if band is not bands[0] else 0)


@pytest.mark.parametrize(("height", "count"), [(8, 3), (7, 2), (8, 0)])
def test_bands_smaller_than_their_halo_are_refused(height, count):
    with pytest.raises(ValueError, match=f"{height} rows cannot be cut into {count} bands of at least 4 rows"):
        cut(height, count)


def test_there_is_a_band_for_each_thread_as_far_as_the_rows_suffice():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert [bands_for(height, torch.device("cpu")) for height in (8, 64, 95, 96, 10**6)] == [1, 2, 2, 3, 3]
        assert bands_for(10**6, torch.device("mps")) == 1
    finally:
        torch.set_num_threads(threads)


def test_a_band_that_fails_ends_the_others():
    ended = threading.Event()

    def fail(stop: threading.Event) -> None:
        raise RuntimeError("the first one failed")

    def go_on(stop: threading.Event) -> None:
        assert stop.wait(60)
        ended.set()

    with pytest.raises(RuntimeError, match="the first one failed"):
        side_by_side([fail, go_on])
    assert ended.is_set()


def test_who_ends_the_calling_thread_ends_the_bands():
    class CancelledError(Exception):
        pass

    class Cancel(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            raise CancelledError

    ended = []

    def go_on(stop: threading.Event) -> None:
        ended.append(stop.wait(60))

    with pytest.raises(CancelledError), Cancel():
        side_by_side([go_on, go_on])
    assert ended == [True, True]


THREADS = """
    import os
    import threading

    import torch
    from refusion.fusion import FusionModule
    from refusion.strips import fuse_in_strips

    def threads_of_a_new_thread():
        found = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    torch.set_num_threads(3)
    module, (a, b) = FusionModule(blocks=1), torch.rand(2, 1, 1, 96, 16)
    fused = fuse_in_strips(module, a, b, bands=2)
    assert torch.get_num_threads() == threads_of_a_new_thread() == 3
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # as torch's data loaders do: OpenMP's threads are gone
    again = fuse_in_strips(module, a, b, bands=2)
    assert torch.equal(fused, again)
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_threads_of_the_caller_stay_and_a_forked_process_has_its_own():
    subprocess.run([sys.executable, "-c", textwrap.dedent(THREADS)], check=True, timeout=120)


def test_pairs_fused_at_once_do_not_disturb_each_other():
    module = scattered()
    pairs = [torch.rand(2, 1, 1, 40, 24) for _ in range(4)]
    expected = [fuse_in_strips(module, *pair, bands=2) for pair in pairs]
    found: list[torch.Tensor | None] = [None] * len(pairs)

    def fuse(i: int) -> None:
        for _ in range(3):
            found[i] = fuse_in_strips(module, *pairs[i], rows=5, bands=2)

    threads = [threading.Thread(target=fuse, args=(i,)) for i in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
