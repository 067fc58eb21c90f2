"""A parser of flags that says which one may have been meant."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)
_INVALID = re.compile(r"argument .*: invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


class FlagParser(argparse.ArgumentParser):
    """As its base, but an error about a mistyped flag or choice names the closest one, as typer's errors do."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with code 2."""
        meant: list[str] = []
        if found := _UNKNOWN.fullmatch(message):
            given = [word[2:].partition("=")[0] for word in found[1].split() if word.startswith("--")]
            known = [flag[2:] for action in self._actions for flag in action.option_strings]
            meant = [f"--{flag}" for flag in _closest(given, known)]
        elif found := _INVALID.fullmatch(message):
            meant = _closest([found[1]], re.findall(r"[\w-]+", found[2]))
        super().error(f"{message}; did you mean {' and '.join(meant)}?" if meant else message)


def _closest(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """The known words that are closest to the given ones, where one is close."""
    found = (difflib.get_close_matches(word, known, 1) for word in given)
    return [word for closest in found for word in closest]
