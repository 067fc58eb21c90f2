"""Every hyperparameter of the meta-training, and the presets."""

import math
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from refusion.modules.windows import cell_of
from refusion.training.augmentation import NO_AUGMENTATION, Augmentation

FIXED_LOSSES = ("average", "max-gradient", "max-intensity", "max-both")
"""Losses that follow from the sources by a rule, see `refusion.training.fixed_losses.fixed_weights`."""

OPTIMIZERS = ("adam", "nmuon")
"""Optimizers by their names in timm; ``nmuon`` is Muon with Nesterov momentum, whose steps are as large as Adam's."""


def _setting(
    default: Any, about: str, choices: tuple[str, ...] = (), *, least: int | None = None, share: bool = False
) -> Any:
    """A field with its help, and what it accepts: some choices, numbers from `least` on, or shares, 0 to 1."""
    return field(default=default, metadata={"help": about, "choices": choices, "least": least, "share": share})


@dataclass(frozen=True)
class TrainingSettings:
    """Hyperparameters; the defaults are the `paper` preset.

    They are those of the paper (section 4.1) and the settings of the authors' published follow-up code.

    A round is `meta_updates` inner and outer updates, then `fusion_updates` fusion updates.
    """

    rounds: int = _setting(50, "rounds of meta updates and fusion updates (epochs, in the paper)", least=1)
    meta_updates: int = _setting(600, "inner and outer updates in a round", least=1)
    fusion_updates: int = _setting(0, "fusion updates in a round; 0 is one pass over the data", least=0)
    batch_size: int = _setting(2, "pairs in a batch, before the input exchange doubles it", least=1)
    crop: int = _setting(128, "side of the training crops, in pixels")
    crop_last: int = _setting(0, "side of the crops at the end; 0 is that of all crops")
    crop_last_after: float = _setting(0.67, "share of the run after which the crops have that side", share=True)
    batch_size_last: int = _setting(0, "pairs in a batch of these crops; 0 is as before", least=0)
    window: int = _setting(0, "side of the window of the attention, a multiple of 5; 0 is the whole crop or image")
    zoom: float = _setting(0.0, "crops are resized by up to 2 to the power of this, either way")
    tone: float = _setting(0.0, "the gamma of a source is up to 2 to the power of this, either way", least=0)
    gain: float = _setting(
        0.0, "largest share of its contrast that a source loses, as if dim, dark or hazy", share=True
    )
    sensor_noise: float = _setting(0.0, "largest deviation of the noise on a source", least=0)
    blur: float = _setting(0.0, "largest deviation of the blur of a source, in pixels", least=0)
    jpeg: float = _setting(0.0, "how often a source is compressed", share=True)
    invert: float = _setting(0.0, "how often the first source is inverted", share=True)
    shift: float = _setting(0.0, "how often the second source is moved by up to two pixels", share=True)
    augment: float = _setting(0.5, "how often tone, gain, noise and blur are applied, each", share=True)
    lr: float = _setting(1e-4, "learning rate of the fusion and reconstruction modules", least=0)
    optimizer: str = _setting(
        "adam", "optimizer of the fusion and reconstruction modules, by its name in timm", OPTIMIZERS
    )
    lr_schedule: str = _setting("step", "step: x0.1 every fifth of the run; cosine: down to 2 %", ("step", "cosine"))
    warmup: float = _setting(0.0, "share of the run over which the learning rate rises from zero", share=True)
    inner_lr: float = _setting(1e-4, "learning rate of the inner update (eta)", least=0)
    meta_lr: float = _setting(1e-4, "learning rate of the outer update", least=0)
    meta_rule: str = _setting("max", "max: step along the gradient over its largest entry; adam: Adam", ("max", "adam"))
    meta_batches: int = _setting(2, "outer batches whose gradients are accumulated", least=1)
    meta_after: float = _setting(0.0, "share of the run before the first outer update", share=True)
    alpha_first: float = _setting(0.05, "weight of the gradient term at the start")
    alpha_last: float = _setting(1.0, "weight of the gradient term at the end")
    inner_image_until: float = _setting(
        0.0, "share of the run in which the inner update moves the fused image, not the fusion module", share=True
    )
    noise: float = _setting(0.0, "deviation of the noise on the fused image before reconstruction", least=0)
    equivariant: bool = _setting(False, "average the proposed scores over both orders of the sources")
    balance: float = _setting(0.0, "weight of the pull of each image's mean weight towards 1/2", least=0)
    balance_until: float = _setting(1.0, "share of the run in which that pull acts", share=True)
    ema: float = _setting(0.0, "decay of the moving average of the fusion weights; 0 is none", share=True)
    loss: str = _setting(
        "learned",
        "learned: the outer update moves the loss proposal module; direct: in its place, the module descends the "
        "fusion loss itself; the others: fixed weights, and no outer updates",
        ("learned", "direct", *FIXED_LOSSES),
    )
    direct_share: float = _setting(
        0.0,
        "share of the fusion loss's own gradient in the outer update, beside that through the reconstruction; "
        "1 is --loss direct",
        share=True,
    )
    intensity_brightness: float = _setting(0.0, "starting gain of the brightness of a source in its score for w")
    intensity_contrast: float = _setting(0.0, "starting gain of the log of its local contrast in its score for w")
    gradient_brightness: float = _setting(0.0, "starting gain of the brightness of a source in its score for v")
    gradient_contrast: float = _setting(0.0, "starting gain of the log of its local contrast in its score for v")
    gradient_smoothing: int = _setting(1, "side of the squares over which the scores for v are averaged; 1 is none")
    relative: bool = _setting(False, "count brightness and local contrast relative to the pair, not in grey levels")
    inner_reconstruction: bool = _setting(True, "the inner update also moves the reconstruction module")
    signed_gradient: bool = _setting(
        False, "the gradient term compares the derivatives along x and y with their signs, not their magnitudes"
    )

    @property
    def gains(self) -> list[list[float]]:
        """Starting gains of the loss proposal module, see `refusion.modules.loss_proposal.feature_scores`."""
        return [
            [self.intensity_brightness, self.intensity_contrast],
            [self.gradient_brightness, self.gradient_contrast],
        ]

    @property
    def augmentation(self) -> Augmentation:
        """Augmentation of the crops."""
        strengths = (self.tone, self.gain, self.sensor_noise, self.blur, self.jpeg, self.invert, self.shift)
        return Augmentation(*strengths, self.augment) if any(strengths) else NO_AUGMENTATION

    def __post_init__(self) -> None:
        for setting in fields(self):
            _check(setting, getattr(self, setting.name))
        if self.crop < 16:
            raise ValueError(f"crop is {self.crop}; it must be at least 16 pixels.")
        if self.crop_last and self.crop_last < 16:
            raise ValueError(f"crop_last is {self.crop_last}; it must be at least 16 pixels, or 0 for none.")
        if self.zoom < 0 or 2**-self.zoom * self.crop < 8:
            raise ValueError(f"zoom is {self.zoom}; it must be at least 0, and leave crops of 8 pixels and more.")
        cell_of(self.window or None)
        if self.gradient_smoothing < 1 or self.gradient_smoothing % 2 == 0:
            raise ValueError(f"gradient_smoothing is {self.gradient_smoothing}; it must be odd, and 1 for none.")


