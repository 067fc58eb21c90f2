"""Messages whose advice depends on where they are read."""

OWN_RANGE = 'set "Input range" in the settings to "Own range of the sources"'
"""What to do in the demo about sources that use little of their range, or exceed it."""

FILL_BORDERS, KEEP_BORDERS = (
    f'set "Blank borders" in the settings to "{choice}"' for choice in ("Fill black and white ones", "Keep them")
)
"""What to do in the demo about blank borders that are kept or filled."""


class Advised(str):
    """What is wrong, and what to do about it with options; where there are none, or other ones, something else.

    As a string it is the message for commands and Python. An error whose only argument it is keeps it.

    Attributes:
        plain: the message for people who have no options.
        demo: the message for people who have the settings of the demo.
    """

    plain: str
    demo: str

    def __new__(cls, cause: str, options: str, plain: str = "", demo: str = "") -> "Advised":
        """Join cause and advice.

        Args:
            cause: what is wrong, without a full stop.
            options: what to do with a command or in Python.
            plain: what to do without either; nothing is advised if it is empty.
            demo: what to do in the demo; `plain` if it is empty.
        """
        message = super().__new__(cls, f"{cause}; {options}.")
        message.plain = f"{cause}; {plain}." if plain else f"{cause}."
        message.demo = f"{cause}; {demo}." if demo else message.plain
        return message

    def __reduce__(self) -> tuple[object, ...]:
        """What a copy in another process is made of."""
        return _copied, (str(self), self.plain, self.demo)


def _copied(message: str, plain: str, demo: str) -> Advised:
    copy = str.__new__(Advised, message)
    copy.plain, copy.demo = plain, demo
    return copy


def without_options(message: str | Exception) -> str:
    """A message as people can follow it who have no options.

    Args:
        message: a note, or an error.
    """
    advised = _advised(message)
    return advised.plain if advised else str(message)


def in_demo(message: str | Exception) -> str:
    """A message as people can follow it who have the settings of the demo.

    Args:
        message: a note, or an error.
    """
    advised = _advised(message)
    return advised.demo if advised else str(message)


def _advised(message: str | Exception) -> Advised | None:
    said = message.args[0] if isinstance(message, Exception) and len(message.args) == 1 else message
    return said if isinstance(said, Advised) else None
