"""Build ONNX graphs of convolutions over feature maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from refusion.inference.engines.onnx_nodes import Nodes

SIDES = ("height", "width")

PICTURE_ENDS = (0, 0, 1, 1, 0, 0, 1, 1)
"""Pads of a map (N, C, H, W) for a 3 x 3 convolution if all its sides are borders of the image."""

CHANNELS_AT_A_TIME = 32
"""Number of channels processed at a time, so that they stay in the processor's cache until they are used."""

_PAD_MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect"}


class Graph(Nodes):
    """A graph of feature maps, (1, C, H, W), whose channels and sizes are tracked.

    ONNX Runtime uses its own layout for convolutions, and keeps it between them if maps are known to have the same
    size. So the size of each map is written into the model.

    Args:
        padding_mode: padding mode of the 3 x 3 convolutions.
        cell: side of the cells of the attention, or None.
        whole: whether maps are of whole images, so that all their sides are borders.
        pads_first: whether the graph pads for the first convolution too, with any padding mode.
        inner: whether maps are of tiles away from the borders of the image, which need no padding.
        size: height and width of the maps, if they are known and of whole images.

    Attributes:
        channels: number of channels of each map.
        depth: number of 3 x 3 convolutions before each map.
        layers: number of consecutive 3 x 3 convolutions.
        pads: name of the input with the pads, for each of these layers that has one.
    """

    def __init__(
        self,
        padding_mode: str,
        cell: int | None,
        *,
        whole: bool,
        pads_first: bool = False,
        inner: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.padding_mode, self.cell, self.whole, self.inner = padding_mode, cell, whole, inner
        self.size = size
        self._pads_first = pads_first or padding_mode == "zeros"
        self.channels: dict[str, int] = {}
        self.depth: dict[str, int] = {}
        self.layers = 0
        self.pads: dict[int, str] = {}
        self._sizes: dict[str, str] = {}
        self._outputs: list[ValueInfoProto] = []
        self._given_away: set[str] = set()
        self._padded: dict[str, str] = {}

    def map(self, name: str, channels: int) -> str:
        """Add a map as an input."""
        self.given(name, [1, channels, *SIDES])
        return self._keep(name, channels, 0)

    def output(self, called: str, name: str, shape: Sequence[int | str] | None = None) -> None:
        """Make the value `name` an output called `called`; a map needs no shape."""
        for node in self._nodes:
            node.output[:] = [called if x == name else x for x in node.output]
            node.input[:] = [called if x == name else x for x in node.input]
        shape = self._shape(name) if shape is None else shape
        self._outputs.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, shape))
        self._given_away.add(name)

    def layer(self, kind: str, x: str, *others: str, channels: int | None = None, **attributes: Any) -> str:
        """Add an operation that turns a map into one of the same size, by default with as many channels."""
        name = self.op(kind, x, *others, **attributes)
        return self._keep(name, channels or self.channels[x], self.depth[x], self._sizes[x])

    def reshaped(self, x: str, like: str, channels: int) -> str:
        """Reshape a value to a map of the same size as the map `like`."""
        ends = self.op("Shape", like, start=2)
        shape = self.op("Concat", self.constant([1, channels]), ends, axis=0)
        return self._keep(self.op("Reshape", x, shape), channels, self.depth[like], self._sizes[like])

    def add(self, x: str, y: str) -> str:
        """Add x + y, where y may have more 3 x 3 convolutions before it."""
        while not self.whole and self.depth[x] < self.depth[y]:
            x = self._crop(x)
        return self.layer("Add", x, y)

    def pointwise(self, x: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """Add a pointwise convolution with an (outputs, inputs) matrix."""
        given = [self.constant(weight[:, :, None, None])] + ([] if bias is None else [self.constant(bias)])
        return self.layer("Conv", x, *given, channels=len(weight), kernel_shape=[1, 1])

    def conv(self, x: str, weight: np.ndarray) -> str:
        """Add a 3 x 3 convolution."""
        return self._unpadded(self._pad(x), weight, 1)

    def depthwise(self, x: str, pointwise: np.ndarray, bias: np.ndarray | None, weight: np.ndarray) -> str:
        """Add a pointwise convolution and a 3 x 3 depthwise convolution after it."""
        if self.padding_mode == "zeros":
            x = self._pad(self.pointwise(x, pointwise, bias))
        else:
            x = self.pointwise(self._pad(x), pointwise, bias)
        return self._unpadded(x, weight, len(weight))

    def model(self) -> ModelProto:
        """Return the model."""
        ends = self._given_away.union(value.name for value in self._inputs)
        maps = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self._shape(name))
            for name in self.channels
            if name not in ends
        ]
        return self.model_with(self._outputs, maps)

    def _keep(self, name: str, channels: int, depth: int, size: str = "") -> str:
        """Track a map; `size` distinguishes the sizes of maps with equal depth."""
        self.channels[name], self.depth[name], self._sizes[name] = channels, depth, size
        return name

    def _shape(self, name: str) -> list[int | str]:
        after = "" if self.whole or not self.depth[name] else f"_after_{self.depth[name]}"
        return [1, self.channels[name], *(side + after + self._sizes[name] for side in SIDES)]

    def _unpadded(self, x: str, weight: np.ndarray, groups: int) -> str:
        name = self.op("Conv", x, self.constant(weight), kernel_shape=list(weight.shape[2:]), group=groups)
        self.layers = max(self.layers, self.depth[x] + 1)
        return self._keep(name, len(weight), self.depth[x] + 1)

    def _pad(self, x: str) -> str:
        if self._comes_padded(x):
            return x
        if x not in self._padded:
            name = self.op("Pad", x, self._pads_at(self.depth[x]), mode=_PAD_MODES[self.padding_mode])
            self._padded[x] = self._keep(name, self.channels[x], self.depth[x], "_padded")
        return self._padded[x]

    def _crop(self, x: str) -> str:
        """Crop a map to the output area of a 3 x 3 convolution."""
        if self._comes_padded(x):
            inside = [self.constant(places) for places in ([1, 1], [-1, -1], [2, 3])]
            name = self.op("Slice", x, *inside)
        else:
            kept = self.op("Sub", self._pads_at(self.depth[x]), self.constant(PICTURE_ENDS))
            name = self.op("Pad", x, kept, mode="constant")
        return self._keep(name, self.channels[x], self.depth[x] + 1)

    def _comes_padded(self, x: str) -> bool:
        return self.inner or not (self.whole or self._pads_first or self.depth[x])

    def _pads_at(self, depth: int) -> str:
        if self.whole:
            return self.constant(PICTURE_ENDS)
        if depth not in self.pads:
            self.pads[depth] = self.given(f"pads{depth}", [len(PICTURE_ENDS)], TensorProto.INT64)
        return self.pads[depth]
