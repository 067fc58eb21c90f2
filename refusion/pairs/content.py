"""Pairs from which nothing can be learned: a source of a single grey level, or the same image twice."""

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np

from refusion.images import Picture
from refusion.system.lists import counted

Lack = Literal["flat", "same"]
"""A source has a single grey level; or both sources are the same image."""

_TEXTS: dict[Lack, str] = {
    "flat": "a source of a single grey level, such as black",
    "same": "the same image twice",
}

_NAMES_SHOWN = 3


def lack_of(a: Picture, b: Picture) -> Lack | None:
    """What a pair lacks to be of use for training, or None.

    Args:
        a: first source.
        b: second source, of the same size.
    """
    if _is_flat(a) or _is_flat(b):
        return "flat"
    return "same" if np.array_equal(a.luminance, b.luminance) else None


def lack_notes(lacking: Mapping[Lack, Collection[str]]) -> list[str]:
    """Notes for the user on such pairs, one for each kind.

    Args:
        lacking: names of the pairs.
    """
    return [_note(what, list(lacking[lack])) for lack, what in _TEXTS.items() if lacking.get(lack)]


def _note(what: str, names: list[str]) -> str:
    has, them = ("has", "it") if len(names) == 1 else ("have", "them")
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    which = ", ".join(names[:_NAMES_SHOWN]) + more
    return f"{counted(len(names), 'pair')} {has} {what}, so nothing can be learned from {them}: {which}."


def _is_flat(picture: Picture) -> bool:
    seen = picture.luminance if picture.alpha is None else picture.luminance[picture.alpha > 0]
    return bool(seen.min() == seen.max())
