"""What the demo says: the tasks, the settings, the figures, and the About tab."""

from refusion.hub.card_texts import CITATION, LICENCES, PAPER_URL, TASK_TEXTS
from refusion.tasks import CONTRAST, TASKS, Task
from refusion.version import __version__

INTRODUCTION = (
    "Two registered pictures of one scene in, one picture out that keeps what matters of both. "
    "The loss that decides what matters was itself learned."
)

SETTINGS = {
    "output_range": ("Output range", "What the grey levels are brought to."),
    "anchor": ("Anchor", "What ties the fused grey levels to the sources."),
    "chroma": ("Colour", "Where the colour comes from."),
}
"""The label of each setting and what it is about."""

RANGES = {
    "sources": "range of the sources",
    "contrast": f"contrast times {CONTRAST}",
    "robust": "full, outliers clipped",
    "stretch": "from black to white",
    "network": "as it comes",
}

ANCHORS = {
    "guided": "locally made of both",
    "choice": "pixels of either source",
    "bounds": "between the two",
    "none": "not tied to them",
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
    "MI": "information shared with the sources",
    "CC": "mean correlation with the sources",
    "SCD": "how well the difference to one source shows the other",
    "VIF": "visual information kept from the sources",
    "Qabf": "edges of the sources that are kept",
    "SSIM": "structure shared with the sources",
    "sharp": "how much of what is sharp in one source only stays sharp",
    "agree": "grey levels by which the picture changes what both sources agree on",
    "heat": "how much of their contrast hot objects keep",
    "bright": "how bright the brightest parts of the visible picture stay",
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
        "saturation": "from both, weighted by saturation",
        "choice": "from the source that each pixel was chosen from",
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

Two sources go through a fusion network that keeps every pixel in its place. What
the fused picture is asked for is not fixed by hand: a second network proposes, at every pixel, how much the brightness
(w) and the edges (v) of each source count. A third network gets both sources back out of the fused picture, and how
well it can is the measure by which the proposals are learned. All three take turns in training; only the fusion network
is needed afterwards.
"""

# Drawn in the colour of the text, so that it is right in the light and in the dark.
METHOD_FIGURE = """
<figure class="method" tabindex="0"><svg viewBox="0 0 760 262" role="img" aria-labelledby="method-title" fill="none"
 stroke="currentColor" stroke-width="1.5" font-family="system-ui, sans-serif" font-size="15">
<title id="method-title">Sources A and B go into the fusion network, which gives the fused picture, and into the loss
proposal network, which gives the weights w and v of the loss that the fusion network is trained with. The
reconstruction network gets A and B back out of the fused picture, and how well it can teaches the loss proposal
network.</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
<path d="M0 0 8 4 0 8z" fill="currentColor" stroke="none"/></marker></defs>
<g><rect x="8" y="20" width="60" height="34" rx="6"/><rect x="8" y="66" width="60" height="34" rx="6"/>
<rect x="150" y="24" width="130" height="72" rx="8"/><rect x="366" y="36" width="90" height="48" rx="6"/>
<rect x="520" y="24" width="130" height="72" rx="8"/><rect x="680" y="20" width="76" height="34" rx="6"/>
<rect x="680" y="66" width="76" height="34" rx="6"/><rect x="150" y="152" width="130" height="56" rx="8"/>
<rect x="366" y="156" width="90" height="48" rx="6"/></g>
<g marker-end="url(#tip)"><path d="M68 37H150"/><path d="M68 83H150"/><path d="M280 60H366"/><path d="M456 60H520"/>
<path d="M650 37H680"/><path d="M650 83H680"/><path d="M38 100V180H150"/><path d="M280 180H366"/>
<path d="M411 156V84"/></g>
<path d="M585 96V244H215V208" stroke-dasharray="5 4" marker-end="url(#tip)"/>
<g fill="currentColor" stroke="none" text-anchor="middle"><text x="38" y="42">A</text><text x="38" y="88">B</text>
<text x="215" y="65">fusion</text><text x="411" y="65">fused</text><text x="585" y="65">reconstruction</text>
<text x="718" y="42">A again</text><text x="718" y="88">B again</text><text x="215" y="185">loss proposal</text>
<text x="411" y="185">w and v</text><text x="470" y="124">the loss</text><text x="400" y="236">teaches</text></g>
</svg>
<figcaption>Solid: what is computed from A and B. Dashed: what the loss proposal learns from.</figcaption></figure>
"""


def _summary(task: Task) -> str:
    text = TASK_TEXTS.get(task.name)
    return text.summary if text else ""
