"""The fusion module on a CPU in bfloat16, in OpenVINO: the whole image at once."""

import threading
from typing import Any

import numpy as np

from refusion.images.picture import MIN_SIDE
from refusion.inference.engines.memory import check_memory, enough_memory
from refusion.inference.engines.onnx_graph import whole
from refusion.inference.engines.onnx_weights import Weights
from refusion.inference.engines.openvino_runtime import core
from refusion.modules.windows import cell_of
from refusion.system.extras import need
from refusion.system.memory import free_for_process
from refusion.system.threads import cpu_threads, interruption_point

WHOLE_MAPS = 4.5
"""Peak memory in hidden maps of the decoder's width, in bfloat16 (measured)."""

_TICK = 100
"""Milliseconds between two checks whether to stop."""


def check_bfloat16() -> None:
    """Check that OpenVINO is installed and the processor computes in bfloat16.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ValueError: the processor has no bfloat16.
    """
    need("openvino", "The engine half on a CPU")
    if "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError(
            "The engine half needs a processor with bfloat16 (AVX512_BF16 or AMX), or a GPU, and this machine has "
            "neither; choose onnx, which is the fastest here."
        )


class HalfNetwork:
    """A fusion module in OpenVINO.

    It is compiled for one size of images, which takes about a second; another size takes its place.

    Args:
        weights: its state dict, float32.
        padding_mode: padding mode of its 3 x 3 convolutions.
        window: side of the window of its attention; None for the whole image.

    Raises:
        MissingExtraError: see `check_bfloat16`.
        ValueError: likewise.
    """

    def __init__(self, weights: Weights, padding_mode: str, window: int | None = None) -> None:
        check_bfloat16()
        self._weights, self._padding_mode, self._cell = weights, padding_mode, cell_of(window)
        self._compiled: tuple[tuple[int, int, int], Any] | None = None
        self._lock = threading.Lock()

    def bytes_needed(self, height: int, width: int) -> int:
        """Memory for an image, in bytes."""
        hidden = self._weights["interaction.project_out1.weight"].shape[1]
        return int(WHOLE_MAPS * hidden * height * width * 2)

    def fuse(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Fuse luminance.

        Args:
            a: first source, float32 (H, W) in [0, 1], H and W at least 8.
            b: second source, the same shape.

        Returns:
            Fused luminance, float32 (H, W) in (0, 1).

        Raises:
            PictureError: there is not enough memory.
            ValueError: the shapes differ, or are not (H, W), or are smaller than 8 x 8, or OpenVINO cannot compile the
                network.
        """
        if a.shape != b.shape or a.ndim != 2 or min(a.shape) < MIN_SIDE:
            raise ValueError(
                f"The sources have shapes {a.shape} and {b.shape}; equal ones (H, W), from {MIN_SIDE} x {MIN_SIDE} on, "
                "are accepted."
            )
        height, width = a.shape
        with self._lock, enough_memory(1, height, width):
            request = self._request(height, width, cpu_threads())
            request.start_async({"a": a[None, None], "b": b[None, None]})
            done = False
            try:
                while not (done := request.wait_for(_TICK)):
                    interruption_point()
            finally:
                if not done:
                    request.cancel()
                    self._compiled = None
            return request.get_output_tensor().data[0, 0].copy()

    def _request(self, height: int, width: int, threads: int) -> Any:
        """The network for images of this size, which is compiled, with its memory, if the last ones had another."""
        wanted = height, width, threads
        if self._compiled is None or self._compiled[0] != wanted:
            self._compiled = None
            check_memory(1, height, width, self.bytes_needed(height, width), free_for_process())
            graph = whole(self._weights, self._padding_mode, self._cell, (height, width))
            model = core().read_model(graph.SerializeToString())
            model.reshape({name: [1, 1, height, width] for name in ("a", "b")})
            settings = {
                "INFERENCE_PRECISION_HINT": "bf16",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # Several processes would be pinned to the same cores.
                "ENABLE_CPU_PINNING": False,
            }
            try:
                compiled = core().compile_model(model, "CPU", settings)
            except RuntimeError as error:
                # For example, because ONEDNN_MAX_CPU_ISA keeps OpenVINO from an instruction set that it has reported.
                raise ValueError(
                    "The engine half cannot be used: OpenVINO did not compile the network in bfloat16. Unset "
                    "ONEDNN_MAX_CPU_ISA if it is set, or choose the engine onnx."
                ) from error
            self._compiled = wanted, compiled.create_infer_request()
        return self._compiled[1]
