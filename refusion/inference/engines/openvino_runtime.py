"""Import OpenVINO without telemetry; by default importing it sends an event, and writes to the home folder."""

import sys
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"


@cache
def core() -> Any:
    """`openvino.Core`, the same for all networks."""
    # OpenVINO does without this package where it is not installed; there is no other way to switch it off.
    loaded = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        sys.modules.pop(_TELEMETRY, None)  # Another thread may import it, too.
        if loaded is not None:
            sys.modules[_TELEMETRY] = loaded
    return openvino.Core()
