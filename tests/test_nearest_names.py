"""Mistyped names are answered by those that were meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nasforge import zoo
from nasforge.api import parts
from nasforge.errors import alike_names, nearest
from nasforge.objectives.metrics import ALIASES, METRICS
from nasforge.search.settings import DEFAULTS, OTHERS
from nasforge.spaces.files import space_names

POOLS: dict[str, Callable[[], list[str]]] = {
    "zoo": lambda: [*zoo.names(), *zoo.aka()], "space": space_names, "block": lambda: list(parts.blocks()),
    "metric": lambda: [*METRICS, *ALIASES], "word": lambda: list(parts.words()), "option": lambda: [*DEFAULTS, *OTHERS],
}  # fmt: skip
MEANT = {
    "zoo": {"resnt": "resnet20", "rsnet20": "resnet20", "Resnet-20": "resnet20", "mobilnet": "mobilenet_v2", "mobilenetv2": "mobilenet_v2",
            "efficentnet_b0": "efficientnet_b0", "densnet121": "densenet121", "squeezent": "squeezenet1_0", "lenet": "lenet5",
            "googlnet": "googlenet", "wrn": "wrn_16_4", "vgg": "vgg_a", "inceptionv3": "inception_v3"},
    "space": {"digit": "digits", "mobil": "mobile", "transfomer": "transformer", "serie": "series"},
    "block": {"con": "conv", "mbcov": "mbconv", "seperable": "separable", "liner": "linear", "drop_out": "dropout", "lstmm": "lstm"},
    "metric": {"acuracy": "accuracy", "acc": "accuracy", "parms": "params", "f1": "macro_f1", "top_5": "top5", "mIoU": "miou"},
    "word": {"learning_rate": "lr", "weightdecay": "weight_decay", "augmnt": "augment", "label_smooth": "label_smoothing"},
    "option": {"trial": "trials", "seedarch": "seed_arch", "constrain": "constraint", "finalepochs": "final_epochs"},
}  # fmt: skip


@pytest.mark.parametrize(("pool", "typed"), [(pool, typed) for pool, some in MEANT.items() for typed in some])
def test_the_name_that_was_meant_is_among_the_three_nearest(pool: str, typed: str) -> None:
    found, likely = alike_names(typed, sorted(set(POOLS[pool]())), 3)
    assert MEANT[pool][typed] in found and likely


def test_a_family_goes_before_names_of_other_families() -> None:
    found, _ = alike_names("resnt", sorted(zoo.names()), 3)
    assert all(name.startswith("resnet") for name in found) and found[0] in ("resnet9", "resnet18")
    assert nearest("resnt", zoo.names(), "nasforge zoo").startswith("did you mean 'resnet")


def test_nothing_alike_is_said_so() -> None:
    found, likely = alike_names("zzzzz", sorted(METRICS), 3)
    assert len(found) == 3 and not likely and nearest("zzzzz", METRICS, "nasforge metrics").startswith("the nearest are ")
    assert nearest("zzzzz", ["a", "b"]) == "valid: a, b"
