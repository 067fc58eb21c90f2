"""Mistyped flags of train.py and app.py."""

import pytest

from refusion.demo.command import main as serve
from refusion.training.command import main as train

RUN = ["--out", "run", "--data", "pairs"]


@pytest.mark.parametrize(
    ("main", "flags", "message"),
    [
        (train, [*RUN, "--tsk", "ir-vis", "--stpes=5"], "--tsk ir-vis --stpes=5; did you mean --task and --steps?"),
        (train, [*RUN, "--task", "ir-viss"], "multi-exposure); did you mean ir-vis?"),
        (train, [*RUN, "--optimizer", "adan"], "; did you mean adam?"),
        (train, [*RUN, "--task", "abacus"], "multi-exposure)"),
        (train, [*RUN, "--abacus", "extra"], "unrecognized arguments: --abacus extra"),
        (
            train,
            [*RUN, "--steps", "9", "--rounds", "3"],
            "--rounds and --steps are both budgets of the run; give one of them",
        ),
        (serve, ["--prot", "7860"], "unrecognized arguments: --prot 7860; did you mean --port?"),
    ],
)
def test_the_closest_flag_or_choice_is_named(capsys, main, flags, message):
    with pytest.raises(SystemExit) as stop:
        main(flags)
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip("\n").replace("'", "").endswith(message)
