"""Fusion metrics on arrays and tensors, and the evaluation of whole folders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refusion.metrics.fusion import METRICS, ag, cc, en, mef_ssim, mi, qabf, scd, score, sd, sf, ssim, vif

__all__ = ["METRICS", "ag", "cc", "en", "mef_ssim", "mi", "qabf", "scd", "score", "sd", "sf", "ssim", "vif"]


def __getattr__(name: str) -> Any:
    # Reports are also written where torch is not wanted.
    if name in __all__:
        from refusion.metrics import fusion

        return getattr(fusion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
