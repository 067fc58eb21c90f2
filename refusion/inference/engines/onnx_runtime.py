"""Import ONNX Runtime with telemetry switched off; official builds send it by default."""

import os

# The library reads this when it is loaded; a value set by the user is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions, disable_telemetry_events

if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
    # Another part of the program may have loaded the library before.
    disable_telemetry_events()

__all__ = ["GraphOptimizationLevel", "InferenceSession", "SessionOptions"]
