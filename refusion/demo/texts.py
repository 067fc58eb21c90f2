"""Texts of the demo: the tasks, the settings, the metrics, and the About tab."""

from collections.abc import Mapping
from importlib.util import find_spec

from refusion.hub.card_texts import CITATION, LICENCES, PAPER_URL, TASK_TEXTS
from refusion.images.failures import READ_LIST
from refusion.tasks import CONTRAST, TASKS, Task
from refusion.version import __version__

READS_DICOM = find_spec("pydicom") is not None
"""Whether DICOM files can be read here."""

FORMATS = f"{READ_LIST}, and DICOM for medical images" if READS_DICOM else READ_LIST
"""The formats that lists of images and programs may have."""

INTRODUCTION = "Fuse two aligned images of one scene into a single image that keeps what matters in both."

SETTINGS = {
    "output_range": ("Range of the grey levels", "How dark and how bright the fused image gets."),
    "anchor": ("Anchor to the sources", "How closely its grey levels follow the sources."),
    "chroma": ("Colour", "Where its colour comes from."),
    "input_range": ("Input range", "What becomes black and white in sources of more than 8 bits."),
    "borders": ("Blank borders", "Where a registered source does not reach. White ones may mean hot, or bone."),
}
"""Label and description of each setting."""

INPUT_RANGES = {
    "file": "Range of the file",
    "own": "Own range of the sources",
}

BORDERS = {
    "auto": "Fill, but keep doubtful white ones",
    "fill": "Fill black and white ones",
    "keep": "Keep them",
}

RANGES = {
    "sources": "Keep the range of the sources",
    "contrast": f"Raise the contrast ({CONTRAST:g} times)",
    "robust": "Full range, except for outliers",
    "stretch": "Stretch from black to white",
    "network": "Leave the network output unchanged",
}

ANCHORS = {
    "guided": "Follow both sources locally",
    "detail": "Follow both, keep most of the brighter detail",
    "full-detail": "Follow both, keep all brighter detail",
    "heat": "Follow both, hot objects brighter",
    "choice": "Choose one source per pixel",
    "bounds": "Keep between the sources",
    "none": "No anchor",
}

# The images of a stack are of one camera: none shows heat or gives the colour, and no detail is brighter than in all.
_STACK_ANCHORS = {
    "guided": "Follow all images locally",
    "choice": "Choose one image per pixel",
    "bounds": "Keep between the images",
    "none": "No anchor",
}

_STACK_COLOURS = {
    "exposure": "From all, relative to brightness",
    "release": "From all, the stronger colour first",
    "saturation": "From all, by saturation",
    "choice": "From the image chosen per pixel",
}

_LEADS = {
    "ir-vis": "People and hot objects from the infrared, texture and lettering from the visible.",
    "medical": "The content of CT, PET or SPECT, on the tissue structure of the MRI. Not for diagnosis.",
    "multi-focus": "One photograph focused near and one focused far, fused into one that is sharp everywhere.",
    "multi-exposure": "A dark and a bright photograph, fused into one with detail in highlights and shadows.",
}

_ADVICE = {
    "ir-vis": "Use a thermal or near-infrared image and an ordinary photograph taken from the same spot.",
    "medical": "Use two registered slices of one patient: a CT, PET or SPECT slice and an MRI slice.",
    "multi-focus": "Take both photographs from a tripod. For three or more, use the Stack tab.",
    "multi-exposure": "Take both photographs from a tripod. For three or more, use the Stack tab.",
}

_MEANINGS = {
    "EN": "entropy of the grey levels, in bits",
    "SD": "contrast: standard deviation of the grey levels",
    "SF": "spatial frequency: how much neighbouring pixels differ",
    "AG": "average gradient: how steep edges are",
    "MI": "information shared with the sources",
    "CC": "mean correlation with the sources",
    "SCD": "how well the difference from one source matches the other",
    "VIF": "visual information kept from the sources",
    "Qabf": "edges of the sources that are kept",
    "SSIM": "structure shared with the sources",
    "sharp": "sharpness kept where one source only is sharp",
    "agree": "change in grey levels where both sources agree",
    "heat": "contrast of hot objects that is kept",
    "bright": "brightness kept in the brightest parts of the visible image",
    "MEF-SSIM": "local contrast and structure kept from the better exposed source",
    "border": "step at the border relative to the interior; 1 means none",
    "background": "grey level where both sources are black",
}


