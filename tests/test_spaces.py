"""Every packaged space: its draws can be built, computed, trained a step, and found again."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from nasforge.arch import Arch
from nasforge.blocks import BLOCKS
from nasforge.blocks.shapes import Tokens, example
from nasforge.build import build, input_shapes, key
from nasforge.check import check_arch
from nasforge.choosers import random_chooser, replay
from nasforge.cost import count
from nasforge.files import find_space, read, space_names
from nasforge.locate import locate
from nasforge.space import Space

DRAWS = 4


def batch(arch: Arch) -> list[Tensor]:
    torch.manual_seed(0)
    made = []
    for shape in input_shapes(arch).values():
        zeros = example(shape, 2)
        made.append(torch.randint_like(zeros, shape.vocab) if isinstance(shape, Tokens) else torch.randn_like(zeros))
    return made


def total(out: object) -> Tensor:
    if isinstance(out, Tensor):
        return out.square().mean()
    parts = out.values() if isinstance(out, dict) else out
    return torch.stack([total(part) for part in parts]).sum()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", space_names())
def test_draws_compute_learn_and_are_found_again(name: str) -> None:
    data = read(find_space(name))
    check_arch(data, BLOCKS)
    space, rng = Space(data), random.Random(0)
    assert list(space.openings())
    for _ in range(DRAWS):
        arch, _ = space.draw(random_chooser(rng))
        network = build(arch)
        total(network(*batch(arch))).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        main_params = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("aux."))
        assert count(arch).params == main_params
        again, _ = space.draw(replay(locate(arch, space, BLOCKS)))
        assert key(again) == key(arch)


@pytest.mark.parametrize("name", space_names())
def test_headers_say_what_goes_in(name: str) -> None:
    head = find_space(name).read_text(encoding="utf-8").split("\ninput:")[0]
    assert head.startswith("#") and "nput" in head
