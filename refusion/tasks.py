"""The four fusion tasks, in one table that everything else iterates over."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

ChromaRule = Literal["release", "saturation", "choice", "a", "b"]
"""Where the colour of the fused image comes from; see `refusion.images.colour.fuse_chroma`."""

OutputRange = Literal["sources", "contrast", "robust", "stretch", "network"]
"""What the fused luminance is brought to: the range of its sources; a little more contrast; the full range, but for a
few outliers; its own range stretched to the full one (the authors' release); or nothing but what the network gives."""

Anchor = Literal["guided", "choice", "bounds", "none"]
"""What ties the fused luminance to its sources: it is made of them around every pixel, it is one of them nearly
everywhere, it only stays between them at every pixel, or nothing."""

CONTRAST = 1.16
"""What the output range ``contrast`` multiplies differences from a middle grey by."""

Engine = Literal["onnx", "strips", "whole", "half"]
"""How the network runs. ``onnx``: in ONNX Runtime, tile by tile, on a CPU (see
`refusion.inference.engines.onnx_tiles`). ``strips``: in torch, in little memory at any size (see
`refusion.inference.engines.strips`). ``whole``: `FusionModule.forward`. All three give the same image. ``half``: the
last in float16 where that suffices, in half the memory; the image differs by one grey level of 255 at most, but for
one pixel in a thousand."""


@dataclass(frozen=True)
class Task:
    """One fusion task and what is fixed about its two sources.

    Attributes:
        name: name on the command line, such as ``ir-vis``.
        title: name for people.
        folders: names of the two source folders of a data set, A first.
        labels: what the two sources are called in front of people, A first.
        chroma: where the colour of the fused image comes from: ``a`` or ``b`` takes that source's,
            ``release`` is the rule of the authors' release, ``choice`` follows the luminance (see
            `refusion.images.colour.fuse_chroma`).
        model: bare name of the model, also its folder in ``hub_configs`` and its name on the Hub.
        output_range: what the fused luminance is brought to unless something else is asked for; how it was chosen is
            in docs/training.md.
        anchor: what ties the fused luminance to its sources unless something else is asked for; likewise.
        one_camera: whether the sources are images of one camera, so that there can be more than two, and one scale of
            brightness is for all.
        licence: licence of the weights (the training images are research-only).
    """

    name: str
    title: str
    folders: tuple[str, str]
    labels: tuple[str, str]
    chroma: ChromaRule
    model: str
    output_range: OutputRange = "sources"
    anchor: Anchor = "none"
    one_camera: bool = False
    licence: str = "cc-by-nc-4.0"

    def range_of(self, count: int) -> OutputRange:
        """What so many sources are brought to: a stack of three and more is left as it is."""
        return self.output_range if count == 2 else "network"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "ir-vis",
            "Infrared + visible",
            ("ir", "vis"),
            ("infrared", "visible"),
            "b",
            "refusion-ir-vis",
            "sources",
            "guided",
        ),
        Task(
            "medical",
            "Medical",
            ("functional", "mri"),
            ("CT, PET or SPECT", "MRI"),
            "a",
            "refusion-medical",
            "robust",
            "guided",
        ),
        Task(
            "multi-focus",
            "Multi-focus",
            ("near", "far"),
            ("near focus", "far focus"),
            "choice",
            "refusion-multi-focus",
            "network",
            "choice",
            one_camera=True,
        ),
        Task(
            "multi-exposure",
            "Multi-exposure",
            ("under", "over"),
            ("under-exposed", "over-exposed"),
            "release",
            "refusion-multi-exposure",
            "contrast",
            "guided",
            one_camera=True,
        ),
    )
}


def check_choice(what: str, given: str, choices: Any) -> None:
    """Refuse what is not one of the choices of a Literal.

    Raises:
        ValueError: `given` is none of them; the message lists them.
    """
    if given not in get_args(choices):
        raise ValueError(f"There is no {what} {given!r}; choose {', '.join(get_args(choices))}.")


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        ValueError: there is no such task; the message lists those there are.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise ValueError(f"There is no task {name!r}; the tasks are {', '.join(TASKS)}.") from None
