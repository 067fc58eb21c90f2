"""The table of the four fusion tasks, and the choices of the options, used by all other modules."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

MeanRule = Literal["exposure", "release", "saturation"]
"""The chroma rules that take a weighted mean of all sources."""

ChromaRule = Literal[MeanRule, "choice", "a", "b"]
"""Source of the colour of the fused image; see `refusion.images.colour.fuse_chroma`."""

OutputRange = Literal["sources", "contrast", "robust", "stretch", "network"]
"""Output range of the fused luminance: ``sources``, the range of its sources; ``contrast``, a little more contrast;
``robust``, the full range except for a few outliers; ``stretch``, its own range stretched to the full one (the authors'
release); ``network``, the output of the network unchanged."""

Anchor = Literal["guided", "choice", "bounds", "none", "detail", "full-detail", "heat"]
"""Anchor: keeps the fused luminance consistent with its sources. ``guided``: a combination of the sources around each
pixel, between the two; ``detail``: the same, but detail on a bright surface that exceeds both is kept, less towards
black and white; ``full-detail``: all of it; ``heat``: ``full-detail``, and what is hot in the first source becomes
brighter; ``choice``: one of the sources at nearly every pixel; ``bounds``: between the sources at each pixel;
``none``."""

Motion = Literal["translation", "euclidean", "similarity", "affine", "homography"]
"""Motion model: a shift; shift and rotation; these and a change of scale, as by focus breathing; any affine map;
perspective."""

Resize = Literal["smaller", "larger", "a", "b"]
"""The source whose size both get: the one with fewer or more pixels, A or B."""

CHOICES: dict[str, tuple[str, ...]] = {
    "output_range": get_args(OutputRange),
    "anchor": get_args(Anchor),
    "chroma": get_args(ChromaRule),
}
"""The output ranges, anchors and colour rules, by the name of their option."""

CONTRAST = 1.10
"""Factor of the output range ``contrast`` for differences from a middle grey."""

Engine = Literal["onnx", "strips", "whole", "half"]
"""How the network runs. ``onnx``: in ONNX Runtime, tile by tile, on a CPU (see
`refusion.inference.engines.onnx_tiles`). ``strips``: in torch, in little memory at any size (see
`refusion.inference.engines.strips`). ``whole``: `FusionModule.forward`. All three give the same image. ``half``: in 16
bits, in half the memory of ``whole``. On a GPU this is ``whole`` in float16 where that suffices; the image differs by
at most one grey level of 255 except at one pixel in a thousand. On a CPU it is bfloat16 in OpenVINO; how much that
changes is in docs/performance.md (see `refusion.inference.engines.bfloat16`)."""


@dataclass(frozen=True)
class Task:
    """One fusion task and the properties of its two sources.

    Attributes:
        name: name on the command line, such as ``ir-vis``.
        title: display name.
        folders: names of the two source folders of a data set, A first.
        labels: display names of the two sources, A first.
        chroma: source of the colour of the fused image: ``a`` or ``b`` is the colour of that source,
            ``exposure`` is that of all, relative to brightness, ``choice`` follows the luminance (see
            `refusion.images.colour.fuse_chroma`).
        model: bare name of the model, also its folder in ``hub_configs`` and its name on the Hub.
        output_range: default output range of the fused luminance; docs/lab_book.md explains the choice.
        anchor: default anchor of the fused luminance; likewise.
        one_camera: whether the sources are images of one camera, so that there can be more than two, and all share
            one scale of brightness.
        same_edges: whether both sources have the edges of the scene, so that an offset between them shows; those of
            PET and SPECT need not be edges of the MRI.
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
    same_edges: bool = True
    licence: str = "cc-by-nc-4.0"

    def range_of(self, count: int) -> OutputRange:
        """Output range for this number of sources; the fused luminance of three or more is not changed."""
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
            "heat",
        ),
        Task(
            "medical",
            "Medical",
            ("functional", "mri"),
            ("CT, PET or SPECT", "MRI"),
            "a",
            "refusion-medical",
            "robust",
            "full-detail",
            same_edges=False,
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
            "exposure",
            "refusion-multi-exposure",
            "contrast",
            "guided",
            one_camera=True,
        ),
    )
}


def check_choice(what: str, given: str, choices: Any) -> None:
    """Check that a value is one of the choices of a Literal.

    Raises:
        ValueError: `given` is not a choice; the message lists the choices.
    """
    if given not in get_args(choices):
        raise ValueError(f"There is no {what} {given!r}; choose {', '.join(get_args(choices))}.")


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        ValueError: there is no such task; the message lists the tasks.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise ValueError(f"There is no task {name!r}; the tasks are {', '.join(TASKS)}.") from None
