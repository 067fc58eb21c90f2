"""`ReFusion`: the fusion module with everything around it that a user needs."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from PIL import Image

from refusion import hub
from refusion.fusion import FusionModule
from refusion.images import PictureSource, read_pair
from refusion.pipeline import OutputRange, fuse_pictures
from refusion.tasks import ChromaRule, get_task


class ReFusion(
    FusionModule,
    PyTorchModelHubMixin,
    library_name="refusion",
    tags=["image-fusion", "meta-learning"],
    license="cc-by-nc-4.0",
    pipeline_tag="image-to-image",
    paper_url="https://arxiv.org/abs/2312.07943",
):
    """The fusion module of one task, loadable by name.

    `forward` takes and returns luminance tensors, see `FusionModule.forward`; `fuse` takes and returns pictures.

    Args:
        task: name of the task the weights are for, one of `refusion.tasks.TASKS`.
        channels: see `FusionModule`, as the other arguments.
        heads: see `FusionModule`.
        expansion: see `FusionModule`.
        blocks: see `FusionModule`.
        padding_mode: see `FusionModule`.

    Raises:
        ValueError: there is no such task, or an argument is out of range.
    """

    def __init__(
        self,
        task: str = "ir-vis",
        channels: int = 16,
        heads: int = 8,
        expansion: int = 2,
        blocks: int = 2,
        padding_mode: str = "replicate",
    ) -> None:
        super().__init__(channels, heads, expansion, blocks, padding_mode)
        self.task = get_task(task)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments, as they stand in config.json."""
        return dict(self._hub_mixin_config)

    def fuse(
        self,
        a: PictureSource,
        b: PictureSource,
        *,
        output_range: OutputRange = "sources",
        chroma: ChromaRule | None = None,
    ) -> Image.Image:
        """Fuse two registered pictures of one scene.

        Args:
            a: first source of the task (infrared, functional, near or under-exposed): a path, a PIL image, or an
                array as in `refusion.images.read_picture`.
            b: second source, of the same size.
            output_range: ``sources`` scales the fused luminance to the range that both sources span together,
                ``stretch`` to its own minimum and maximum (as the authors' release does), ``network`` not at all.
            chroma: where the colour comes from; the task's rule if not given (see `refusion.images.fuse_chroma`).

        Returns:
            An 8-bit picture of the sources' size, RGB or L.

        Raises:
            PictureError: a source cannot be read, or the sizes differ.
            ValueError: there is no such output range or chroma rule.
        """
        first, second = read_pair(a, b)
        return fuse_pictures(self, first, second, output_range=output_range, chroma=chroma or self.task.chroma)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> "ReFusion":
        """Load a model: bundled weights by bare name, a folder by path, or OWNER/NAME from the Hub.

        Args:
            pretrained_model_name_or_path: ``refusion-ir-vis`` (comes with the package, no network), a path with a
                separator in it or a `Path` (a folder), or ``OWNER/NAME``.
            **kwargs: revision, token, cache_dir, local_files_only, force_download and map_location, as in
                `huggingface_hub.PyTorchModelHubMixin.from_pretrained`.

        Returns:
            The model in evaluation mode.

        Raises:
            ModelError: there is no such model, or its configuration or weights do not fit.
        """
        return super().from_pretrained(hub.locate(pretrained_model_name_or_path), **kwargs)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any
    ) -> "ReFusion":
        if not strict:
            raise hub.ModelError("Weights are always loaded strictly; leave strict out.")
        download = {name: kwargs[name] for name in hub.DOWNLOAD_OPTIONS if name in kwargs}
        folder = hub.local_folder(model_id, **download)
        model = cls(**hub.read_config(folder, cls))
        hub.load_weights(model, folder / hub.WEIGHTS)
        return model.to(map_location).eval()
