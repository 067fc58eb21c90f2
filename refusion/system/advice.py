"""Messages whose advice depends on where they are read."""


class Advised(str):
    """What is wrong, and what to do about it with options; where there are none, as in the demo, something else.

    As a string it is the message for commands and Python. An error whose only argument it is keeps it.

    Attributes:
        plain: the message for people who have no options.
    """

    plain: str

    def __new__(cls, cause: str, options: str, plain: str = "") -> "Advised":
        """Join cause and advice.

        Args:
            cause: what is wrong, without a full stop.
            options: what to do with a command or in Python.
            plain: what to do without either; nothing is advised if it is empty.
        """
        message = super().__new__(cls, f"{cause}; {options}.")
        message.plain = f"{cause}; {plain}." if plain else f"{cause}."
        return message

    def __reduce__(self) -> tuple[object, ...]:
        """What a copy in another process is made of."""
        return _copied, (str(self), self.plain)


def _copied(message: str, plain: str) -> Advised:
    copy = str.__new__(Advised, message)
    copy.plain = plain
    return copy


def without_options(message: str | Exception) -> str:
    """A message as people can follow it who have no options.

    Args:
        message: a note, or an error.
    """
    said = message.args[0] if isinstance(message, Exception) and len(message.args) == 1 else message
    return said.plain if isinstance(said, Advised) else str(message)
