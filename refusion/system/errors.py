"""Errors of the system, for people."""

import os


def sentence_of(error: Exception) -> str:
    """The message of an error, without the errno of a system error."""
    if type(error).__module__ != "builtins" or not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return f"{error.strerror}."
    return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}."
