"""The weights of a module for its ONNX graphs, with layer norms folded into the convolutions after them.

Feature maps are written and read only by convolutions across channels, so their channels can be expressed in any basis.
Here the first channel is the mean of the module's channels times the square root of their number: a layer norm is
centred by ignoring this channel.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from refusion.inference.engines.onnx_attention import Attention

Weights = Mapping[str, np.ndarray]
"""The state dict of one of the `refusion.modules`, float32."""


class Block:
    """The weights of a transformer block.

    Pointwise convolutions are (outputs, inputs) matrices, with a bias if there is one; depthwise ones are as in the
    module.

    Args:
        weights: weights of the module.
        name: name of the block.
    """

    def __init__(self, weights: Weights, name: str) -> None:
        self.qkv, self.qkv_bias = _after_norm(weights, f"{name}.attn.qkv", f"{name}.norm1")
        self.qkv_depthwise = weights[f"{name}.attn.qkv_dwconv.weight"]
        self.attention = _attention(weights, f"{name}.attn.temperature", f"{name}.attn.project_out")
        self.hidden, self.hidden_bias = _after_norm(weights, f"{name}.ffn.project_in", f"{name}.norm2")
        self.hidden_depthwise = weights[f"{name}.ffn.dwconv.weight"]
        self.project_out = _writing(weights, f"{name}.ffn.project_out")


def blocks(weights: Weights, name: str) -> list[Block]:
    """The transformer blocks of a sequence.

    Args:
        weights: weights of the module.
        name: name of the sequence.
    """
    count = 0
    while f"{name}.{count}.norm1.weight" in weights:
        count += 1
    return [Block(weights, f"{name}.{i}") for i in range(count)]


class Source:
    """The weights of the interaction for one source; see `Block`.

    Args:
        weights: weights of the fusion module.
        number: 1 or 2.
    """

    def __init__(self, weights: Weights, number: int) -> None:
        self.qkv = _reading(weights, f"interaction.qkv{number}")
        self.qkv_depthwise = weights[f"interaction.qkv{number}_dwconv.weight"]
        self.attention = _attention(weights, f"interaction.temperature{number}", f"interaction.project_mid{number}")
        self.values = _reading(weights, f"interaction.value{number}")
        self.values_depthwise = weights[f"interaction.value{number}_dwconv.weight"]
        self.project_out = _writing(weights, f"interaction.project_out{number}")


class Network:
    """The weights of the fusion module; see `Block`.

    Attributes:
        encoders: for each encoder block in order, that of each source.
        joining: maps the concatenated features of both sources to a feature map of the decoder.
    """

    def __init__(self, weights: Weights) -> None:
        ends = [
            weights[f"{name}.weight"] for name in ("project_in_1", "project_in_2", "project_out_0", "project_out_1")
        ]
        self.project_in: Sequence[np.ndarray] = [into_basis(end) for end in ends[:2]]
        self.encoders = list(zip(*(blocks(weights, f"encoder{side}") for side in (1, 2)), strict=True))
        self.sources = [Source(weights, number) for number in (1, 2)]
        self.gates = _reading(weights, "interaction.gates", maps=2)
        self.gates_depthwise = weights["interaction.gates_dwconv.weight"]
        self.joining = joining(len(self.gates[0]))
        self.decoders = blocks(weights, "decoder")
        self.project_out_0 = from_basis(ends[2])
        self.project_out_1 = ends[3]


def basis(channels: int) -> np.ndarray:
    """Matrix from channels to the basis of feature maps and back: (channels, channels), orthogonal and symmetric.

    It is the reflection that swaps the direction of the mean and the first axis.
    """
    if channels == 1:
        return np.eye(1, dtype=np.float32)
    normal = np.full(channels, channels**-0.5)
    normal[0] -= 1
    return (np.eye(channels) - 2 / (normal @ normal) * np.outer(normal, normal)).astype(np.float32)


def _bases(channels: int, maps: int) -> np.ndarray:
    """Block-diagonal matrix with the `basis` of each of several maps; `channels` is their total."""
    return np.kron(np.eye(maps, dtype=np.float32), basis(channels // maps))


def joining(channels: int) -> np.ndarray:
    """Matrix from two concatenated feature maps to one with all of their channels."""
    return basis(channels) @ _bases(channels, 2)


def into_basis(weight: np.ndarray) -> np.ndarray:
    """Weight of a 3 x 3 convolution whose result is a feature map."""
    result: np.ndarray = np.einsum("ij,jkyx->ikyx", basis(len(weight)), weight)
    return result


def from_basis(weight: np.ndarray) -> np.ndarray:
    """Weight of a 3 x 3 convolution of a feature map."""
    result: np.ndarray = np.einsum("ijyx,jk->ikyx", weight, basis(weight.shape[1]))
    return result


def _reading(weights: Weights, conv: str, maps: int = 1) -> np.ndarray:
    """Matrix of a pointwise convolution of a feature map, or of several concatenated ones."""
    matrix = weights[f"{conv}.weight"][:, :, 0, 0]
    return matrix @ _bases(matrix.shape[1], maps)


def _writing(weights: Weights, conv: str) -> np.ndarray:
    """Matrix of a pointwise convolution whose result is added to a feature map."""
    matrix = weights[f"{conv}.weight"][:, :, 0, 0]
    return basis(len(matrix)) @ matrix


def _attention(weights: Weights, temperature: str, projection: str) -> Attention:
    matrix, temperatures = _writing(weights, projection), weights[temperature].reshape(-1)
    return Attention(temperatures, len(matrix) // len(temperatures), matrix)


def _after_norm(weights: Weights, conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and bias of a layer norm and a pointwise convolution, for a map divided by its standard deviation."""
    matrix = weights[f"{conv}.weight"][:, :, 0, 0]
    bias = matrix @ weights[f"{norm}.bias"]
    matrix = (matrix * weights[f"{norm}.weight"]) @ basis(matrix.shape[1])
    matrix[:, 0] = 0
    return matrix, bias
