"""ONNX Runtime with its telemetry switched off, which official builds send by default."""

import os

# Read when the library is loaded; says nothing to whoever has decided otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions, disable_telemetry_events

if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
    # In case that another part of the program had loaded the library before.
    disable_telemetry_events()

__all__ = ["GraphOptimizationLevel", "InferenceSession", "SessionOptions"]