def choices(labels: tuple[str, str] | None) -> dict[str, dict[str, str]]:
    """Descriptions of the choices of each setting, by its name and in the order of the page.

    Args:
        labels: labels of the two sources; None for a stack, which has fewer choices.
    """
    colours = _colour_rules(labels) if labels else _STACK_COLOURS
    anchors = ANCHORS if labels else _STACK_ANCHORS
    own = {"input_range": INPUT_RANGES, "borders": BORDERS}
    return {"output_range": RANGES, "anchor": anchors, "chroma": colours, **own}


def choices_of(task: Task) -> dict[str, dict[str, str]]:
    """Those of `choices` that suit a pair of a task: no photograph of a camera shows heat."""
    words = choices(task.labels)
    if task.one_camera:
        words["anchor"] = {choice: said for choice, said in words["anchor"].items() if choice != "heat"}
    return words


def in_words(changed: Mapping[str, str], labels: tuple[str, str] | None) -> str:
    """The changed settings with their labels, as in `choices`; the model is named elsewhere."""
    words = choices(labels)
    said = [f'"{words[name][value]}"' for name, value in changed.items() if name in words]
    return ", ".join(said + [f"revision {value}" for name, value in changed.items() if name == "revision"])


def lead(task: Task) -> str:
    """Purpose of a task, in a sentence."""
    return _LEADS.get(task.name, "")


def advice(task: Task) -> str:
    """Description of the inputs, as HTML."""
    how = _ADVICE.get(task.name, "")
    medical = task.name == "medical"
    dicom = " DICOM files are accepted in the Batch tab." if READS_DICOM and medical else ""
    volumes = " Volumes (NIfTI) are fused by <code>refusion fuse</code> on a machine of your own." if medical else ""
    match = "The two images must match pixel for pixel."
    return f'<p class="credit">{how} {match} Formats: {READ_LIST}.{dicom}{volumes}</p>'


def meaning(metric: str) -> str:
    """Short description of a metric."""
    return _MEANINGS.get(metric, "")


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

- The two images must match pixel for pixel; nothing is aligned.
- Fused images are for viewing: not for diagnosis, nor where anyone's safety depends on them.
- Each score measures by its own definition how much of the sources is kept; none replaces looking at the image.
- Uploads and results are removed after an hour, and are not shown to anyone else.

## From a program

Below the result of a pair is the program that computes it; below that of a stack or a batch, the command. *Use via API*
in the footer lists the endpoints. On a machine of your own, `refusion fuse` writes the same image, pixel for pixel,
without these limits on size.

## Examples

The examples are rendered for this project or freely licensed. The origin and licence of the current one are below the
thumbnails.

## Citation

The method is [ReFusion]({PAPER_URL}). This is an independent open implementation with its own training and weights; it
is not by the authors of the paper.

```bibtex
{CITATION}
```

refusion {__version__}. Code: Apache-2.0. Weights: {licence}.
"""


METHOD = """
## The method

A fusion network turns two sources into one image of the same size. What the fused image should keep is not designed by
hand: a second network proposes, for every pixel, how much the brightness (w) and the edges (v) of each source count. A
third network reconstructs both sources from the fused image, and the proposals are trained so that it reconstructs them
well. The three are trained in turns; afterwards only the fusion network is needed.
"""

# Drawn in the text colour, so that it works in light and dark mode; once wide and once tall.
_DRAWN = 'fill="none" stroke="currentColor" stroke-width="1.5" font-family="system-ui, sans-serif" font-size="15"'

# One marker per drawing: a marker in a hidden drawing cannot be used by the other one.
_TIP = """<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor" stroke="none"/></marker>"""

