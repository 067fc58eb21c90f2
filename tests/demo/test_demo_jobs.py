"""One job at a time, cancelled while it computes."""

import threading
import time

import pytest
import torch
from PIL import Image
from support.scenes import textured

from refusion.demo.events import tell_progress
from refusion.demo.options import DemoOptions
from refusion.demo.queue import CancelledError, JobQueue, Tick
from refusion.demo.service import Fusing, Settings
from refusion.tasks import TASKS


def endless(started: threading.Event) -> None:
    x = torch.ones(8)
    started.set()
    while True:
        x = x + 1


def test_a_running_job_is_cancelled_and_the_next_one_runs():
    jobs, started = JobQueue("cpu"), threading.Event()
    caught = []

    def visit():
        try:
            jobs.run("me", endless, started)
        except CancelledError as error:
            caught.append(error)

    visitor = threading.Thread(target=visit)
    visitor.start()
    started.wait(10)
    jobs.cancel("somebody else")
    assert visitor.is_alive()
    jobs.cancel("me")
    visitor.join(10)
    assert len(caught) == 1
    assert jobs.run("me", lambda: torch.ones(2).sum().item()) == 2


def test_a_waiting_job_is_told_its_place_and_cancelled_without_being_started():
    jobs, started, ran = JobQueue("cpu"), threading.Event(), []
    caught, ticks, ticked = [], [], threading.Event()

    def tick(now):
        ticks.append(now)
        ticked.set()

    def visit(session, function, *args, **options):
        try:
            jobs.run(session, function, *args, **options)
        except CancelledError:
            caught.append(session)

    first = threading.Thread(target=visit, args=("first", endless, started), kwargs={"megapixels": 5.0})
    first.start()
    started.wait(10)
    second = threading.Thread(target=visit, args=("second", ran.append, 1), kwargs={"megapixels": 1.0, "on_tick": tick})
    second.start()
    assert ticked.wait(10)
    jobs.cancel("second")
    second.join(10)
    assert jobs.wait() > 0
    jobs.cancel("first")
    assert jobs.wait() == 0
    first.join(10)
    assert caught == ["second", "first"]
    assert ran == []
    assert {now.place for now in ticks} == {1}
    assert jobs.estimate(1.0) < ticks[0].left <= jobs.estimate(5.0) + jobs.estimate(1.0)


def test_jobs_run_one_at_a_time():
    jobs, inside, most = JobQueue("cpu"), [], []

    def job():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()

    visitors = [threading.Thread(target=jobs.run, args=(str(i), job)) for i in range(6)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(10)
    assert most == [1] * 6


def test_the_time_is_told_while_a_job_computes():
    ticks = []
    JobQueue("cpu").run("me", time.sleep, 0.8, on_tick=ticks.append)
    elapsed, left = ([getattr(tick, name) for tick in ticks] for name in ("elapsed", "left"))
    assert elapsed == sorted(elapsed)
    assert left == sorted(left, reverse=True)
    assert {tick.place for tick in ticks} == {0}


def test_a_job_is_learnt_from():
    jobs = JobQueue("cpu")
    before = jobs.estimate(1.0)
    jobs.run("me", lambda: None, megapixels=1.0)
    assert jobs.estimate(1.0) < before


def test_estimates_follow_what_was_measured():
    jobs = JobQueue("cpu")
    for _ in range(20):
        jobs.learn(2.0, 6.0)
    assert jobs.estimate(4.0) == pytest.approx(12, rel=0.1)
    for megapixels, seconds in ((0.001, 50.0), (2.0, 90.0)):  # Too small to tell, and slowed down by something else.
        jobs.learn(megapixels, seconds)
        assert jobs.estimate(4.0) == pytest.approx(12, rel=0.1)


def test_pairs_say_nothing_about_the_time_of_stacks():
    jobs = JobQueue("cpu")
    for _ in range(20):
        jobs.learn(2.0, 6.0)
        jobs.learn(2.0, 20.0, "stack")
    assert jobs.estimate(2.0) == pytest.approx(6, rel=0.1)
    assert jobs.estimate(2.0, "stack") == pytest.approx(20, rel=0.1)


def test_a_stack_is_timed_as_a_stack(tmp_path, monkeypatch):
    fusing, learnt = Fusing(DemoOptions()), []
    monkeypatch.setattr(fusing.jobs, "learn", lambda megapixels, seconds, kind: learnt.append((megapixels, kind)))
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 40, 50)).save(path)
    for count in (2, 3):
        settings = Settings.checked(fusing.models, TASKS["multi-focus"])
        fusing.fuse("me", tuple(paths[:count]), settings, lambda tick: None)
    assert learnt == [(0.002, "pair"), (0.004, "stack")]


def test_an_error_of_a_job_reaches_the_visitor():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        JobQueue("cpu").run("me", fail)


def test_the_time_left_of_a_batch_is_that_of_all_its_pairs():
    shown = []
    tell = tell_progress(lambda share, desc: shown.append((share, desc)), "Pair 2 of 4", index=1, count=4)
    tell(Tick(place=0, elapsed=1.0, left=3.0))
    tell(Tick(place=2, elapsed=0.0, left=8.0))
    assert shown == [
        (pytest.approx(0.3125), "Pair 2 of 4, about 11 seconds left"),
        (0.25, "2 before you, about 24 seconds left"),
    ]


def test_a_job_that_takes_longer_than_estimated_is_not_almost_done():
    shown = []
    tell = tell_progress(lambda share, desc: shown.append(desc), "Fusing")
    tell(Tick(place=0, elapsed=2.0, left=0.5))
    tell(Tick(place=0, elapsed=9.0, left=0.0))
    assert shown == ["Fusing, almost done", "Fusing, it takes longer than estimated"]
