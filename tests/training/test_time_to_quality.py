"""The benchmark of quality over time copies weights that are new."""

import pytest
from support.scenes import ROOT


@pytest.mark.parametrize(
    ("minutes", "words"),
    [("0.1", r"--every 1 or more, or --save-every 6 after the --"), ("0", r"--every is 0; it must be above 0")],
)
def test_an_interval_without_new_weights_is_refused(monkeypatch, capsys, minutes, words):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import time_to_quality

    given = ["time_to_quality.py", "--task", "ir-vis", "--data", "pairs", "--val", "pairs", "--every", minutes]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit, match="2"):
        time_to_quality.main()
    assert words in " ".join(capsys.readouterr().err.split())
