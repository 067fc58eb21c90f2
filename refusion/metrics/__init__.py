"""Fusion metrics on arrays, images and tensors, and the evaluation of whole folders."""

from typing import TYPE_CHECKING, Any

from refusion.metrics.conventions import MEFB, PRESETS, REFUSION, VIFB, Conventions
from refusion.system.extras import need

if TYPE_CHECKING:
    from refusion.metrics.fusion import (
        METRICS,
        ag,
        cc,
        cross_entropy,
        edge_intensity,
        en,
        fmi,
        mef_ssim,
        mi,
        nmi,
        psnr,
        qabf,
        qc,
        qcb,
        qcv,
        qncie,
        qp,
        qw,
        qy,
        rmse,
        scd,
        score,
        sd,
        sf,
        ssim,
        te,
        variance,
        vif,
        viff,
    )

__all__ = [
    "MEFB",
    "METRICS",
    "PRESETS",
    "REFUSION",
    "VIFB",
    "Conventions",
    "ag",
    "cc",
    "cross_entropy",
    "edge_intensity",
    "en",
    "fmi",
    "mef_ssim",
    "mi",
    "nmi",
    "psnr",
    "qabf",
    "qc",
    "qcb",
    "qcv",
    "qncie",
    "qp",
    "qw",
    "qy",
    "rmse",
    "scd",
    "score",
    "sd",
    "sf",
    "ssim",
    "te",
    "variance",
    "vif",
    "viff",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, because the metrics need torch.
    if name in __all__:
        need("torch", f"refusion.metrics.{name}")
        from refusion.metrics import fusion

        return getattr(fusion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
