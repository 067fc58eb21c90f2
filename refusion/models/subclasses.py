"""Configurations of models of subclasses of `refusion.ReFusion`, which may have arguments of their own."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from refusion.hub.errors import ModelError
from refusion.hub.folder import CONFIG, CONFIG_TYPES

if TYPE_CHECKING:
    from refusion.models.model import ReFusion

_Model = TypeVar("_Model", bound="ReFusion")


def further_arguments(kind: type) -> set[str]:
    """Names of the constructor arguments of a class and its bases that are not those of `ReFusion`."""
    parameters = [parameter for base in kind.__mro__ for parameter in _parameters(base).values()]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name for parameter in parameters if parameter.kind in named} - {"self", *CONFIG_TYPES}


def made_from(kind: type[_Model], config: Mapping[str, Any]) -> _Model:
    """A new model from those keys of a configuration that the constructor takes.

    Raises:
        TypeError: an argument is missing, or of another type.
        ValueError: an argument is out of range.
    """
    parameters = _parameters(kind)
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return kind(**{key: value for key, value in config.items() if takes_all or key in parameters})


def import_line(kind: type) -> str:
    """The line of Python that imports a class, or says what it is if its module cannot be imported by others."""
    name = kind.__qualname__
    if kind.__module__ == "__main__" or "<locals>" in name:
        return f"# {kind.__name__} is the subclass of refusion.ReFusion that this model was saved from."
    return f"from {kind.__module__} import {name.partition('.')[0]}"


def check_config(model: "ReFusion") -> None:
    """Check that a model can be loaded from its configuration and weights.

    Raises:
        ModelError: it cannot.
    """
    name = type(model).__name__
    way = (
        f"Give {name} only arguments that JSON can hold, and pass those of ReFusion on unchanged, as in "
        "def __init__(self, extra=3, **kwargs): super().__init__(**kwargs)."
    )
    try:
        with torch.random.fork_rng(devices=[]):
            made = made_from(type(model), model.config)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} was not saved, because its {CONFIG} would not make it again: {error}. {way}"
        ) from error
    shapes, own = ({key: value.shape for key, value in each.state_dict().items()} for each in (made, model))
    if shapes != own:
        raise ModelError(f"{name} was not saved, because its {CONFIG} would make a model with other weights. {way}")


def _parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters  # type: ignore[misc]
