"""Networks of torchvision and timm themselves, with random weights: mapped, they give the same outputs. Skipped where neither is installed.

torchvision must be built for the torch that is installed; `pip install --target DIR torchvision timm huggingface_hub` and
PYTHONPATH=DIR will do, for a build with operators that do not load is helped on here.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from zoo import references

from nasforge import zoo
from nasforge.networks.build import build
from nasforge.zoo.weights import map_weights

pytestmark = pytest.mark.thorough
TORCHVISION = {
    "resnet18": "resnet18", "resnet50": "resnet50", "resnext50_32x4d": "resnext50_32x4d", "wide_resnet50_2": "wide_resnet50_2",
    "vgg11": "vgg11", "squeezenet1_0": "squeezenet1_0", "squeezenet1_1": "squeezenet1_1", "densenet121": "densenet121",
    "mobilenet_v2": "mobilenet_v2", "mobilenet_v3_large": "mobilenet_v3_large", "mobilenet_v3_small": "mobilenet_v3_small",
    "mnasnet_b1": "mnasnet1_0", "shufflenet_v2_x1_0": "shufflenet_v2_x1_0", "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b5": "efficientnet_b5", "regnet_x_400mf": "regnet_x_400mf", "regnet_y_800mf": "regnet_y_800mf",
}  # fmt: skip
TIMM = {
    "resnet50": "resnet50", "resnext101_32x4d": "resnext101_32x4d", "seresnext50_32x4d": "seresnext50_32x4d",
    "senet154": "legacy_senet154", "dpn68": "dpn68", "dpn92": "dpn92", "dpn98": "dpn98", "xception": "legacy_xception",
    "inception_v4": "inception_v4", "inception_resnet_v2": "inception_resnet_v2", "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b1": "efficientnet_b1", "mobilenet_v2": "mobilenetv2_100", "mobilenet_v3_large": "mobilenetv3_large_100",
    "mobilenet_v3_small": "mobilenetv3_small_100", "mnasnet_b1": "mnasnet_100", "mnasnet_a1": "semnasnet_100",
    "cspresnext50": "cspresnext50", "darknet53": "darknet53", "densenet121": "densenet121", "vgg11": "vgg11",
    "pnasnet5_large": "pnasnet5large",
}  # fmt: skip


@pytest.fixture(scope="module")
def torchvision() -> Any:
    with suppress(RuntimeError):  # operators of a build for another torch are declared, so that the models can be imported
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip("torchvision", exc_type=ImportError)


@pytest.fixture(scope="module")
def timm(torchvision: Any) -> Any:
    return pytest.importorskip("timm", exc_type=ImportError)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "by name"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, ordered: bool, torchvision: Any) -> None:
    agree(name, torchvision.models.get_model(TORCHVISION[name], weights=None), ordered)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "by name"])
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, ordered: bool, timm: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(name, timm.create_model(TIMM[name], pretrained=False), ordered)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "by name"])
def test_timm_nasnet(ordered: bool, timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where timm's average pools count the zeros around an odd map, ours and TensorFlow's do not."""
    pool = timm.layers.pool2d_same.AvgPool2dSame
    mean = pool.forward
    monkeypatch.setattr(pool, "forward", lambda self, x: mean(self, x) / mean(self, torch.ones_like(x)))
    agree("nasnet_a_large", timm.create_model("nasnetalarge", pretrained=False), ordered)


def agree(name: str, theirs: nn.Module, ordered: bool) -> None:
    """Map the weights of their network and compare the outputs for one image."""
    arch, theirs = zoo.load(name), references.lively(theirs)
    state = theirs.state_dict()
    found = map_weights(arch, state if ordered else {key: state[key] for key in sorted(state)}, ordered=ordered)
    ours = build(arch).eval()
    ours.load_state_dict(found.state)
    x = torch.randn(1, *arch["input"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = theirs(x)
        assert y.std() > 1e-3 and (y - ours(x)).abs().max() <= 1e-4 * y.abs().max()
