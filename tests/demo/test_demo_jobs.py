"""One job at a time, cancelled while it computes."""

import threading
import time

import pytest
import torch

from refusion.demo.queue import CancelledError, JobQueue


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


def test_a_waiting_job_is_cancelled_without_being_started():
    jobs, started, ran = JobQueue("cpu"), threading.Event(), []
    caught = []

    def visit(session, function, *args):
        try:
            jobs.run(session, function, *args)
        except CancelledError:
            caught.append(session)

    first = threading.Thread(target=visit, args=("first", endless, started))
    first.start()
    started.wait(10)
    second = threading.Thread(target=visit, args=("second", ran.append, 1))
    second.start()
    while "second" not in jobs._cancels:
        time.sleep(0.01)
    jobs.cancel("second")
    second.join(10)
    jobs.cancel("first")
    first.join(10)
    assert caught == ["second", "first"]
    assert ran == []


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
    assert ticks == sorted(ticks)
    assert ticks[-1] > 0


def test_estimates_follow_what_was_measured():
    jobs = JobQueue("cpu")
    for _ in range(20):
        jobs.learn(2.0, 6.0)
    assert jobs.estimate(4.0) == pytest.approx(12, rel=0.1)
    jobs.learn(0.001, 50.0)
    assert jobs.estimate(4.0) == pytest.approx(12, rel=0.1)


def test_an_error_of_a_job_reaches_the_visitor():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        JobQueue("cpu").run("me", fail)
