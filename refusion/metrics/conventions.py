"""Conventions that differ between published evaluators, and presets named after the evaluators."""

from dataclasses import dataclass, fields
from typing import Literal, get_type_hints

from refusion.tasks import check_choice


@dataclass(frozen=True)
class Conventions:
    """How metrics are computed where published code differs.

    Attributes:
        name: name of this set in reports, which refuse the name of a preset for other values.
        sources: whether MI, VIF and SSIM are the ``sum`` or the ``mean`` over the two sources.
        logarithm: unit of MI, ``nats`` or ``bits``. EN and CE are in bits everywhere.
        rounding: how values are rounded to whole grey levels: to the ``nearest``, ``down`` as by a cast to 8 bits, or
            ``none``, which keeps them unchanged and differentiable. Metrics that count grey levels (EN, MI,
            NMI, TE, Qncie, CE) then use values rounded to the nearest.
        colour: colour images are scored by their BT.601 ``luminance``, or as the mean over their three ``channels``;
            a grey source is then used for each channel.
        ssim_window: window of SSIM: ``uniform-7`` with the sample covariance, the default of scikit-image, or
            ``gaussian-11`` (sigma 1.5), as in the paper.
        ssim_range: data range L of the constants (0.01 L)^2 and (0.03 L)^2 of SSIM, for grey levels 0 to 255.
        formulas: ``paper`` for the formulas of the papers, ``toolkit`` for those of the MATLAB toolkits VIFB and MEFB
            where they differ (AG, VIF, TE, PSNR, RMSE, variance, FMI, Qw, Qy, Qc); see each metric.

    Raises:
        ValueError: a field has an invalid value.
    """

    name: str = "refusion"
    sources: Literal["sum", "mean"] = "sum"
    logarithm: Literal["nats", "bits"] = "nats"
    rounding: Literal["nearest", "down", "none"] = "nearest"
    colour: Literal["luminance", "channels"] = "luminance"
    ssim_window: Literal["uniform-7", "gaussian-11"] = "uniform-7"
    ssim_range: float = 255.0
    formulas: Literal["paper", "toolkit"] = "paper"

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            if field.name not in ("name", "ssim_range"):
                check_choice(f"convention {field.name}", getattr(self, field.name), hints[field.name])
        if not self.ssim_range > 0:
            raise ValueError(f"The data range of SSIM is {self.ssim_range}; it must be above 0, as in 255.")

    def __str__(self) -> str:
        """All conventions in one line, for reports."""
        return (
            f"conventions {self.name}: MI ({self.logarithm}), VIF and SSIM are the {self.sources} over both sources; "
            f"values rounded {'to the nearest' if self.rounding == 'nearest' else self.rounding}; "
            f"colour by {'BT.601 luminance' if self.colour == 'luminance' else 'the mean over its channels'}; "
            f"SSIM with window {self.ssim_window} and data range {self.ssim_range:g}; "
            f"formulas of the {'papers' if self.formulas == 'paper' else 'toolkits'}"
        )


REFUSION = Conventions()
"""The default: conventions of most published Python evaluators, and the formulas of the papers."""

VIFB = Conventions("vifb", rounding="down", colour="channels", ssim_window="gaussian-11", formulas="toolkit")
"""The MATLAB toolkit VIFB (Zhang, Ye, Xiao, CVPR Workshops 2020)."""

MEFB = Conventions("mefb", rounding="down", colour="channels", ssim_window="gaussian-11", formulas="toolkit")
"""The MATLAB toolkit MEFB (Zhang, Information Fusion 2021)."""

PRESETS: dict[str, Conventions] = {preset.name: preset for preset in (REFUSION, VIFB, MEFB)}
"""All sets by name."""


def check_name(conventions: Conventions) -> None:
    """Check that conventions with the name of a preset are that preset, before a report calls them so.

    Raises:
        ValueError: they are not.
    """
    if PRESETS.get(conventions.name, conventions) != conventions:
        raise ValueError(
            f"These conventions are not those of the preset {conventions.name}, so reports need another name for "
            'them; give one, as in replace(REFUSION, name="mine", sources="mean").'
        )


def get_conventions(given: Conventions | str) -> Conventions:
    """Return the set with a given name; a set itself is returned unchanged.

    Raises:
        ValueError: there is no such set; the message lists the sets.
    """
    if isinstance(given, Conventions):
        return given
    if not isinstance(given, str):
        raise ValueError(
            f"The conventions are {given!r}; give {', '.join(PRESETS)}, or a set of your own, as in "
            'replace(REFUSION, name="mine", sources="mean").'
        )
    if given not in PRESETS:
        raise ValueError(f"There are no conventions {given!r}; choose {', '.join(PRESETS)}.")
    return PRESETS[given]
