"""Why a fused image looks the way it does: weight maps, reconstructed sources and their errors."""

from refusion.explanation.maps import Explanation, explain
from refusion.explanation.trained import load_trained

__all__ = ["Explanation", "explain", "load_trained"]
