"""Lists for the console."""

from refusion.system.lists import few_of_each_kind, listed


def test_a_list_says_how_many_are_left_out():
    assert listed("Failed", ["a", "b", "c"], 2) == ["Failed:", "  a", "  b", "  and 1 more"]
    assert listed("Failed", ["a", "b"], 2) == ["Failed:", "  a", "  b"]
    assert listed("Failed", [], 2) == []


def test_a_few_of_each_kind_stand_for_all():
    missing = [("mean", f"p{i}", f"There is no fused image p{i} in mean; its name must be p{i}.png.") for i in range(7)]
    others = [("mean", "p9", "p9.png is an empty file."), ("other", "p3", missing[3][2])]
    left_out = [("left out", "", f"sub/x{i}.png in ir has no partner in vis") for i in range(3)]
    lines = few_of_each_kind([*missing[:2], *others, *missing[2:], *left_out], 2)
    assert lines == [
        "mean: p0: There is no fused image p0 in mean; its name must be p0.png.",
        "mean: p1: There is no fused image p1 in mean; its name must be p1.png.",
        "and 5 more like this",
        "mean: p9: p9.png is an empty file.",
        "other: p3: There is no fused image p3 in mean; its name must be p3.png.",
        "left out: sub/x0.png in ir has no partner in vis",
        "left out: sub/x1.png in ir has no partner in vis",
        "and 1 more like this",
    ]
