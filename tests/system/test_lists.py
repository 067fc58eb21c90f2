"""Lists for the console."""

from refusion.system.lists import listed


def test_a_list_says_how_many_are_left_out():
    assert listed("Failed", ["a", "b", "c"], 2) == ["Failed:", "  a", "  b", "  and 1 more"]
    assert listed("Failed", ["a", "b"], 2) == ["Failed:", "  a", "  b"]
    assert listed("Failed", [], 2) == []
