"""The four fusion tasks, in one table that everything else iterates over."""

from dataclasses import dataclass
from typing import Literal

ChromaRule = Literal["release", "a", "b"]


@dataclass(frozen=True)
class Task:
    """One fusion task and what is fixed about its two sources.

    Attributes:
        name: name on the command line, such as ``ir-vis``.
        title: name for people.
        folders: names of the two source folders of a data set, A first.
        labels: what the two sources are called in front of people, A first.
        chroma: where the colour of the fused picture comes from: ``a`` or ``b`` takes that source's,
            ``release`` is the rule of the authors' release (see `refusion.images.fuse_chroma`).
        model: bare name of the model, also its folder in ``hub_configs`` and its name on the Hub.
        licence: licence of the weights (the training pictures are research-only).
    """

    name: str
    title: str
    folders: tuple[str, str]
    labels: tuple[str, str]
    chroma: ChromaRule
    model: str
    licence: str = "cc-by-nc-4.0"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("ir-vis", "Infrared + visible", ("ir", "vis"), ("infrared", "visible"), "b", "refusion-ir-vis"),
        Task(
            "medical",
            "Medical",
            ("functional", "mri"),
            ("CT, PET or SPECT", "MRI"),
            "a",
            "refusion-medical",
        ),
        Task(
            "multi-focus",
            "Multi-focus",
            ("near", "far"),
            ("near focus", "far focus"),
            "release",
            "refusion-multi-focus",
        ),
        Task(
            "multi-exposure",
            "Multi-exposure",
            ("under", "over"),
            ("under-exposed", "over-exposed"),
            "release",
            "refusion-multi-exposure",
        ),
    )
}


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        ValueError: there is no such task; the message lists those there are.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise ValueError(f"There is no task {name!r}; the tasks are {', '.join(TASKS)}.") from None
