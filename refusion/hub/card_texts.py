"""Texts of model cards that do not depend on the weights: the library, the tasks, the licences, the paper."""

from dataclasses import dataclass

LIBRARY = "refusion"
PIPELINE_TAG = "image-to-image"
TAGS = ["image-fusion", "meta-learning"]
LICENCE = "cc-by-nc-4.0"
PAPER_URL = "https://arxiv.org/abs/2312.07943"

LICENCES = {"cc-by-nc-4.0": "CC BY-NC 4.0", "apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC BY 4.0"}
"""Display names by identifier."""


@dataclass(frozen=True)
class TaskText:
    """Texts of a card for one task.

    Attributes:
        tag: tag on the Hub.
        summary: purpose of the model, in a sentence or two.
        pictures: file names of the two sources in the example, A first.
        use: intended use.
        limits: limits of every model of the task.
    """

    tag: str
    summary: str
    pictures: tuple[str, str]
    use: str
    limits: str


TASK_TEXTS: dict[str, TaskText] = {
    "ir-vis": TaskText(
        "infrared-visible",
        "Fuses a registered infrared and visible image into one: people and hot objects from the infrared, texture and "
        "lettering from the visible.",
        ("ir.png", "visible.png"),
        "Surveillance, driving and inspection images.",
        "The grey levels of the result are not temperatures.",
    ),
    "medical": TaskText(
        "medical-imaging",
        "Fuses a registered CT, PET or SPECT slice and an MRI slice into one: the content of the first, in its "
        "colours, on the tissue structure of the MRI.",
        ("functional.png", "mri.png"),
        "Showing two modalities in one image, for teaching and research.",
        "This is not a medical device and was never tested as one. Faint structures of a source can be lost or "
        "amplified, and the colours and grey levels of the result no longer measure activity or density.",
    ),
    "multi-focus": TaskText(
        "multi-focus",
        "Fuses two registered images of a scene, focused near and far, into one that is sharp near and far.",
        ("near.png", "far.png"),
        "Photographs, macro and microscope images of a static scene.",
        "Objects that move between the two images appear twice.",
    ),
    "multi-exposure": TaskText(
        "multi-exposure",
        "Fuses an under-exposed and an over-exposed image of a scene into one with detail in highlights and shadows.",
        ("under.png", "over.png"),
        "Bracketed photographs of a static scene.",
        "Objects that move between the two images appear twice. The result is for viewing; its grey levels do not "
        "measure radiance.",
    ),
}

COMMON_LIMITS = (
    "The two images must match pixel for pixel; the model does not align them. Not for diagnosis, nor where anyone's "
    "safety depends on the result."
)

BROWSER = (
    "The model also runs in a browser, where no image leaves the computer. In a checkout of the project, with Node.js, "
    "`npm ci && npm run build` in `space/static` builds the page; then `python -m refusion space --static --to page` "
    "writes it to a folder for any web server, and `python -m refusion space ORG/NAME --static` publishes it on the "
    "Hub."
)
"""How to run a bundled model without an installation."""

CITATION = """\
@article{bai2024refusion,
  title={ReFusion: Learning Image Fusion from Reconstruction with Learnable Loss via Meta-Learning},
  author={Bai, Haowen and Zhao, Zixiang and Zhang, Jiangshe and Wu, Yichen and Deng, Lilun and Cui, Yukun and Jiang, Baisong and Xu, Shuang},
  journal={International Journal of Computer Vision},
  year={2024}
}"""  # noqa: E501
