"""Models of a demo: bundled ones, those it was started with, and public ones on the Hub."""

import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from refusion.demo.options import DemoOptions
from refusion.explanation.trained import TrainedModel, load_trained
from refusion.hub.checksums import CHECKSUMS
from refusion.hub.client_errors import hub_sentences
from refusion.hub.errors import ModelError, UnknownModelError
from refusion.hub.folder import LOADED
from refusion.hub.names import HUB_ID, list_models, local_folder
from refusion.models.model import ReFusion
from refusion.tasks import TASKS, Task

MAX_HUB_BYTES = 64_000_000
"""Largest download, in bytes, for a model that a visitor names."""

MAX_HUB_MODELS = 8
"""How many of them are kept; the least recently used is removed first."""

_FILES = (*LOADED, CHECKSUMS)
"""The files of such a model that are downloaded; those that only its card is made from are not."""

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class ModelChoice:
    """A model as a visitor names it.

    Attributes:
        name: one of `Models.names`, or OWNER/NAME on the Hub.
        revision: branch, tag or commit on the Hub.
    """

    name: str
    revision: str | None = None


class Models:
    """Loads each model once.

    Args:
        options: device, models, and whether visitors can name others.

    Raises:
        ModelError: one of the models that the demo was started with cannot be loaded.
    """

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._downloads: dict[ModelChoice, threading.Lock] = {}
        self._fusion: dict[str, ReFusion] = {}
        self._trained: dict[str, TrainedModel] = {}
        self._hub: OrderedDict[ModelChoice, tuple[tempfile.TemporaryDirectory, Path]] = OrderedDict()
        self._own: dict[str, str] = {task.name: task.model for task in TASKS.values()}
        for name in options.models:
            model = ReFusion.from_pretrained(name, map_location=options.device)
            self._fusion[name] = model
            self._own[model.task.name] = name
        if options.load_at_start:
            for name in self.names:
                self.fusion(ModelChoice(name))

    @property
    def hub_models(self) -> bool:
        """Whether a visitor can name a public model on the Hub."""
        return self._options.hub_models

    @property
    def names(self) -> list[str]:
        """Models that need no download, by name."""
        return list(dict.fromkeys([*self._options.models, *list_models()]))

    def own(self, task: Task) -> str:
        """Name of the model that a task uses by default."""
        return self._own.get(task.name, task.model)

    def ready(self, task: Task) -> bool:
        """Whether the default model of a task needs no download."""
        return self.own(task) in self.names

    def check(self, choice: ModelChoice) -> None:
        """Check what can be known without a download.

        Raises:
            ModelError: no model here has this name and none on the Hub can, or a model here is asked for a revision.
        """
        if choice.name in self.names:
            if choice.revision:
                raise ModelError(
                    f"{choice.name} is on this machine and has no revisions; clear the revision, or give OWNER/NAME."
                )
            return
        # A name from a visitor is never taken as a local path.
        if not self.hub_models or not HUB_ID.fullmatch(choice.name) or choice.name.startswith("."):
            hub = " or OWNER/NAME on the Hub" if self.hub_models else ""
            raise ModelError(f"There is no model {choice.name[:100]!r} here; choose {', '.join(self.names)}{hub}.")

    def fusion(self, choice: ModelChoice) -> ReFusion:
        """The fusion module of a model, on the device.

        Raises:
            ModelError: there is no such model, it is too large, or it cannot be loaded.
        """
        self._download(choice)
        with self._lock:
            name = self._located(choice)
            if name not in self._fusion:
                self._fusion[name] = ReFusion.from_pretrained(name, map_location=self._options.device)
            return self._fusion[name]

    def trained(self, choice: ModelChoice) -> TrainedModel:
        """A model with the two modules that it was trained with, on the CPU.

        Raises:
            ModelError: as for `fusion`, or the model has only the fusion module.
        """
        self._download(choice)
        with self._lock:
            name = self._located(choice)
            if name not in self._trained:
                self._trained[name] = load_trained(name)
            return self._trained[name]

    def close(self) -> None:
        """Remove the downloaded models."""
        with self._lock:
            for temporary, _ in self._hub.values():
                temporary.cleanup()
            self._hub.clear()

    def _download(self, choice: ModelChoice) -> None:
        """Download a model from the Hub if it is not here; visitors with other models do not wait for it."""
        self.check(choice)
        if choice.name in self.names:
            return
        with self._lock:
            of_this = self._downloads.setdefault(choice, threading.Lock())
        with of_this:
            with self._lock:
                if choice in self._hub:
                    return
            try:
                downloaded = _download(choice)
                with self._lock:
                    self._hub.setdefault(choice, downloaded)
                    if len(self._hub) > MAX_HUB_MODELS:
                        self._forget(next(iter(self._hub)))
            finally:
                with self._lock:
                    self._downloads.pop(choice, None)

    def _located(self, choice: ModelChoice) -> str:
        """Name or folder for `ReFusion.from_pretrained`."""
        if choice.name in self.names:
            return choice.name
        if choice not in self._hub:
            raise ModelError(f"{choice.name} was removed to make room for other models; try again.")
        self._hub.move_to_end(choice)
        return str(self._hub[choice][1])

    def _forget(self, choice: ModelChoice) -> None:
        temporary, folder = self._hub.pop(choice)
        self._fusion.pop(str(folder), None)
        self._trained.pop(str(folder), None)
        temporary.cleanup()


def _download(choice: ModelChoice) -> tuple[tempfile.TemporaryDirectory, Path]:
    # Without the operator's token: a visitor gets only what is public on the Hub.
    try:
        with hub_sentences(choice.name, choice.revision):
            info = HfApi(token=False).model_info(choice.name, revision=choice.revision, files_metadata=True)
    except UnknownModelError as error:
        if not isinstance(error.__cause__, RepositoryNotFoundError):
            raise
        # The package's own message advises to log in or to give a folder, which a visitor cannot.
        raise UnknownModelError(
            f"There is no public model {choice.name} on the Hub; check OWNER/NAME, or choose a bundled model."
        ) from error
    size = sum(file.size or 0 for file in info.siblings or () if file.rfilename in _FILES)
    if size > MAX_HUB_BYTES:
        raise ModelError(
            f"{choice.name} has {size / 1e6:.0f} MB to download, but this demo downloads at most "
            f"{MAX_HUB_BYTES / 1e6:.0f} MB; it is probably not a model of this library."
        )
    temporary = tempfile.TemporaryDirectory(prefix="refusion-hub-", ignore_cleanup_errors=True)
    try:
        folder = local_folder(choice.name, revision=info.sha, token=False, cache_dir=temporary.name, files=_FILES)
    except BaseException:
        shutil.rmtree(temporary.name, ignore_errors=True)
        raise
    return temporary, folder