METHOD_FIGURE = f"""
<figure class="method"><svg class="wide" viewBox="0 0 760 262" role="img" aria-labelledby="method-title" {_DRAWN}>
<title id="method-title">Sources A and B go into the fusion network, which outputs the fused image, and into the loss
proposal network, which outputs the weights w and v of the loss that the fusion network is trained with. The
reconstruction network reconstructs A and B from the fused image, and the quality of the reconstruction trains the loss
proposal network.</title>
<defs>{_TIP.format(name="tip")}</defs>
<g><rect x="8" y="20" width="60" height="34" rx="6"/><rect x="8" y="66" width="60" height="34" rx="6"/>
<rect x="150" y="24" width="130" height="72" rx="8"/><rect x="366" y="36" width="90" height="48" rx="6"/>
<rect x="520" y="24" width="130" height="72" rx="8"/><rect x="680" y="20" width="76" height="34" rx="6"/>
<rect x="680" y="66" width="76" height="34" rx="6"/><rect x="150" y="152" width="130" height="56" rx="8"/>
<rect x="366" y="156" width="90" height="48" rx="6"/></g>
<g marker-end="url(#tip)"><path d="M68 37H150"/><path d="M68 83H150"/><path d="M280 60H366"/><path d="M456 60H520"/>
<path d="M650 37H680"/><path d="M650 83H680"/><path d="M88 37V168H150"/><path d="M112 83V192H150"/>
<path d="M280 180H366"/><path d="M411 156V84"/></g>
<path d="M585 96V244H215V208" stroke-dasharray="5 4" marker-end="url(#tip)"/>
<g fill="currentColor" stroke="none" text-anchor="middle"><circle cx="88" cy="37" r="3"/>
<circle cx="112" cy="83" r="3"/><text x="38" y="42">A</text><text x="38" y="88">B</text>
<text x="215" y="65">fusion</text><text x="411" y="65">fused</text><text x="585" y="65">reconstruction</text>
<text x="718" y="42">A again</text><text x="718" y="88">B again</text><text x="215" y="185">loss proposal</text>
<text x="411" y="185">w and v</text><text x="470" y="124">the loss</text><text x="400" y="236">teaches</text></g>
</svg><svg class="tall" viewBox="0 0 340 400" role="img" aria-labelledby="method-title" {_DRAWN}>
<defs>{_TIP.format(name="tip-tall")}</defs>
<g><rect x="20" y="4" width="60" height="34" rx="6"/><rect x="100" y="4" width="60" height="34" rx="6"/>
<rect x="20" y="84" width="140" height="48" rx="8"/><rect x="40" y="178" width="100" height="44" rx="6"/>
<rect x="20" y="272" width="140" height="48" rx="8"/><rect x="8" y="362" width="76" height="34" rx="6"/>
<rect x="96" y="362" width="76" height="34" rx="6"/><rect x="206" y="84" width="126" height="48" rx="8"/>
<rect x="219" y="178" width="100" height="44" rx="6"/></g>
<g marker-end="url(#tip-tall)"><path d="M50 38V84"/><path d="M130 38V84"/><path d="M90 132V178"/>
<path d="M90 222V272"/><path d="M46 320V362"/><path d="M134 320V362"/><path d="M160 21H269V84"/><path d="M269 132V178"/>
<path d="M219 200H140"/><path d="M50 56H240V84"/></g><path d="M160 296H334V108" stroke-dasharray="5 4"/>
<path d="M334 108H332" marker-end="url(#tip-tall)"/>
<g fill="currentColor" stroke="none" text-anchor="middle"><circle cx="50" cy="56" r="3"/>
<text x="50" y="26">A</text><text x="130" y="26">B</text>
<text x="90" y="113">fusion</text><text x="90" y="205">fused</text><text x="90" y="301">reconstruction</text>
<text x="46" y="384">A again</text><text x="134" y="384">B again</text><text x="269" y="113">loss proposal</text>
<text x="269" y="205">w and v</text><text x="180" y="246">the loss</text><text x="250" y="288">teaches</text></g>
</svg>
<figcaption>Solid: computed from A and B. Dashed: the training signal of the loss proposal.</figcaption></figure>
"""


def _summary(task: Task) -> str:
    text = TASK_TEXTS.get(task.name)
    return text.summary if text else ""


def _colour_rules(labels: tuple[str, str]) -> dict[str, str]:
    first, second = labels
    return {
        "a": f"From the {first} image",
        "b": f"From the {second} image",
        "exposure": "From both, relative to brightness",
        "release": "From both, the stronger colour first",
        "saturation": "From both, by saturation",
        "choice": "From the source chosen per pixel",
    }
