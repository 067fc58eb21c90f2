"""`ReFusion`: the fusion module with loading, fusing, saving and publishing."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from typing_extensions import Unpack

from refusion.hub import card_texts
from refusion.hub.checksums import read_verified
from refusion.hub.errors import ModelError
from refusion.hub.folder import (
    CARD,
    CHECKPOINT,
    CONFIG,
    FACTS,
    LOADED,
    PROPOSAL_WEIGHTS,
    RECONSTRUCTION_WEIGHTS,
    TUNING_SCORES,
    WEIGHTS,
    display_name,
    load_weights,
    read_config,
    read_weights,
    save_checksums,
    save_model,
)
from refusion.hub.names import bare_name, local_folder, locate, shown_folder
from refusion.images import PictureSource
from refusion.inference.engines.dispatch import fuse_luminances
from refusion.inference.finishing import Fused
from refusion.inference.fuse import fuse_sources
from refusion.inference.options import OptionValues, options_of
from refusion.inference.stack import fuse_stack
from refusion.models.subclasses import check_config, further_arguments, import_line, made_from
from refusion.modules.blocks import Widths
from refusion.modules.fusion import FusionModule
from refusion.system.devices import choose_device
from refusion.system.files import replacing
from refusion.tasks import Engine, get_task


class ReFusion(
    FusionModule,
    PyTorchModelHubMixin,
    library_name=card_texts.LIBRARY,
    tags=list(card_texts.TAGS),
    license=card_texts.LICENCE,
    pipeline_tag=card_texts.PIPELINE_TAG,
    paper_url=card_texts.PAPER_URL,
):
    """The fusion module of one task, loadable by name.

    `forward` takes and returns luminance tensors, see `FusionModule.forward`; `fuse` takes and returns images.

    A subclass may have further arguments that JSON can hold; it passes those of this class on, as by ``**kwargs``. Its
    models are saved with both, and loaded with `from_pretrained` of the subclass.

    Args:
        task: name of the task of the weights, one of `refusion.tasks.TASKS`.
        channels: see `FusionModule`, as the other arguments.
        heads: see `FusionModule`.
        expansion: see `FusionModule`.
        blocks: see `FusionModule`.
        padding_mode: see `FusionModule`.
        window: see `FusionModule`.

    Raises:
        TypeError: an argument is not of its type.
        ValueError: there is no such task, or an argument is out of range.
    """

    _origin: Path | None = None
    """The folder that the weights were loaded from."""

    def __init__(
        self,
        task: str = "ir-vis",
        channels: int = Widths.channels,
        heads: int = Widths.heads,
        expansion: int = Widths.expansion,
        blocks: int = Widths.blocks,
        padding_mode: str = Widths.padding_mode,
        window: int | None = Widths.window,
    ) -> None:
        super().__init__(channels, heads, expansion, blocks, padding_mode, window)
        self.task = get_task(task)
        self._own_config = {
            "task": task,
            "channels": channels,
            "heads": heads,
            "expansion": expansion,
            "blocks": blocks,
            "padding_mode": padding_mode,
            "window": window,
        }

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments, as stored in config.json; of a subclass, its own as well."""
        return {**self._own_config, **(cast(dict[str, Any] | None, self._hub_mixin_config) or {})}

    def fuse(
        self,
        a: PictureSource | Sequence[PictureSource],
        b: PictureSource | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        **options: Unpack[OptionValues],
    ) -> Fused:
        """Fuse a pair of registered images, as `refusion.fuse` with this model.

        Args:
            a: first source of the task, or a sequence of both, see `refusion.fuse`.
            b: second source.
            progress: for stacks, see `refusion.fuse_stack`.
            **options: see `refusion.inference.options.Options`.

        Returns:
            The fused image; `Fused.save` writes it, `Fused.to_image` returns a Pillow image.

        Raises:
            PictureError: a source cannot be read, or the two do not match.
            TypeError: there is no such option.
            ValueError: an option has an invalid value.
        """
        return fuse_sources(self, a, b, options_of(options), self.task, progress)

    def fuse_stack(
        self,
        sources: Sequence[PictureSource] | str | os.PathLike,
        *,
        progress: Callable[[int, int], None] | None = None,
        **options: Unpack[OptionValues],
    ) -> Fused:
        """Fuse a focus stack or an exposure bracket of two to fifty images, as `refusion.fuse_stack` with this model.

        Args:
            sources: the images in any order, see `refusion.fuse_stack`.
            progress: called with the number of steps done and the total, before the first step and after each.
            **options: see `refusion.inference.options.Options`.

        Raises:
            PictureError: a source cannot be read, or the sizes differ.
            TypeError: there is no such option.
            ValueError: too few or too many images, or a task or option for pairs only.
        """
        return fuse_stack(self, sources, options_of(options), self.task, progress)

    def fuse_luminances(
        self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
    ) -> list[np.ndarray]:
        """Run the network over several pairs of one size, see `refusion.inference.network.Network`."""
        return fuse_luminances(self, a, b, engine)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # takes no other arguments for the constructor
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
        device_map: str | torch.device | None = None,
    ) -> "ReFusion":
        """Load a model: bundled weights by bare name, a folder by path, or OWNER/NAME from the Hub.

        Args:
            pretrained_model_name_or_path: ``refusion-ir-vis`` (comes with the package, no network; from the Hub if
                the environment variable REFUSION_HUB_ORG names an organisation), a path with a separator in it or a
                `Path` (a folder), or ``OWNER/NAME``.
            revision: branch, tag or commit on the Hub.
            token: access token for the Hub; by default the stored one, none if False.
            cache_dir: cache folder for downloads; by default that of `huggingface_hub`.
            force_download: download files even if they are in the cache.
            local_files_only: make no network request.
            map_location: device of the model.
            strict: must be True; missing weights are always an error.
            dtype: type of the weights, such as ``torch.float16`` or ``"float16"``; by default float32. On a CPU,
                weights in half precision are fused with in float32, which is faster there.
            torch_dtype: an older name of `dtype`.
            device_map: the device of the whole model, as in `map_location`, or ``auto`` for a GPU if there is one.

        Returns:
            The model in evaluation mode.

        Raises:
            ModelError: there is no such model, it cannot be downloaded, or its configuration, weights or checksums
                do not match; the message names file and key.
            TypeError: the model is given neither as a name nor as a path.
            ValueError: there is no such type or device, or `dtype` and `torch_dtype` are given and differ.
        """
        if not strict:
            raise ModelError("Weights are always loaded strictly; leave strict out.")
        wanted = _dtype(dtype, torch_dtype)
        if device_map is not None:
            map_location = _device(device_map)
        folder = local_folder(
            locate(pretrained_model_name_or_path),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        # The mixin accepts a missing config.json and ignores unknown keys.
        read_config(folder, further_arguments(cls))
        model = super().from_pretrained(str(folder), map_location=map_location)
        return model if wanted is None else model.to(wanted)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str | torch.device = "cpu", **_: Any) -> "ReFusion":
        folder = Path(model_id)
        config = read_config(folder, further_arguments(cls))
        try:
            # Memory is taken only for what the file of the weights holds, whatever the configuration says.
            with torch.device("meta" if cls is ReFusion else "cpu"):
                outline = made_from(cls, config)
        except ValueError as error:
            raise ModelError(f"{CONFIG} in {display_name(folder)}: {error}") from error
        except (RuntimeError, TypeError) as error:
            if cls is not ReFusion:
                raise ModelError(f"{CONFIG} in {display_name(folder)}: {error}") from error
            # The types of the numbers were checked; torch cannot count the elements.
            raise ModelError(
                f"{CONFIG} in {display_name(folder)} describes a model that is too large for any computer; give the "
                "widths that it was trained with."
            ) from error
        weights = read_weights(outline, folder / WEIGHTS)
        model = made_from(cls, config)
        model.load_state_dict(weights)
        model._origin = folder
        return model.to(map_location).eval()

    def generate_model_card(self, name: str | None = None) -> ModelCard:
        """Create the model card from the training settings and scores stored beside the weights.

        Args:
            name: model name in the `from_pretrained` example; bundled weights always use their bare name.

        Returns:
            The card. If the weights were changed since loading, it names only the model that they are derived from.

        Raises:
            ModelError: a file beside the weights is damaged.
        """
        from refusion.hub import card
        from refusion.hub.facts import Facts, Training, read_facts

        source = self._unchanged_source()
        if source is not None:
            facts, trainable = read_facts(source), (source / PROPOSAL_WEIGHTS).is_file()
        else:
            made_from = Training(base_model=self._origin_name()) if self._origin else None
            facts, trainable = Facts(made_from), False
        bare = bare_name(source) if source else None
        parameters = sum(parameter.numel() for parameter in self.parameters())
        model = card.Model(bare or name or f"./{self.task.model}", self.task, parameters, trainable)
        if type(self) is not ReFusion:
            kind = type(self).__qualname__.rpartition("<locals>.")[2]
            model = replace(model, kind=kind, importing=import_line(type(self)))
        return ModelCard(card.card_text(model, facts))

    def identity(self) -> dict[str, str]:
        """Name, task and licence of the weights, for files in other formats.

        Returns:
            ``model``, or ``derived_from`` if the weights were changed since loading, where they were loaded; ``task``
            and ``licence``, an identifier such as ``cc-by-nc-4.0``.

        Raises:
            ModelError: training.json beside the weights is damaged.
        """
        from refusion.hub.facts import read_facts

        training = read_facts(self._origin).training if self._origin else None
        named = {"model" if self._unchanged_source() else "derived_from": self._origin_name()} if self._origin else {}
        licence = (training.licence if training else None) or self.task.licence
        return {**named, "task": self.task.name, "licence": licence}

    def save_pretrained(
        self, save_directory: str | Path, *, model_card_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> str | None:
        """Write config.json, weights, an updated card and checksums; copy the other files of unchanged weights.

        A model that was in the folder is replaced, with its scores, training curve and training modules.

        Args:
            save_directory: the folder, created if missing.
            model_card_kwargs: arguments of `generate_model_card`.
            **kwargs: as in `huggingface_hub.ModelHubMixin.save_pretrained`.

        Raises:
            ModelError: a file beside the weights is damaged, changed weights would replace those that they were loaded
                from, the folder is that of a training run, or it is a model of a subclass that could not be loaded.
            OSError: the folder cannot be written.
        """
        folder = Path(save_directory)
        if type(self) is not ReFusion:
            check_config(self)
        if self._origin is not None and folder.resolve() == self._origin.resolve() and not self._unchanged_source():
            raise ModelError(
                f"The weights were changed since they were loaded from {folder.name}, and what lies beside them there "
                "would no longer be true; save to another folder."
            )
        card = {"name": shown_folder(folder), **(model_card_kwargs or {})}
        return super().save_pretrained(folder, model_card_kwargs=card, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        source = self._unchanged_source()
        elsewhere = source is None or source.resolve() != save_directory.resolve()
        if elsewhere:
            _remove_beside(save_directory)
        save_model(save_directory, self, self.config)
        if source is not None and elsewhere:
            _copy_beside(source, save_directory)
        save_checksums(save_directory)
        (save_directory / CARD).unlink(missing_ok=True)

    def push_to_hub(  # type: ignore[override]  # publishes the files of a model, not file patterns
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        tag: str | None = None,
        config: dict[str, Any] | None = None,
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Publish the model as one commit: all files written by `save_pretrained`.

        Args:
            repo_id: ``OWNER/NAME``; the repository is created if missing.
            commit_message: first line of the commit.
            private: whether a new repository is private; by default according to the owner's settings.
            token: access token with write permission; by default the stored one.
            branch: branch to commit to, created if missing.
            create_pr: propose the commit as a pull request.
            tag: tag for the commit, such as ``v1``; existing tags are not moved.
            config: must be that of the model if given; config.json holds the constructor arguments.
            model_card_kwargs: arguments of `generate_model_card`; its name is always `repo_id`.

        Returns:
            The URL of the commit.

        Raises:
            ModelError: the Hub cannot be reached or refuses, or the tag is taken.
        """
        from refusion.hub.push import push_folder
        from refusion.models.training_modules import check_training_modules

        if config is not None and config != self.config:
            raise ModelError("config.json always holds the constructor arguments; leave config out.")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            self.save_pretrained(folder, model_card_kwargs={**(model_card_kwargs or {}), "name": repo_id})
            check_training_modules(folder, self.config)
            return push_folder(
                folder,
                repo_id,
                message=commit_message,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
                tag=tag,
            )

    def _unchanged_source(self) -> Path | None:
        """The folder that the weights were loaded from, if they are still bit-identical."""
        folder = self._origin
        if folder is None or not (folder / WEIGHTS).is_file():
            return None
        fresh = made_from(type(self), self.config)
        load_weights(fresh, folder / WEIGHTS)
        own = self.state_dict()
        same = all(
            value.dtype == own[key].dtype and torch.equal(value, own[key].cpu())
            for key, value in fresh.state_dict().items()
        )
        return folder if same else None

    def _origin_name(self) -> str:
        return (bare_name(self._origin) or display_name(self._origin)) if self._origin else ""


def _dtype(dtype: str | torch.dtype | None, torch_dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The type that both arguments ask for; None for that of the file."""
    given = {"dtype": dtype, "torch_dtype": torch_dtype}
    asked = {name: _floating(name, value) for name, value in given.items() if value is not None}
    if len(set(asked.values())) > 1:
        raise ValueError(f"dtype is {dtype!r} and torch_dtype, its older name, {torch_dtype!r}; leave torch_dtype out.")
    return next(iter(asked.values()), None)


def _floating(name: str, given: str | torch.dtype) -> torch.dtype | None:
    if given == "auto":
        return None
    dtype = getattr(torch, given.removeprefix("torch."), None) if isinstance(given, str) else given
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"{name} is {given!r}; give a floating-point type, such as torch.float16 or 'float16'.")
    return dtype


def _device(given: object) -> torch.device:
    if not isinstance(given, str | torch.device):
        raise ValueError(f"device_map is {given!r}, but the model is small and lies on one device: give its name.")
    return choose_device(str(given))


def _remove_beside(folder: Path) -> None:
    """Remove what belongs to other weights in the folder.

    Raises:
        ModelError: it is the folder of a training run, whose curve and modules are nowhere else.
    """
    if (folder / CHECKPOINT).is_file():
        raise ModelError(f"{folder.name} is the folder of a training run ({CHECKPOINT}); save to another folder.")
    for name in (PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, *FACTS, TUNING_SCORES):
        (folder / name).unlink(missing_ok=True)


def _copy_beside(source: Path, destination: Path) -> None:
    """Copy the weights byte for byte, the training modules, and the facts for the card.

    Raises:
        ModelError: a checksum does not match, or a file is damaged.
    """
    for name in (WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, *FACTS):
        if (source / name).is_file():
            content = read_verified(source / name) if name in LOADED else (source / name).read_bytes()
            with replacing(destination / name) as temporary:
                temporary.write_bytes(content)
