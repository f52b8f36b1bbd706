"""Weights in the names of torchvision, mapped to ours: the outputs agree, and what does not fit is named."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo import references

from nasforge import files, zoo
from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.networks.build import build, key
from nasforge.zoo.state_files import layers_of, of_tensorflow, read_state
from nasforge.zoo.weights import map_weights, padded_otherwise

SIDE = 64  # of the images: the weights do not depend on it
REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: references.ResNet([2, 2, 2, 2], deep=False),
    "resnet50": lambda: references.ResNet([3, 4, 6, 3], deep=True),
    "vgg11": lambda: references.vgg11(SIDE),
    "mobilenet_v2": references.mobilenet_v2,
    "efficientnet_b0": references.efficientnet_b0,
    "densenet121": references.densenet121,
}


def ours(name: str) -> dict[str, Any]:
    return {**zoo.load(name), "input": [3, SIDE, SIDE]}


def resnet18_state(**changes: Any) -> dict[str, Tensor]:
    return references.lively(references.ResNet([2, 2, 2, 2], False, **changes)).state_dict()


def distance(theirs: nn.Module, arch: dict[str, Any], state: dict[str, Tensor]) -> float:
    """The largest difference of the outputs, relative to the largest output."""
    network = build(arch).eval()
    network.load_state_dict(state)
    x = torch.randn(2, *arch["input"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = theirs(x)
        assert y.std() > 1e-3
        return float((y - network(x)).abs().max() / y.abs().max())


@pytest.mark.parametrize("name", REFERENCES)
def test_outputs_agree_after_mapping(name: str) -> None:
    theirs, arch = references.lively(REFERENCES[name]()), ours(name)
    state = theirs.state_dict()
    found = map_weights(arch, state)
    assert not found.left and not found.fresh and found.remarks == []
    assert len(found.pairs) == len(layers_of(state))
    assert distance(theirs, arch, found.state) < 1e-4
    by_name = map_weights(arch, {key: state[key] for key in sorted(state)}, ordered=False)
    assert dict(by_name.pairs) == dict(found.pairs)


def test_norms_with_another_constant_give_the_same() -> None:
    """The variances are shifted by the difference of the constants, so that our norms need no argument."""
    theirs = references.lively(references.ResNet([2, 2, 2, 2], False, eps=1e-3))
    assert distance(theirs, ours("resnet18"), map_weights(ours("resnet18"), theirs.state_dict(), norm_eps=1e-3).state) < 1e-5
    assert distance(theirs, ours("resnet18"), map_weights(ours("resnet18"), theirs.state_dict()).state) > 1e-4


def test_the_weights_of_another_network_are_refused_by_name() -> None:
    deeper = references.ResNet([3, 4, 6, 3], deep=False).state_dict()
    with pytest.raises(UserError, match=r"resnet18: .* 32 of the layers of the file have no place: layer1\.2\.conv1 \(weight 64x64x3x3\)"):
        map_weights(ours("resnet18"), deeper)
    with pytest.raises(UserError, match=r"its layers find no weights: steps\.stem0\.conv \(weight 32x3x3x3\)"):
        map_weights(ours("mobilenet_v2"), deeper)


def test_what_fits_is_taken_where_that_is_asked_for() -> None:
    state = resnet18_state(classes=10)
    with pytest.raises(UserError, match=r"fc \(weight 10x512, bias 10\)"):
        map_weights(ours("resnet18"), state)
    found = map_weights(ours("resnet18"), state, partial=True)
    assert found.left == ["fc (weight 10x512, bias 10)"] and len(found.fresh) == 1 and len(found.pairs) == 40
    assert set(found.state) == set(build(ours("resnet18")).state_dict())
    assert torch.equal(found.state["steps.stem0.conv.weight"], state["conv1.weight"])


def test_names_in_an_order_that_their_numbers_contradict_are_refused() -> None:
    state = resnet18_state()
    turned = dict(reversed(state.items()))
    with pytest.raises(UserError, match="the order of the layers cannot be told from their names"):
        map_weights(ours("resnet18"), turned)
    assert map_weights(ours("resnet18"), turned, ordered=False).pairs  # the names alone do tell it


@pytest.mark.parametrize("name", ["dpn68", "shufflenet_v2_x0_5", "googlenet"])
def test_weights_in_our_own_names_stay_where_they_are(name: str) -> None:
    """Also those of auxiliary heads; the file may hold them in any order."""
    state = build(zoo.load(name)).state_dict()
    found = map_weights(zoo.load(name), dict(reversed(state.items())), ordered=False)
    assert found.pairs and all(theirs == mine for theirs, mine in found.pairs) and not found.fresh
    assert set(found.state) == set(state) and all(torch.equal(found.state[key], state[key]) for key in state)


def test_auxiliary_heads_may_be_absent() -> None:
    state = build(zoo.load("googlenet")).state_dict()
    main_alone = {f"net.{key}": value for key, value in state.items() if not key.startswith("aux.")}
    found = map_weights(zoo.load("googlenet"), main_alone)
    assert len(found.fresh) == 6 and all(layer.startswith("aux.") for layer in found.fresh) and not found.left
    assert not any(key.startswith("aux.") for key in found.state)


# ---------------------------------------------------------------- files and the command


def test_files_of_all_kinds(tmp_path: Path) -> None:
    state = resnet18_state()
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    for file, ordered in (("a.pth", True), ("b.safetensors", False)):
        found, stands = read_state(tmp_path / file)
        assert set(found) == set(state) and stands is ordered and torch.equal(found["fc.bias"], state["fc.bias"])


class Runs:
    """An object whose unpickling would call a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_files_that_are_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Runs()}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for file in ("code.pth", "text.pth", "text.safetensors", "none.pth", "absent.pth"):
        with pytest.raises(UserError):
            read_state(tmp_path / file)
    assert "run" not in capsys.readouterr().out