def _check(setting: Field[Any], value: Any) -> None:
    """Refuse a value that a field does not accept, see `_setting`."""
    name, least, choices = setting.name, setting.metadata["least"], setting.metadata["choices"]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; it must be a finite number.")
    if least is not None and value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}.")
    if setting.metadata["share"] and not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it is a share, from 0 to 1.")
    if choices and value not in choices:
        raise ValueError(f"{name} is {value!r}; choose {' or '.join(choices)}.")


PAPER = TrainingSettings()

CPU = replace(
    PAPER,
    rounds=2000,
    meta_updates=1,
    fusion_updates=4,
    crop=64,
    lr=1e-3,
    lr_schedule="cosine",
    warmup=0.02,
    meta_lr=2e-4,
    meta_rule="adam",
    meta_batches=1,
    meta_after=0.05,
    inner_image_until=1.0,
    noise=0.06,
    equivariant=True,
    balance=0.5,
    ema=0.995,
    signed_gradient=True,
    gradient_contrast=3.0,
)

SHIPPED = replace(CPU, relative=True, balance=0.0, optimizer="nmuon", lr=4e-3, meta_lr=5e-5, zoom=0.6, augment=0.4)

FINE_TUNING_LR = 0.1
"""Learning rate of fine-tuning, relative to that of the preset, which takes from a model that is good already."""

DEFAULT_PRESET = "shipped"

PRESETS: dict[str, TrainingSettings] = {DEFAULT_PRESET: SHIPPED, "cpu-90min": CPU, "paper": PAPER}

PRESET_MINUTES: dict[str, float] = {DEFAULT_PRESET: 60.0, "cpu-90min": 90.0}
"""Budget of a preset where none is given; `paper` runs all its rounds."""

# The starting gains: heat and activity are bright, and what is in focus has contrast. Neither of two exposures is right
# as a whole, so they stay near their average, and details are chosen. The values are those whose optimal image
# (benchmarks/loss_optimum.py) scored best on training pairs.
_TASK_SETTINGS: dict[str, dict[str, Any]] = {
    "ir-vis": {
        "intensity_brightness": 3.0,
        "intensity_contrast": 0.2,
        "gradient_contrast": 6.0,
        "alpha_first": 0.5,
        "alpha_last": 1.0,
    },
    "medical": {"intensity_brightness": 6.0, "gradient_contrast": 6.0, "alpha_first": 0.5, "alpha_last": 1.0},
    "multi-focus": {"intensity_contrast": 8.0, "gradient_contrast": 8.0, "alpha_first": 0.3, "alpha_last": 0.3},
    "multi-exposure": {
        "intensity_brightness": 0.4,
        "gradient_contrast": 3.0,
        "alpha_first": 1.0,
        "alpha_last": 1.0,
    },
}


_CAMERAS: dict[str, Any] = {"sensor_noise": 0.01, "blur": 0.7, "jpeg": 0.1}

_BY_REGION: dict[str, Any] = {"gradient_smoothing": 9, "direct_share": 0.66}

# Settings of the default preset, in addition.
_SHIPPED_SETTINGS: dict[str, dict[str, Any]] = {
    "ir-vis": {
        **_CAMERAS,
        **_BY_REGION,
        "intensity_brightness": 6.0,
        "balance": 0.5,
        "tone": 0.7,
        "gain": 0.6,
        "invert": 0.05,
    },
    "medical": {**_CAMERAS, **_BY_REGION, "tone": 0.3},
    "multi-focus": {"window": 80, "balance": 0.5},
    "multi-exposure": {**_CAMERAS, "relative": False, "balance": 0.5, "meta_lr": 1e-4, "tone": 0.3},
}


def preset_settings(preset: str, task: str) -> TrainingSettings:
    """Hyperparameters of a preset for a task; those of `paper` are the same for all tasks.

    Args:
        preset: a key of `PRESETS`.
        task: name of the task, see `refusion.tasks.TASKS`.
    """
    if preset == "paper":
        return PAPER
    shipped = _SHIPPED_SETTINGS[task] if preset == DEFAULT_PRESET else {}
    return replace(PRESETS[preset], **{**_TASK_SETTINGS[task], **shipped})
