"""What the demo says: the tasks, the settings, the figures, and the About tab."""

from refusion import __version__
from refusion.card_texts import CITATION, LICENCES, PAPER_URL, TASK_TEXTS
from refusion.tasks import TASKS, Task

INTRODUCTION = (
    "Two registered pictures of one scene in, one picture out that keeps what matters of both. "
    "The loss that decides what matters was itself learned."
)

RANGES = {
    "sources": "the range that both sources span",
    "contrast": "1.14 times the contrast",
    "robust": "the full range, 0.5 % clipped at each end",
    "stretch": "from black to white",
    "network": "as the network gives it",
}

ANCHORS = {
    "blend": "every pixel a blend of its two sources",
    "bounds": "every pixel between its two sources",
    "none": "not tied to the sources",
}

_PAIRS = {
    "ir-vis": "Take a thermal or near-infrared picture and an ordinary photograph from the same spot.",
    "medical": "Take two registered slices of one patient: a CT, PET or SPECT slice and an MRI slice.",
    "multi-focus": "Take two photographs from a tripod: one focused on what is near, one on what is far.",
    "multi-exposure": "Take two photographs from a tripod: a dark one that keeps the lights, and a bright one that "
    "keeps the shadows.",
}

_FIGURES = {
    "EN": "bits of information in the grey levels",
    "SD": "contrast: how far grey levels lie from their mean",
    "SF": "how quickly rows and columns change",
    "AG": "mean steepness of edges",
    "MI": "information shared with both sources",
    "CC": "mean correlation with the sources",
    "SCD": "how well the difference to one source shows the other",
    "VIF": "visual information kept from both sources",
    "Qabf": "edges of the sources that are kept",
    "SSIM": "structure shared with both sources",
    "MEF-SSIM": "local contrast and structure of the better exposed source",
    "border": "step at the border relative to the inside; 1 is none",
    "background": "grey level where both sources are black",
}


def colour_rules(task: Task) -> dict[str, str]:
    """The colour rules of a task, in words."""
    first, second = task.labels
    return {
        "a": f"from the {first} picture",
        "b": f"from the {second} picture",
        "release": "from both; the stronger colour counts more",
    }


def describe_task(task: Task) -> str:
    """What kind of pair belongs in the tab of a task, as Markdown."""
    first, second = task.labels
    return (
        f"{_summary(task)} {_PAIRS.get(task.name, '')} The two must match pixel for pixel: **{first}** on one side, "
        f"**{second}** on the other. PNG, JPEG, TIFF, BMP and WebP are read."
    )


def meaning(figure: str) -> str:
    """What a figure measures, in a few words."""
    return _FIGURES.get(figure, "")


def about() -> str:
    """The About tab below the figure of the method, as Markdown."""
    tasks = "\n".join(
        f"- **{task.title}** ({' and '.join(task.labels)}). {_summary(task)} {TASK_TEXTS[task.name].limits}"
        for task in TASKS.values()
    )
    licence = ", ".join(sorted({LICENCES.get(task.licence, task.licence) for task in TASKS.values()}))
    return f"""
## What each task is for

{tasks}

## Limits

- The two pictures must match pixel for pixel; nothing is aligned.
- A fused picture is made for looking at. It is not for diagnosis, nor for anything that somebody's safety depends on.
- Scores tell how much of the sources is kept by one definition or another; none of them sees as a person does.
- Uploads and results are removed after an hour, and nobody else is shown them.

## From a program

The footer's *Use via API* has an example for each endpoint. On a machine of your own, `refusion fuse` writes the same
picture, pixel for pixel, without these limits on size.

## Citation

The method is that of [ReFusion]({PAPER_URL}); this is an independent open implementation with its own training and its
own weights, so it is no product of the paper's authors.

```bibtex
{CITATION}
```

refusion {__version__}. Code: Apache-2.0. Weights: {licence}.
"""


METHOD = """
## The method

Two sources go through a fusion network that keeps every pixel in its place and attends over the whole picture. What
the fused picture is asked for is not fixed by hand: a second network proposes, at every pixel, how much the brightness
(w) and the edges (v) of each source count. A third network gets both sources back out of the fused picture, and how
well it can is the measure by which the proposals are learned. All three take turns in training; only the fusion network
is needed afterwards.
"""

# Drawn in the colour of the text, so that it is right in the light and in the dark.
METHOD_FIGURE = """
<figure class="method"><svg viewBox="0 0 760 250" role="img" aria-labelledby="method-title" fill="none"
 stroke="currentColor" stroke-width="1.5" font-family="system-ui, sans-serif" font-size="15">
<title id="method-title">Sources A and B go into the fusion network, which gives the fused picture. The loss proposal
network gives the weights w and v of the fusion loss. The reconstruction network gets A and B back out of the fused
picture, and its loss teaches the loss proposal network.</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
<path d="M0 0 8 4 0 8z" fill="currentColor" stroke="none"/></marker></defs>
<g marker-end="url(#tip)"><path d="M74 40H164"/><path d="M74 88H164V76"/><path d="M304 62H386"/><path d="M498 62H556"/>
<path d="M40 112V200H164"/><path d="M304 200H386"/><path d="M442 176V100" /><path d="M696 62H724"/></g>
<g stroke-dasharray="5 4" marker-end="url(#tip)"><path d="M626 98V236H234V230"/></g>
<g class="box"><rect x="8" y="22" width="66" height="36" rx="6"/><rect x="8" y="70" width="66" height="36" rx="6"/>
<rect x="164" y="26" width="140" height="72" rx="8"/><rect x="386" y="26" width="112" height="72" rx="6"/>
<rect x="556" y="26" width="140" height="72" rx="8"/><rect x="164" y="170" width="140" height="60" rx="8"/>
<rect x="386" y="176" width="112" height="48" rx="6"/></g>
<g fill="currentColor" stroke="none" text-anchor="middle"><text x="41" y="45">A</text><text x="41" y="93">B</text>
<text x="234" y="67">fusion</text><text x="442" y="67">fused</text><text x="626" y="67">reconstruction</text>
<text x="234" y="205">loss proposal</text><text x="442" y="205">loss with w, v</text><text x="736" y="58">A*</text>
<text x="736" y="78">B*</text><text x="530" y="190">teaches</text></g>
</svg><figcaption>Solid: what is computed. Dashed: what the loss proposal learns from.</figcaption></figure>
"""


def _summary(task: Task) -> str:
    text = TASK_TEXTS.get(task.name)
    return text.summary if text else ""
