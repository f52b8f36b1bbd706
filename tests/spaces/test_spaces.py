"""Every packaged space: its draws can be built, computed, trained a step, and found again."""

from __future__ import annotations

import contextlib
import random

import pytest
import torch
from torch import Tensor

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Tokens, example
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Job
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import build, input_shapes, key
from nasforge.networks.cost import count
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.files import find_space, read, space_names
from nasforge.spaces.locate import locate
from nasforge.spaces.space import Space

DRAWS = 4
SAMPLED = 40  # draws that are counted on paper
MOST_MACS = 1.5e8  # of a draw that is trained a step


def reads_images(name: str) -> bool:
    """Whether a space is one of image classification: one image in, one class out."""
    data = read(find_space(name))
    native = data["input"]
    return isinstance(native, list) and len(native) == 3 and "heads" not in data and name not in ("unet", "pyramid")


IMAGES = [name for name in space_names() if reads_images(name)]


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


def light(space: Space, rng: random.Random) -> list[Arch]:
    """The first draws that cost little."""
    found: list[Arch] = []
    for _ in range(50 * DRAWS):
        arch, _ = space.draw(random_chooser(rng))
        found += [arch] if count(arch).macs <= MOST_MACS else []
        if len(found) == DRAWS:
            break
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", space_names())
def test_draws_compute_learn_and_are_found_again(name: str) -> None:
    data = read(find_space(name))
    check_arch(data, BLOCKS)
    space, rng = Space(data), random.Random(0)
    assert list(space.domains())
    for arch in light(space, rng):
        network = build(arch)
        total(network(*batch(arch))).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        main_params = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("aux."))
        assert count(arch).params == main_params
        again, _ = space.draw(replay(locate(arch, space, BLOCKS)))
        assert key(again) == key(arch)


@pytest.mark.thorough
@pytest.mark.parametrize("name", space_names())
def test_whatever_is_drawn_can_be_built(name: str) -> None:
    space, rng = Space(read(find_space(name))), random.Random(1)
    for _ in range(SAMPLED):
        assert count(space.draw(random_chooser(rng))[0]).params > 0


@pytest.mark.thorough
@pytest.mark.parametrize("name", IMAGES)
def test_a_draw_learns_the_digits_for_an_epoch(name: str) -> None:
    context = Context(source=Source("digits", 400))
    space, rng = Space(fit_to_data(read(find_space(name)), context.load())), random.Random(2)
    for _ in range(200):
        arch, _ = space.draw(random_chooser(rng))
        with contextlib.suppress(UserError):  # more reductions than 8 x 8 has
            if count(arch).macs <= MOST_MACS:
                break
    job = Job(arch, recipe={"epochs": 1, "warmup_epochs": 0.1, "precision": "fp32", "channels_last": False})
    result = prepared(context).evaluate(job, lambda report: Decision.CONTINUE)
    assert result.error is None and len(result.curve) == 1 and 0 <= result.metrics["accuracy"] <= 1


@pytest.mark.parametrize("name", space_names())
def test_headers_say_what_goes_in(name: str) -> None:
    head = find_space(name).read_text(encoding="utf-8").split("\ninput:")[0]
    assert head.startswith("#") and "nput" in head
