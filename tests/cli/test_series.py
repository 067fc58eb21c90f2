"""Series of images that have no scale in common."""

import re

import numpy as np
from PIL import Image
from support.command import refusion, small_model
from support.scenes import textured


def test_a_series_without_a_common_scale_gets_a_window_that_suits_all(tmp_path):
    model = small_model(tmp_path / "model")
    for folder in ("ir", "vis"):
        (tmp_path / folder).mkdir()
    for number, level in enumerate((28300, 28100, 28200)):
        thermal = level + np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) % 256
        Image.fromarray(thermal).save(tmp_path / "ir" / f"{number}.tif")
        Image.fromarray(textured(number + 3)).save(tmp_path / "vis" / f"{number}.png")
    command = ["fuse", tmp_path / "ir", tmp_path / "vis", "--model", model, "-o"]
    said = "3 pairs have images that were scaled by their own range"
    own = refusion(*command, tmp_path / "own", "--own-range").err
    assert said in own
    whole = refusion(*command, tmp_path / "whole").err
    assert said not in whole
    assert "3 pairs have images that use little of their scale" in whole
    for text in (own, whole):
        low, high = map(int, re.search(r"one window for all of them is --window-a (\d+) (\d+)\.", text).groups())
        assert 28100 <= low < 28105
        assert 28550 < high <= 28555
    alike = refusion(*command, tmp_path / "alike", "--window-a", low, high).err
    assert "one window for all" not in alike

    for number in (1, 2):
        (tmp_path / "ir" / f"{number}.tif").unlink()
        (tmp_path / "vis" / f"{number}.png").unlink()
    for flags in ([], ["--own-range"]):
        alone = refusion(*command, tmp_path / "alone", "--overwrite", *flags)
        assert (alone.code, "one window for all" in alone.err) == (0, False)
