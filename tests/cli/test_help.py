"""`--help` names every value that an option accepts."""

from typing import get_args

import pytest
from support.command import check_refused, refusion

from refusion.tasks import TASKS, Anchor, ChromaRule, Engine, Motion, OutputRange, Resize


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fuse", (Anchor, ChromaRule, Engine, Motion, OutputRange, Resize)),
        ("fuse-dataset", (Anchor, ChromaRule, Motion, OutputRange, Resize)),
        ("evaluate", (Anchor, OutputRange)),
    ],
)
def test_every_choice_is_named(command, options, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = refusion(command, "--help").out
    words = {word.strip(".,:;()") for word in text.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split()}
    for choices in options:
        assert set(get_args(choices)) <= words, choices
    assert set(TASKS) <= words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["evaluate", "--data", "pairs", "--fused", "one", "two", "three"],
            "two is one value too many for evaluate; to give several to --model, --fused, --metrics or --metric, "
            "repeat the option before each.",
        ),
        (["card", "one", "two"], "two is one value too many for card; leave it out. refusion card --help"),
    ],
)
def test_values_that_follow_no_option_are_refused_with_advice(arguments, words):
    check_refused(refusion(*arguments), words)


def test_the_batch_of_an_exported_model_is_said():
    text = " ".join(refusion("export", "--help").out.split())
    assert "takes one pair at a time (a batch of 1): run it once for each pair." in text


def test_the_largest_image_that_is_explained_is_named():
    text = " ".join(refusion("explain", "--help").out.split())
    assert "Images of more than one megapixel are refused; --max-megapixels raises this limit." in text
