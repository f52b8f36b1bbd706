"""Small forms: what the rule takes out, what it says about it, and that the networks still learn and leave. All entries: tests/slow."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from nasforge import zoo
from nasforge.blocks.core.shapes import example
from nasforge.export.to_python import write_python
from nasforge.networks.build import build, steps
from nasforge.zoo.small import small

SAMPLE = ["lenet5", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet_a1", "googlenet"]


def shape(arch: dict) -> tuple[int, ...]:
    return tuple(arch["input"])


@pytest.mark.parametrize("name", SAMPLE)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build(zoo.load(f"small_{name}"), "meta").train()
    network(example((3, 32, 32), 2, "meta")).sum().backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1"])
def test_small_forms_leave_as_one_python_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    arch = zoo.load(f"small_{name}")
    network = build(arch).eval()
    model = runpy.run_path(str(write_python(arch, network, tmp_path, "net")[0]))["load"]()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(x), model(x), atol=1e-5)


def test_branches_that_halve_side_by_side_all_cease_to() -> None:
    """The stem of Inception-v4 has a pool beside a convolution; its reductions end in maps of 4 squared, not of 1."""
    arch = zoo.load("small_inception_v4")
    branches = arch["stem"][3]["parallel"]["branches"]
    assert branches == [[{"pool": {"kind": "max", "kernel": 3, "stride": 1}}], [{"conv": {"out": 96, "kernel": 3}}]]
    last = [step.probe.shapes[-1] for step in steps(arch) if len(step.probe.shapes[-1]) == 3][-1]
    assert last == (1536, 4, 4)
    assert arch["note"].startswith("inception_v4 for 3 x 32 x 32: without the reduction of stem.0 (conv), stem.3 (parallel);")


def test_a_body_and_its_shortcut_cease_together() -> None:
    block = {
        "residual": {"body": [{"conv": {"out": 8, "stride": 2}}], "shortcut": [{"pool": {"kernel": 2}}, {"conv": {"out": 8, "kernel": 1}}]}
    }
    arch = small({"input": [3, 64, 64], "classes": 2, "body": [block] * 5, "head": ["gap_head"]}, (3, 8, 8), 2)
    assert [step.probe.shapes[-1] for step in steps(arch)][:5] == [(8, 8, 8)] * 4 + [(8, 4, 4)]
    assert arch["note"].count("residual") == 4


def test_a_reduction_cell_ceases_with_pools_that_keep_the_size() -> None:
    """2 x 2 pools cannot; the maps of GPipe's AmoebaNet-B end at 4 squared, not 2."""
    arch = zoo.load("small_gpipe_amoebanet_b")
    assert [step.probe.shapes[-1] for step in steps(arch) if step.where.startswith("body")][-1] == (8192, 4, 4)


def test_a_network_of_videos_keeps_its_frames() -> None:
    arch = zoo.load("small_cnn3d")
    assert shape(arch) == (3, 16, 32, 32) and build(arch, "meta")(example((3, 16, 32, 32), 2, "meta")).shape == (2, 10)
    assert [step.probe.shapes[-1] for step in steps(arch) if step.where.startswith("body")][-1] == (512, 2, 4, 4)


def test_the_note_says_what_changed() -> None:
    assert zoo.load("small_vgg11")["note"] == (
        "vgg11 for 3 x 32 x 32: without the reduction of body.2 (pool), body.4 (pool); padding same, hidden full layers at most 512 wide"
    )
    assert "no auxiliary heads" in zoo.load("small_googlenet")["note"]
    assert "with all its reductions" in zoo.load("small_resnet20")["note"]


def test_the_rule_takes_out_no_more_than_it_needs() -> None:
    """At its own size nothing goes; at half of it one reduction less than at a quarter."""
    arch = zoo.load("mobilenet_v2")
    counts = [small(arch, (3, side, side), 10)["note"].count("(") for side in (224, 64, 32)]
    assert counts == [0, 1, 2]
