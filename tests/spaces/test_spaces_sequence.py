"""Spaces of sequences, texts, image transformers, segmentation and pyramids: their sizes, and 20 networks of each."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Tokens
from nasforge.networks.build import build, input_shapes, key
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import enumerate_space, random_chooser
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space

SIZES = {  # the hand counts that the headers of the files give
    "sequence": 3 * 3 * 3 * (36 + 144 + 16),
    "transformer": 3 * 4 * 2 * 2 * (9**2 + 9**3 + 9**4 + 9**5),
    "unet": 3 * 2 * 3 * (2 * 2) ** 3 * 4 * 3,
    "text": 3 * (2 * 4 * 3 * 3 * 2 + (6 + 6) + 2 * 2 * 3),
    "translation": 3 * (2 * 2 * 3 + 2 * 2) * 2 * (2 * 2 + 2 * 4),
    "pyramid": 2 * 2 * 2 * 3**3 * 2 * 2 * 3 * 2,
}
OUTPUTS: dict[str, Any] = {
    "sequence": (10,),
    "transformer": (10,),
    "unet": (11, 64, 64),
    "text": (64, 65),
    "translation": (10, 28),
    "pyramid": {"mask": (11, 32, 32), "label": (4,)},
}


def space_of(name: str) -> Space:
    data = read(find_space(name))
    check_arch(data, BLOCKS)
    return Space(data)


def drawn(name: str, count: int) -> list[dict[str, Any]]:
    space, rng = space_of(name), random.Random(0)
    return [space.draw(random_chooser(rng))[0] for _ in range(count)]


def inputs(arch: dict[str, Any], batch: int = 2) -> list[Tensor]:
    shapes = input_shapes(arch).values()
    return [torch.randint(0, s.vocab, (batch, s.length)) if isinstance(s, Tokens) else torch.randn(batch, *s) for s in shapes]


@pytest.mark.parametrize("name", SIZES)
def test_a_space_has_the_size_that_its_header_gives(name: str) -> None:
    assert space_of(name).size() == SIZES[name]
    header = [line for line in find_space(name).read_text().splitlines() if line.startswith("#")]
    assert f"{SIZES[name]:,}" in " ".join(header)
    for part in ("Source", "Input:", "Size:"):
        assert any(part in line for line in header)


@pytest.mark.parametrize("name", ["text", "translation", "sequence"])
def test_small_spaces_enumerate_to_their_size(name: str) -> None:
    choices = [tuple(sorted(made.items(), key=str)) for _, made in enumerate_space(space_of(name))]
    assert len(choices) == len(set(choices)) == SIZES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_twenty_networks_compute_and_learn(name: str) -> None:
    torch.manual_seed(0)
    for arch in drawn(name, 20):
        network = build(arch)
        out = network(*inputs(arch))
        found = {k: tuple(v.shape[1:]) for k, v in out.items()} if isinstance(out, dict) else tuple(out.shape[1:])
        assert found == OUTPUTS[name]
        total = sum(v.square().mean() for v in (out.values() if isinstance(out, dict) else [out]))
        total.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_a_space_offers_different_functions(name: str) -> None:
    keys = {key(arch) for arch in drawn(name, 20)}
    assert len(keys) >= 18  # of 500 and more; a few may meet


@pytest.mark.parametrize("name", ["text", "translation"])
def test_a_written_token_never_depends_on_a_later_one(name: str) -> None:
    torch.manual_seed(0)
    for arch in drawn(name, 12):
        network = build(arch).eval()
        xs = inputs(arch, 1)
        changed = [*xs[:-1], xs[-1].clone()]
        changed[-1][:, 5:] = (changed[-1][:, 5:] + 1) % 28
        with torch.no_grad():
            y, z = network(*xs), network(*changed)
        torch.testing.assert_close(y[:, :5], z[:, :5], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(y[:, 5:], z[:, 5:])


def test_a_translation_reads_its_whole_source() -> None:
    torch.manual_seed(0)
    for arch in drawn("translation", 6):
        network = build(arch).eval()
        source, target = inputs(arch, 1)
        for place in (0, source.shape[1] - 1):
            other = source.clone()
            other[:, place] = (other[:, place] + 1) % 30
            with torch.no_grad():
                assert not torch.equal(network(source, target)[:, 0], network(other, target)[:, 0])


def test_a_small_language_model_learns_a_rhythm() -> None:
    """A transformer and a gated recurrent network of the space learn a text of period 3 in a few steps."""
    wanted = {"transformer", "recurrent"}
    space, rng = space_of("text"), random.Random(1)
    period = torch.arange(65).remainder(3).repeat(8, 1)
    while wanted:
        arch, made = space.draw(random_chooser(rng))
        family = str(made["body.0"])
        if family not in wanted or arch["stem"][0]["embedding"]["out"] != 32:
            continue
        wanted.remove(family)
        torch.manual_seed(0)
        network = build(arch)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        losses = []
        for _ in range(12):
            loss = torch.nn.functional.cross_entropy(network(period[:, :-1]).flatten(0, 1), period[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0], (family, losses)
