"""Networks written by hand with the module names of torchvision, to check that their weights are mapped to the right places."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


def lively(network: nn.Module) -> nn.Module:
    """The network in eval mode with weights, means and variances that all differ."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.75 + noise.abs() / 2)
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(noise / 10)
            elif tensor.ndim > 1:
                tensor.copy_(noise * (1.6 / tensor[0].numel()) ** 0.5)
            elif tensor.ndim == 1:
                tensor.copy_(1 + noise / 10)
    return network.eval()


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)


class ResNetBlock(nn.Module):
    """conv1, bn1, conv2, bn2 (conv3, bn3) and downsample, as torchvision names them."""

    def __init__(self, before: int, after: int, stride: int, deep: bool, eps: float) -> None:
        super().__init__()
        mid = after // 4 if deep else after
        shapes = (
            [(before, mid, 1, 1), (mid, mid, 3, stride), (mid, after, 1, 1)] if deep else [(before, mid, 3, stride), (mid, after, 3, 1)]
        )
        self.count = len(shapes)
        for i, (a, b, kernel, step) in enumerate(shapes, 1):
            self.add_module(f"conv{i}", _conv(a, b, kernel, step))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b, eps))
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after, eps))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, blocks: list[int], deep: bool, classes: int = 1000, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64, eps)
        before = 64
        for i, depth in enumerate(blocks):
            after, parts = (256 if deep else 64) << i, []
            for k in range(depth):
                parts.append(ResNetBlock(before, after, 2 if i and not k else 1, deep, eps))
                before = after
            self.add_module(f"layer{i + 1}", nn.Sequential(*parts))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


def vgg11(side: int) -> nn.Module:
    """features.0 ..., classifier.0, 3 and 6; for images of `side`."""
    features: list[nn.Module] = []
    before = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        features += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        before = width or before
    wide = 512 * (side // 32) ** 2
    dense = [nn.Linear(wide, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)]
    parts = [("features", nn.Sequential(*features)), ("flat", nn.Flatten()), ("classifier", nn.Sequential(*dense))]
    return nn.Sequential(OrderedDict(parts))


def _norm_act(before: int, after: int, kernel: int, stride: int, groups: int, act: nn.Module | None) -> nn.Sequential:
    return nn.Sequential(_conv(before, after, kernel, stride, groups), nn.BatchNorm2d(after), *([act] if act else []))


class Inverted(nn.Module):
    """torchvision's InvertedResidual (`conv`, flat) or MBConv (`block`, with a gate of 1x1 convolutions fc1 and fc2)."""

    def __init__(self, before: int, after: int, expand: int, kernel: int, stride: int, gated: bool) -> None:
        super().__init__()
        wide, self.added = before * expand, stride == 1 and before == after
        act = nn.SiLU if gated else nn.ReLU6
        parts = [_norm_act(before, wide, 1, 1, 1, act())] if expand > 1 else []
        parts.append(_norm_act(wide, wide, kernel, stride, wide, act()))
        last = _norm_act(wide, after, 1, 1, 1, None)
        if gated:
            self.block = nn.Sequential(*parts, Gate(wide, before // 4), last)
        else:
            self.conv = nn.Sequential(*parts, *last)

    def forward(self, x: Tensor) -> Tensor:
        y = (self.block if hasattr(self, "block") else self.conv)(x)
        return x + y if self.added else y


class Gate(nn.Module):
    def __init__(self, wide: int, units: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(wide, units, 1), nn.Conv2d(units, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Mobile(nn.Module):
    """MobileNetV2 (each block a member of `features`) or EfficientNet-B0 (each stage one)."""

    def __init__(self, rows: list[tuple[int, int, int, int, int]], gated: bool) -> None:
        super().__init__()
        act, before = nn.SiLU if gated else nn.ReLU6, 32
        features: list[nn.Module] = [_norm_act(3, 32, 3, 2, 1, act())]
        for expand, kernel, after, repeats, stride in rows:
            blocks = []
            for k in range(repeats):
                blocks.append(Inverted(before, after, expand, kernel, 1 if k else stride, gated))
                before = after
            features += [nn.Sequential(*blocks)] if gated else blocks
        features.append(_norm_act(before, 1280, 1, 1, 1, act()))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2() -> nn.Module:
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    return Mobile([(t, 3, c, n, s) for t, c, n, s in rows], gated=False)


def efficientnet_b0() -> nn.Module:
    rows = [(1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)]
    return Mobile(rows, gated=True)


class DenseLayer(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), _conv(before, 128, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), _conv(128, 32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())], 1)


def densenet121() -> nn.Module:
    """features.conv0, norm0, denseblock1.denselayer1 ..., transition1 ..., norm5; classifier."""
    parts: list[tuple[str, nn.Module]] = [("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False)), ("norm0", nn.BatchNorm2d(64))]
    parts += [("relu0", nn.ReLU()), ("pool0", nn.MaxPool2d(3, 2, 1))]
    maps = 64
    for i, depth in enumerate((6, 12, 24, 16), 1):
        layers = [(f"denselayer{k + 1}", DenseLayer(maps + 32 * k)) for k in range(depth)]
        parts.append((f"denseblock{i}", nn.Sequential(OrderedDict(layers))))
        maps += 32 * depth
        if i < 4:
            half = [("norm", nn.BatchNorm2d(maps)), ("relu", nn.ReLU()), ("conv", _conv(maps, maps // 2, 1)), ("pool", nn.AvgPool2d(2))]
            parts.append((f"transition{i}", nn.Sequential(OrderedDict(half))))
            maps //= 2
    parts += [("norm5", nn.BatchNorm2d(maps)), ("relu5", nn.ReLU()), ("mean", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]
    return nn.Sequential(OrderedDict([("features", nn.Sequential(OrderedDict(parts))), ("classifier", nn.Linear(maps, 1000))]))
