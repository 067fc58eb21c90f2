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
        summary: what the model does, in a sentence or two.
        pictures: names of the two sources in the example, A first.
        use: what it is meant for.
        limits: what holds for every model of the task.
    """

    tag: str
    summary: str
    pictures: tuple[str, str]
    use: str
    limits: str


TASK_TEXTS: dict[str, TaskText] = {
    "ir-vis": TaskText(
        "infrared-visible",
        "Fuses a registered infrared and a visible picture into one: people and hot objects from the infrared, "
        "texture and lettering from the visible.",
        ("ir.png", "visible.png"),
        "Surveillance, driving and inspection pictures.",
        "Grey levels of the result are not temperatures.",
    ),
    "medical": TaskText(
        "medical-imaging",
        "Fuses a registered CT, PET or SPECT slice and an MRI slice into one: what the first shows, in its colours, "
        "on the tissue structure of the MRI.",
        ("functional.png", "mri.png"),
        "Showing two modalities in one picture, in teaching and research.",
        "This is no medical device and was never tested as one. What is faint in a source can be lost or made "
        "stronger, and colours and grey levels of the result no longer measure activity or density.",
    ),
    "multi-focus": TaskText(
        "multi-focus",
        "Fuses two registered pictures of a scene that are focused near and far into one that is sharp in both.",
        ("near.png", "far.png"),
        "Photographs, macro and microscope pictures of a scene that holds still.",
        "What moves between the two pictures appears twice.",
    ),
    "multi-exposure": TaskText(
        "multi-exposure",
        "Fuses an under-exposed and an over-exposed picture of a scene into one with detail in lights and shadows.",
        ("under.png", "over.png"),
        "Bracketed photographs of a scene that holds still.",
        "What moves between the two pictures appears twice. The result is a picture to look at, no measured radiance.",
    ),
}

COMMON_LIMITS = (
    "The two pictures must match pixel for pixel; nothing is aligned. Results are 8 bits deep. Not for diagnosis, nor "
    "for anything that somebody's safety depends on."
)

BROWSER = (
    "It also runs in a browser, where no image leaves the computer: `refusion space ORG/NAME --static` puts that page "
    "on the Hub, and `refusion space --static --to page` into a folder for any web server."
)
"""How to try a bundled model without an installation."""

CITATION = """\
@article{bai2024refusion,
  title={ReFusion: Learning Image Fusion from Reconstruction with Learnable Loss via Meta-Learning},
  author={Bai, Haowen and Zhao, Zixiang and Zhang, Jiangshe and Wu, Yichen and Deng, Lilun and Cui, Yukun and Jiang, Baisong and Xu, Shuang},
  journal={International Journal of Computer Vision},
  year={2024}
}"""  # noqa: E501
