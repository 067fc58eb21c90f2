"""Errors of loading and publishing models; every message is a sentence."""


class ModelError(ValueError):
    """A model cannot be found, loaded or published."""


class UnknownModelError(ModelError):
    """There is no model of that name."""


class NoWeightsError(ModelError):
    """The model is known, but its weights are not there."""


class HubError(ModelError):
    """The Hub cannot be reached, or refuses."""
