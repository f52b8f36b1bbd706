"""Hand-made convolutional networks: counts of the public definitions, figures by hand, and what makes each of them what it is."""

from __future__ import annotations

import pytest
import torch

from nasforge import zoo
from nasforge.blocks.vision.residual import pyramid
from nasforge.networks.build import build, steps
from nasforge.networks.cost import count, layer_table
from nasforge.spaces.arch import SECTIONS

# Sources: catalogue networks.yaml (recount) for cspdarknet53, xception71 and hrnetv2_w48; the other counts are asserted in the public
# model collections pytorchcv (polynet, bam_, attention, preact, cbam_, pyramid) and timm (hrnetv2_w18)
PUBLIC = {
    "attention56": 31_810_728,
    "attention92": 52_466_344,
    "bam_resnet50": 25_915_099,
    "bam_resnet101": 44_907_227,
    "cbam_resnet50": 28_089_624,
    "cbam_resnet101": 49_330_172,
    "cspdarknet53": 27_642_184,
    "hrnetv2_w18": 21_299_004,
    "hrnetv2_w48": 77_469_864,
    "polynet": 95_366_600,
    "preact_resnet200": 64_666_280,
    "pyramidnet110_a48_cifar": 1_772_706,
    "pyramidnet110_a270_cifar": 28_485_477,
    "pyramidnet272_a200_cifar": 26_210_842,
    "xception71": 42_338_736,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_of_public_definitions(name: str) -> None:
    assert count(zoo.load(name)).params == PUBLIC[name]


# Source: figures that the papers or the lecture notes print, with their rounding
PRINTED = {
    "active_shift_net": ("params", 0.90e6, 0.005e6),
    "active_shift_net_w50": ("params", 1.96e6, 0.005e6),
    "active_shift_net_w68": ("params", 3.42e6, 0.005e6),
    "attention56": ("params", 31.9e6, 0.1e6),
    "bam_resnext50_32x4d": ("params", 25.4e6, 0.05e6),
    "cbam_resnet50": ("macs", 3.864e9, 0.0005e9),
    "cbam_resnet101": ("macs", 7.581e9, 0.0005e9),
    "detnet59": ("macs", 4.8e9, 0.05e9),
    "highway19_cifar": ("params", 2.3e6, 0.05e6),
    "hrnetv2_w18": ("params", 21.3e6, 0.05e6),
    "hrnetv2_w48": ("macs", 17_277_996_032, 0),  # catalogue, recount
    "polynet": ("macs", 34.7e9, 0.05e9),
    "se_bn_inception": ("macs", 2.04e9, 0.01e9),
    "se_vgg16": ("macs", 15.48e9, 0.01e9),
    "se_shufflenet_v2_164": ("macs", 12.7e9, 0.16e9),  # catalogue, widened
    "shufflenet_v1_50_g3": ("macs", 2.3e9, 0.05e9),
}


@pytest.mark.parametrize("name", PRINTED)
def test_printed_figures_within_their_rounding(name: str) -> None:
    figure, value, tolerance = PRINTED[name]
    assert abs(getattr(count(zoo.load(name)), figure) - value) <= tolerance


def test_bam_resnext_macs_of_the_sk_table() -> None:
    """Source: Li et al. 2019 (SKNet), table 2: 4.31 G and 8.05 G."""
    assert round(count(zoo.load("bam_resnext50_32x4d")).macs / 1e9, 2) == 4.31
    assert round(count(zoo.load("bam_resnext101_32x4d")).macs / 1e9, 2) == 8.05


@pytest.mark.parametrize(
    ("name", "layers"), [("highway10_mnist", 9), ("highway20_mnist", 19), ("highway50_mnist", 49), ("highway100_mnist", 99)]
)
def test_highway_networks_have_about_5000_weights_a_layer(name: str, layers: int) -> None:
    """50 units with transform and gate in each layer. Source: Srivastava et al. 2015, section 3.2 (about 5000 parameters a layer)."""
    assert count(zoo.load(name)).params == 785 * 50 + layers * 2 * 51 * 50 + 51 * 10


def test_highway19_by_hand() -> None:
    """Layers that keep the width have a gate beside their convolution; those that change it have none."""
    same = {32: 2, 48: 1, 80: 5, 128: 5}
    change = [(3, 32), (32, 48), (48, 80), (80, 128)]
    params = sum(2 * n * (9 * w + 1) * w for w, n in same.items()) + sum((9 * a + 1) * b for a, b in change) + 129 * 10
    assert count(zoo.load("highway19_cifar")).params == params


def test_maxout_networks_by_hand() -> None:
    """Two pieces in convolutions, five in full layers. Source: the released configurations of Goodfellow et al. 2013."""
    assert count(zoo.load("maxout_mlp_mnist")).params == 785 * 1200 + 241 * 1200 + 241 * 10
    rows = layer_table(zoo.load("maxout_net"))  # 33 -> 16, 15 -> 7 by pools of 4 with step 2, 9 -> 5 by a pool of 2; last windows count
    assert [r.outputs[0] for r in rows if r.type == "pool"] == [(96, 16, 16), (192, 7, 7), (192, 5, 5)]
    fitnet = [(3, 32), *[(32, 32)] * 2, (32, 48), (48, 48), (48, 80), *[(80, 80)] * 5, (80, 128), *[(128, 128)] * 5]
    params = sum(2 * b * (9 * a + 1) for a, b in fitnet) + 129 * 2500 + 501 * 10
    assert count(zoo.load("fitnet4_cifar")).params == params


def test_cmpe_prints_the_size_for_100_classes_with_running_statistics() -> None:
    """Source: 36.92 M (catalogue); the authors' counter sums what their library stores."""
    arch = {**zoo.load("cmpe_se_wrn_28_10"), "classes": 100}
    network = build(arch, "meta")
    stored = sum(p.numel() for p in network.parameters()) + sum(b.numel() for n, b in network.named_buffers() if "running" in n)
    assert round(stored / 1e6, 2) == 36.92


def test_c3d_ends_in_8192_features() -> None:
    """Source: Tran et al. 2015, section 3.3: 512 maps of 1 x 4 x 4."""
    rows = layer_table(zoo.load("cnn3d"))
    assert [r.outputs[0] for r in rows if r.type == "pool"][-1] == (512, 1, 4, 4)
    assert next(r for r in rows if r.type == "flatten").outputs == ((8192,),)


def test_inception_v2_has_the_sizes_of_its_table() -> None:
    """Source: Szegedy et al. 2016, table 1: inputs of its rows from the first convolution to the average pool."""
    arch = zoo.load("inception_v2")
    shapes = [step.probe.shapes[-1] for step in steps(arch) if step.where.split(".")[0] in SECTIONS[:2]]
    assert [(299, 299), *(s[1:] for s in shapes[:6])] == [(299,) * 2, (149,) * 2, (147,) * 2, (147,) * 2, (73,) * 2, (71,) * 2, (35,) * 2]
    assert shapes[6] == (288, 35, 35) and shapes[7] == (288, 35, 35) and shapes[8] == (768, 17, 17)
    assert shapes[-2] == (1280, 8, 8) and shapes[-1] == (2048, 8, 8)


def test_inception_resnet_v1_has_the_sizes_of_its_figures() -> None:
    """Source: Szegedy et al. 2017, figures 10 to 14: 35 x 35 x 256, 17 x 17 x 896, 8 x 8 x 1792."""
    shapes = [step.probe.shapes[-1] for step in steps(zoo.load("inception_resnet_v1"))]
    assert {(256, 35, 35), (896, 17, 17), (1792, 8, 8)} <= set(shapes)


@pytest.mark.parametrize(("name", "modules"), [("attention92_cifar", 2), ("attention236_cifar", 6), ("attention452_cifar", 12)])
def test_attention_networks_have_36_m_and_20_layers_in_the_trunk(name: str, modules: int) -> None:
    """Four bottlenecks of three layers in a module, six without, the first and the last layer. Source: Wang et al. 2017, section 4.1."""
    body = zoo.load(name)["body"]
    depths = [line["stage"]["depth"] for line in body if "stage" in line and "attention_module" in line["stage"]["block"]]
    plain = sum(line["stage"]["depth"] for line in body if "stage" in line and "preact_bottleneck" in line["stage"]["block"])
    plain += sum("preact_bottleneck" in line for line in body)
    assert depths == [modules] * 3
    assert 3 * 4 * sum(depths) + 3 * plain + 2 == 36 * modules + 20 == int(name.removeprefix("attention").split("_")[0])


def test_dsn_trains_with_two_more_classifiers() -> None:
    network = build(zoo.load("dsn_cifar"))
    main, extra = network.train()(torch.randn(2, 3, 32, 32))
    assert main.shape == (2, 10) and [e.shape for e in extra] == [(2, 10)] * 2
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_channel_boosted_inputs_have_three_and_six_channels() -> None:
    """Source: Khan et al. 2018, figure 4: one channel of the image and two made ones; three of the image and three made ones."""
    for name, channels in (("channel_boosted_cnn1", 3), ("channel_boosted_cnn", 6)):
        first = next(iter(steps(zoo.load(name))))
        assert first.probe.shapes == ((channels, 32, 32),)


def test_scse_fcn_gives_a_score_for_each_place() -> None:
    arch = {**zoo.load("scse_fcn"), "input": [1, 32, 32]}
    assert build(arch).eval()(torch.randn(1, 1, 32, 32)).shape == (1, 28, 32, 32)


def test_hourglass104_has_104_layers_on_its_longest_way() -> None:
    """Source: Law & Deng 2018, section 3.5 (widths, depths; the depth of 104 layers is the name)."""
    arch = zoo.load("hourglass104")
    glass = next(line["hourglass"] for line in arch["body"] if "hourglass" in line)
    assert glass["widths"] == [256, 256, 384, 384, 384, 512]
    # two convolutions in a block: down and up again at five levels, four blocks at the bottom; the convolution behind, the step between
    inside = 2 * (2 * sum(glass["depths"][:5]) + glass["depths"][5])
    assert 2 * inside + 1 + 2 + 1 + 1 + 2 + 1 == 104


def test_the_pyramid_rule_gives_the_lines_that_are_written_out() -> None:
    lines = [line for line in zoo.load("pyramidnet164_a270_cifar")["body"] if "bottleneck" in line]
    made = pyramid(alpha=270, depths=[18] * 3, block="bottleneck")
    assert [line["bottleneck"]["out"] for line in made] == [line["bottleneck"]["out"] for line in lines]
    assert [line["bottleneck"].get("stride", 1) for line in made] == [line["bottleneck"].get("stride", 1) for line in lines]


def test_lenet1_by_hand() -> None:
    """4 maps of 24 squared, 12 of 8 squared, each pool followed by a factor and an offset for each map. Source: LeCun et al. 1990."""
    assert count(zoo.load("lenet1")).params == 26 * 4 + 8 + 101 * 12 + 24 + 193 * 10


# ---------------------------------------------------------------- trained for a step


QUICK = ["active_shift_net", "channel_boosted_cnn", "flattened_cnn", "highway19_cifar", "lenet1"]


@pytest.mark.parametrize("name", QUICK)
def test_every_parameter_gets_a_gradient_in_the_small_form(name: str) -> None:
    network = build(zoo.load(f"small_{name}")).train()
    out = network(torch.randn(2, 3, 32, 32))
    out.square().sum().backward()
    assert out.shape == (2, 10)
    assert not [path for path, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
