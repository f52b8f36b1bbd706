"""Documented networks: every entry is recounted, the figures of the catalogue hold, and the small forms follow their rule."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nasforge import zoo
from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.networks.build import key, steps
from nasforge.networks.cost import count, layer_table
from nasforge.spaces import files
from nasforge.spaces.check import check_arch
from nasforge.zoo.small import small

# Source: recounts of the public definitions, catalogue networks.yaml (checkable_params, checkable_macs, recount)
CATALOGUE = {
    "alexnet": (60_965_224, 724_406_816),
    "alexnet_textbook": (62_378_344, 1_135_256_096),
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet161": (28_681_000, 7_727_907_072),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_b1": (7_794_184, 686_802_832),
    "efficientnet_b7": (66_347_960, 37_745_884_192),
    "googlenet": (6_998_552, 1_582_671_872),
    "lenet5": (61_706, None),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet110_cifar": (1_727_962, None),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "wrn_16_8": (10_961_370, None),
    "wrn_28_10": (36_479_194, None),
    "wrn_40_4": (8_949_210, None),
    "densenet_bc_190_40": (25_624_430, None),
    "densenet_bc_250_24": (15_324_406, None),
    "alexnet_single_tower": (62_378_344, 1_135_256_096),
    "botnet50_224": (20_838_440, None),
    "cbam_resnext50_32x4d": (27_561_496, None),
    "cbam_resnext101_32x4d": (48_958_716, None),
    "cspresnext50": (20_569_896, 4_014_948_352),
    "darknet53": (41_609_928, None),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet201": (20_013_928, 4_291_365_888),
    "densenet264": (33_337_704, 5_751_653_376),
    "dpn92": (37_668_392, 6_501_684_224),
    "dpn98": (61_570_728, 11_671_217_152),
    "dpn131": (79_254_504, 16_013_648_896),
    "efficientnet_l2": (480_309_308, 475_703_653_280),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "inception_v3": (23_834_568, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "keras_cnn_64_32": (203_434, 11_190_528),
    "lenet_20_50_500": (431_080, 2_293_000),
    "mlp_2layer": (17, None),
    "mlp_3layer": (40, None),
    "mnasnet_a1": (3_887_038, 311_579_072),
    "mnasnet_b1": (4_383_312, 314_415_872),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
    "preact_resnet110_cifar": (1_727_962, None),
    "preact_resnet164_cifar": (1_703_258, None),
    "preact_resnet1001_cifar": (10_327_706, None),
    "pyramidnet164_a270_cifar": (27_216_021, None),
    "pyramidnet200_a450": (116_775_213, None),
    "resnet50_original": (25_557_032, 3_857_973_248),
    "resnet101_original": (44_549_160, 7_570_194_432),
    "resnet152_original": (60_192_808, 11_282_415_616),
    "resnet200": (64_673_832, 15_007_481_856),
    "resnet1202_cifar": (19_421_274, None),
    "resnet110_stochastic_depth_cifar": (1_727_962, None),
    "resnet1202_stochastic_depth_cifar": (19_421_274, None),
    "resnext29_16x64d_cifar": (68_155_210, None),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "senet154": (115_088_984, 20_688_363_520),
    "seresnet50": (28_088_024, 3_860_488_192),
    "seresnet101": (49_326_872, 7_574_937_600),
    "seresnet152": (66_821_848, 11_288_993_792),
    "seresnext50_32x4d": (27_559_896, 4_232_994_816),
    "seresnext101_32x4d": (48_955_416, 7_974_739_968),
    "shiftnet": (None, 1_716_531_200),
    "shufflenet_v1_g1": (None, 143_078_976),
    "shufflenet_v1_g2": (None, 140_836_512),
    "shufflenet_v1_g3": (None, 137_460_672),
    "shufflenet_v1_g4": (None, 134_339_776),
    "shufflenet_v1_g8": (None, 138_365_952),
    "shufflenet_v2_50": (None, 2_304_152_672),
    "sknet50": (27_479_784, 4_462_710_784),
    "sknet101": (48_736_040, 8_448_724_992),
    "vgg11_lrn": (132_863_336, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg16_c": (133_638_952, 11_770_888_192),
    "wide_resnet50_2": (68_883_240, 11_398_021_120),
    "xception": (22_855_952, 8_357_403_496),
    "zfnet": (62_357_608, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry["name"])
def test_every_entry_is_recounted(entry: dict) -> None:
    arch = zoo.load(entry["name"])
    check_arch(arch, BLOCKS)
    cost = count(arch)
    assert (cost.params, cost.macs) == (entry["params"], entry["macs"])
    (last,) = [s for s in steps(arch) if not s.where.startswith("aux.")][-1].probe.shapes
    places = entry["task"] in ("image segmentation", "object detection")  # a score for each place, not for the whole
    assert last[0] == arch["classes"] and len(last) == (3 if places else 1)
    assert files.parse(files.dump(arch)) == json.loads(json.dumps(arch)) == arch
    assert entry["source"] and entry["status"] in ("exact", "variant")
    assert entry["published"] is None or entry["published"]["source"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_figures_of_the_catalogue(name: str) -> None:
    params, macs = CATALOGUE[name]
    cost = count(zoo.load(name))
    assert params in (None, cost.params) and macs in (None, cost.macs)


@pytest.mark.parametrize("entry", [e for e in zoo.entries() if e["published"]], ids=lambda entry: entry["name"])
def test_published_figures_are_near_the_counts(entry: dict) -> None:
    """A published figure is rounded: within 6 % of the count, or the note or source says what differs."""
    for figure in ("params", "macs"):
        if figure in entry["published"]:
            assert entry["published"][figure] == pytest.approx(entry[figure], rel=0.06)


def test_resnet20_by_hand() -> None:
    """16, 32, 64 maps at 32, 16, 8 squared; six 3x3 convolutions in each stage, zero padded shortcuts without weights."""
    convs = [(32, 3, 16), *[(32, 16, 16)] * 6, (16, 16, 32), *[(16, 32, 32)] * 5, (8, 32, 64), *[(8, 64, 64)] * 5]
    cost = count(zoo.load("resnet20"))
    assert cost.macs == sum(side**2 * 9 * before * after for side, before, after in convs) + 640
    assert cost.params == sum(9 * before * after + 2 * after for _, before, after in convs) + 650


def test_densenet_bc_100_12_by_hand() -> None:
    """Three blocks of 16 layers: norm, 1x1 to 48, norm, 3x3 to 12; transitions halve the channels. Source: Huang et al. 2017, section 3."""
    channels, params = 24, 3 * 9 * 24
    for block in range(3):
        for _ in range(16):
            params += 2 * channels + 48 * channels + 2 * 48 + 9 * 48 * 12
            channels += 12
        if block < 2:
            params += 2 * channels + channels * (channels // 2)
            channels //= 2
    assert count(zoo.load("densenet_bc_100_12")).params == params + 2 * channels + 10 * channels + 10


def test_original_resnet50_has_its_stride_on_the_first_convolution() -> None:
    """Source: 3.86 G multiply-adds, recount 3,857,973,248 (catalogue, stride on the first 1x1)."""
    text = json.dumps(zoo.load("resnet50")).replace('"block": "bottleneck"', '"block": {"bottleneck": {"stride_on": "1x1"}}')
    assert count(json.loads(text)).macs == 3_857_973_248
    assert count(json.loads(text)).params == 25_557_032


# Source: counts of the authors' or torchvision's released models, which the catalogue does not list; MACs 2.03 G by the catalogue
RELEASED = {
    "densenet_40_12": 1_019_722,
    "dpn68": 12_611_602,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996,
}


@pytest.mark.parametrize("name", RELEASED)
def test_figures_of_released_models(name: str) -> None:
    assert count(zoo.load(name)).params == RELEASED[name]


def test_bn_inception_is_the_released_model_without_its_biases() -> None:
    """The released Caffe model has 11,295,240 parameters: a bias for each of its 10,016 maps, which the norms make useless."""
    cost = count(zoo.load("bn_inception"))
    assert cost.params == 11_295_240 - 10_016
    assert round(cost.macs / 1e9, 2) == 2.03


def test_nin_by_hand() -> None:
    """Maps of 32, 16 and 8 squared; three convolutions, each with two 1x1. Source: Lin et al. 2014; widths of the released model."""
    layers = [
        (32, 25 * 3, 192), (32, 192, 160), (32, 160, 96), (16, 25 * 96, 192), (16, 192, 192), (16, 192, 192), (8, 9 * 192, 192),
        (8, 192, 192), (8, 192, 10),
    ]  # fmt: skip
    cost = count(zoo.load("nin_cifar"))
    assert cost.params == sum((before + 1) * after for _, before, after in layers)
    assert cost.macs == sum(side**2 * before * after for side, before, after in layers)


def test_pyramid_widths_grow_by_alpha_over_blocks() -> None:
    """D_k = 16 + 270 k / 54, four times that at the end of a block. Source: Han et al. 2017, equation 3."""
    lines = [line["bottleneck"]["out"] for line in zoo.load("pyramidnet164_a270_cifar")["body"] if "bottleneck" in line]
    assert lines == [4 * (16 + 5 * k) for k in range(1, 55)]
    lines = [line["bottleneck"]["out"] for line in zoo.load("pyramidnet200_a450")["body"] if "bottleneck" in line]
    assert lines == [4 * int(64 + 450 * k / 66 + 0.5) for k in range(1, 67)]


def test_names_are_unique_and_keys_differ() -> None:
    names = zoo.names()
    assert len(set(names)) == len(names) == len(zoo.entries())
    assert len({key(zoo.load(name)) for name in names}) == len(names)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        zoo.load("resnet_50")
    with pytest.raises(UserError, match="no documented network"):
        zoo.load("small_resnet_50")


def test_the_table_needs_no_torch() -> None:
    code = "import sys; from nasforge import zoo; zoo.entries(); zoo.load('resnet50'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- small forms


def test_small_resnet18_is_the_usual_cifar_form() -> None:
    """A 3x3 stem for 7x7, ten classes for 1000, no pool: 11,689,512 - 40 * 3 * 64 - 990 * 513."""
    arch = zoo.load("small_resnet18")
    assert arch["stem"] == [{"conv": {"out": 64, "kernel": 3}}]
    assert [line["stage"].get("stride", 1) for line in arch["body"]] == [1, 2, 2, 2]
    assert count(arch).params == 11_689_512 - 40 * 3 * 64 - 990 * 513 == 11_173_962


def test_small_mobilenet_keeps_its_last_three_strides() -> None:
    arch = zoo.load("small_mobilenet_v2")
    assert "stride" not in arch["stem"][0]["conv"]
    assert [line["stage"].get("stride", 1) for line in arch["body"] if "stage" in line] == [1, 2, 2, 1, 2]


def test_small_forms_open_motifs_and_keep_wires() -> None:
    dense = small(zoo.load("densenet121"), (3, 8, 8), 5)
    assert [line for line in dense["body"] if line == "transition"] == ["transition"]  # of three, the last one still halves
    reader = {"parallel": {"branches": [[]]}, "from": ["last", "b"]}
    body = [{"conv": {"out": 4}}, {"pool": {"kernel": 2}, "as": "b"}, {"conv": {"out": 4, "stride": 16}}, reader]
    arch = small({"input": [3, 64, 64], "classes": 2, "body": body, "head": ["gap_head"]}, (3, 8, 8), 2)
    assert arch["body"][1] == {"identity": {}, "as": "b"}
    assert count(arch).params > 0


SMALL = ["lenet5", "alexnet", "vgg11", "resnet20", "resnet50", "mobilenet_v2", "efficientnet_b0", "googlenet", "squeezenet1_1"]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_small_forms_end_in_maps_of_three_or_more(name: str, shape: tuple[int, int, int]) -> None:
    arch = small(zoo.load(name), shape, 10)
    check_arch(arch, BLOCKS)
    rows = layer_table(arch)
    last = [row.outputs[0] for row in rows if len(row.outputs[0]) == 3][-1]
    assert 3 <= min(last[1:]) <= 8
    assert rows[-1].outputs == ((10,),) and rows[0].inputs == (shape,)
    assert all(row.outputs[0][0] <= 512 for row in rows if row.type == "linear")


def test_small_is_for_networks_of_one_image() -> None:
    with pytest.raises(UserError, match="small: needs a network of one image"):
        small({"input": [16, 4], "classes": 2, "body": ["linear"]}, (3, 8, 8), 2)