def test_the_command_writes_what_export_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(resnet18_state(), tmp_path / "theirs.pth")
    out = tmp_path / "deep" / "ours.safetensors"
    assert main(["zoo", "--weights", "resnet18", str(tmp_path / "theirs.pth"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["arch"], told["mapped"], told["left"], told["fresh"], told["norm_eps"]) == ("resnet18", 41, [], [], 1e-5)
    state = load_file(out)
    build(zoo.load("resnet18")).load_state_dict(state)
    assert ["conv1", "steps.stem0.conv"] in told["pairs"]
    assert main(["zoo", "--weights", "resnet34", str(tmp_path / "theirs.pth"), "--out", str(out)]) == 2
    assert "resnet34: the weights must be of this network" in capsys.readouterr().err


def test_state_dicts_that_never_end_or_hold_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: dict[str, Any] = {"epoch": 1}
    inside["state_dict"] = inside
    wrong = {
        "a mapping in itself": inside,
        "must hold its numbers": {"a.weight": torch.zeros(1).expand(10**12)},
        "must be a dense tensor": {"a.weight": torch.zeros(3, 3).to_sparse()},
        "on meta": {"a.weight": torch.zeros(3, device="meta")},
    }
    for message, state in wrong.items():
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(UserError, match=message):
            read_state(tmp_path / "w.pth")
    for name in ("fifo.pth", "fifo.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError, match="no regular file"):
            read_state(tmp_path / name)
    torch.save({"a.weight": torch.zeros(10**6)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.infolist():
            packed.writestr(member.filename, whole.read(member))
    monkeypatch.setattr(files, "MOST_BYTES", 2**18)
    with pytest.raises(UserError, match="unpacks to 4,000,"):
        read_state(tmp_path / "small.pth")


def stemmed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an EfficientNet with its first layer called as timm calls it."""
    return {name.replace("features.0.0.", "conv_stem."): tensor for name, tensor in state.items()}


def test_weights_of_a_network_that_pads_otherwise_are_refused() -> None:
    arch, state = ours("efficientnet_b0"), references.lively(references.efficientnet_b0()).state_dict()
    with pytest.raises(UserError, match=r"steps\.stem0 has 1 pixels of padding before an input of 64, as Ten.* it would be 0.* --pad same"):
        map_weights(arch, state, pad="tf")
    for fits in (map_weights(arch, state, pad="same"), map_weights({**arch, "input": [3, 97, 97]}, state, pad="tf")):
        assert fits.remarks == [] and fits.left == fits.fresh == []
    assert ["--pad tf asks" in remark for remark in map_weights(arch, stemmed(state)).remarks] == [True]
    assert map_weights(arch, stemmed(state), pad="same").remarks == []
    with pytest.raises(UserError, match="pads alike"):  # the constant of TensorFlow's norms, where another is known
        map_weights(arch, stemmed(state), norm_eps=1e-3)


@pytest.mark.slow
def test_where_the_windows_of_documented_networks_lie() -> None:
    found = {
        name: [padded_otherwise(zoo.load(name), pad) for pad in ("tf", "same")] for name in ("nasnet_a_mobile", "inception_v3", "resnet50")
    }
    assert {name: [not why for why in both] for name, both in found.items()} == {
        "nasnet_a_mobile": [True, False], "inception_v3": [True, True], "resnet50": [False, True],
    }  # fmt: skip
    assert found["resnet50"][0] == "steps.stem0 has 3 pixels of padding before an input of 224, as TensorFlow does it would be 2"
    seen = [
        of_tensorflow(name) for name in ("tf_effb0.pth", "a/efficientnet_b0_tf.safetensors", "models--timm--tf_mixnet_s.in1k/x/model.pt")
    ]
    assert seen == [True] * 3 and not any(map(of_tensorflow, ("tf_models/resnet50.pth", "efficientnet_b0.pth", "tfnet.pt", "outfit.pth")))


@pytest.mark.slow
def test_the_command_takes_tensorflows_weights_only_where_the_padding_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(references.efficientnet_b0().state_dict(), "tf_effb0.pth")
    words = ["zoo", "--weights", "efficientnet_b0", "tf_effb0.pth"]
    for more in ([], ["--norm-eps", "1e-3"], ["--pad", "tf"]):
        assert main([*words, *more]) == 2
        assert "efficientnet_b0: the weights must be of a network that pads alike" in capsys.readouterr().err
    assert not (tmp_path / "efficientnet_b0.safetensors").exists()
    assert main([*words, "--pad", "same"]) == 0 and (tmp_path / "efficientnet_b0.safetensors").exists()


@pytest.mark.parametrize("block", [
    {"mbconv": {"expand": 6, "kernel": 5, "se": 0.25}}, {"mbconv": {"expand": 1}}, {"inverted_residual": {}}, {"depthwise_separable": {}},
    {"basic": {}}, {"bottleneck": {}}, {"separable": {}},
])  # fmt: skip
def test_blocks_that_stride_pad_as_tensorflow_does_where_they_are_asked_to(block: dict[str, Any]) -> None:
    (name, args), stem = next(iter(block.items())), {"conv": {"out": 8, "stride": 2, "pad": "tf"}}

    def network(side: int, pad: str) -> dict[str, Any]:
        body = [{"stage": {"block": {name: {**args, "pad": pad}}, "out": 12, "depth": 2, "stride": 2}}]
        return {"input": [3, side, side], "classes": 10, "stem": [stem], "body": body, "head": ["gap_head"]}

    assert padded_otherwise(network(64, "tf"), "tf") == "" != padded_otherwise(network(64, "tf"), "same")
    assert padded_otherwise(network(64, "same"), "tf").startswith("steps.body0") and padded_otherwise(network(97, "same"), "tf") == ""
    assert key(network(64, "tf")) != key(network(64, "same"))
    kept = [node for node in network(64, "same")["body"]]
    del kept[0]["stage"]["block"][name]["pad"]
    assert key({**network(64, "same"), "body": kept}) == key(network(64, "same"))
