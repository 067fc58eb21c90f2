"""Why a fused image looks the way it does: weight maps, reconstructed sources and their errors."""

from typing import TYPE_CHECKING, Any

from refusion.system.extras import need

if TYPE_CHECKING:
    from refusion.explanation.maps import Explanation, explain, load_trained

__all__ = ["Explanation", "explain", "load_trained"]


def __getattr__(name: str) -> Any:
    # Imported on first use, because it needs torch.
    if name in __all__:
        need("torch", f"refusion.explanation.{name}")
        from refusion.explanation import maps

        return getattr(maps, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
