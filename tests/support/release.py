"""The fusion module of the authors' release, written from the paper in the most literal way.

It works on their own state dict, shares no code with the package and is what the package is compared with.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def conv(x: Tensor, weight: Tensor) -> Tensor:
    groups = weight.shape[0] if weight.shape[1] == 1 and weight.shape[0] == x.shape[1] else 1
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    n, c, h, w = q.shape
    heads = temperature.shape[0]
    q, k, v = (x.reshape(n, heads, c // heads, h * w) for x in (q, k, v))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return (((q @ k.transpose(-2, -1)) * temperature).softmax(dim=-1) @ v).reshape(n, c, h, w)


def block(s: State, name: str, x: Tensor) -> Tensor:
    y = layer_norm(x, s[f"{name}.norm1.body.weight"], s[f"{name}.norm1.body.bias"])
    qkv = conv(conv(y, s[f"{name}.attn.qkv.weight"]), s[f"{name}.attn.qkv_dwconv.weight"])
    y = attention(*qkv.chunk(3, dim=1), s[f"{name}.attn.temperature"])
    x = x + conv(y, s[f"{name}.attn.project_out.weight"])
    y = layer_norm(x, s[f"{name}.norm2.body.weight"], s[f"{name}.norm2.body.bias"])
    first, second = conv(conv(y, s[f"{name}.ffn.project_in.weight"]), s[f"{name}.ffn.dwconv.weight"]).chunk(2, 1)
    return x + conv(F.gelu(first) * second, s[f"{name}.ffn.project_out.weight"])


def join(s: State, x1: Tensor, x2: Tensor) -> Tensor:
    q1, k1, v1 = conv(conv(x1, s["FM.qkv1.weight"]), s["FM.qkv1_dwconv.weight"]).chunk(3, dim=1)
    q2, k2, v2 = conv(conv(x2, s["FM.qkv2.weight"]), s["FM.qkv2_dwconv.weight"]).chunk(3, dim=1)
    x1 = x1 + conv(attention(q2, k1, v1, s["FM.temperature1"]), s["FM.project_mid1.weight"])
    x2 = x2 + conv(attention(q1, k2, v2, s["FM.temperature2"]), s["FM.project_mid2.weight"])
    y = torch.cat((x1, x2), dim=1)
    g1, g2 = conv(conv(y, s["FM.project_E.weight"]), s["FM.project_E_d.weight"]).chunk(2, dim=1)
    e1 = F.gelu(g1) * conv(conv(x1, s["FM.project_E1.weight"]), s["FM.project_E1_d.weight"])
    e2 = F.gelu(g2) * conv(conv(x2, s["FM.project_E2.weight"]), s["FM.project_E2_d.weight"])
    return y + conv(e1, s["FM.project_out1.weight"]) + conv(e2, s["FM.project_out2.weight"])


def fuse(s: State, a: Tensor, b: Tensor) -> Tensor:
    """Fused luminance of the release, before its stretch; (N, 1, H, W) in [0, 1] in and out."""
    x1 = F.conv2d(a, s["project_in_1.weight"], padding=1)
    x2 = F.conv2d(b, s["project_in_2.weight"], padding=1)
    for index in range(2):
        x1 = block(s, f"encoder1.{index}", x1)
        x2 = block(s, f"encoder2.{index}", x2)
    x = join(s, x1, x2)
    for index in range(2):
        x = block(s, f"decoder.{index}", x)
    x = F.leaky_relu(conv(x, s["project_out_0.weight"]), 0.01)
    return torch.sigmoid(conv(x, s["project_out_1.weight"]))


def random_state(keys_file: str) -> State:
    """A state dict with the release's names and shapes and random numbers, each convolution twice."""
    state: State = {}
    for line in keys_file.splitlines():
        name, shape = line.split("\t")
        size = [int(side) for side in shape.split("x")]
        twin = name.replace(".conv.weight", ".weight")
        if twin != name and twin in state:
            state[name] = state[twin]
        elif "temperature" in name or name.endswith("body.weight"):
            state[name] = 0.5 + torch.rand(size)
        else:
            state[name] = torch.randn(size) / max(1, torch.Size(size[1:]).numel()) ** 0.5
    return state
