"""Augmentations: what moves, what stays, and that label maps move with their images."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Generator, Tensor

from nasforge.data import Batch, DataSpec, Target, TensorDataset
from nasforge.errors import UserError
from nasforge.tasks import task_of
from nasforge.train.augment import STRENGTHS, Augment, color_shift, cutout, make_augment, mixup, principal_axes, random_crop, turn


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def samples(x: Tensor, y: Tensor | None = None) -> TensorDataset:
    """A data set of these samples, with one class for each or a label map."""
    y = torch.zeros(len(x), dtype=torch.long) if y is None else y
    kind = "mask" if y.ndim == 3 else "label"
    shape = list(x.shape[1:]) if x.is_floating_point() else {"tokens": 9, "length": x.shape[1]}
    return TensorDataset("made", "made", DataSpec({"input": shape}, {kind: Target(kind, 6)}), {"train": Batch({"input": x}, {kind: y})})


def making(names: dict[str, float], data: TensorDataset) -> Augment | None:
    return make_augment(names, data, task_of(data.spec))


def augment(names: dict[str, float], x: Tensor, y: Tensor | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    data = samples(x, y)
    change = making(names, data)
    assert change is not None
    batch = change(data.train, rng(seed))
    return batch.x, batch.y


def test_alternating_flips_show_each_image_as_often_as_its_mirror_image() -> None:
    x = torch.randn(200, 3, 8, 8)
    change = making({"alternating_flip": 1}, samples(x))
    assert change is not None
    epochs = [change(samples(x).train, rng(epoch), epoch).x for epoch in range(4)]
    mirrored = [(made == x.flip(-1)).flatten(1).all(1) for made in epochs]
    assert torch.equal(mirrored[0], ~mirrored[1]) and torch.equal(mirrored[0], mirrored[2]) and torch.equal(mirrored[1], mirrored[3])
    assert all(torch.equal(made[~m], x[~m]) for made, m in zip(epochs, mirrored, strict=True))
    assert 60 < int(mirrored[0].sum()) < 140
    order = torch.randperm(200)
    assert torch.equal(change(samples(x[order]).train, rng(), 0).x, epochs[0][order])  # each image has its own coin


def test_crop_and_flip_of_alexnet_cut_224_from_256() -> None:
    """Source: Krizhevsky et al. 2012, section 4.1: random 224 x 224 of 256 x 256, and their mirror images."""
    row, column = torch.arange(256.0)[:, None], torch.arange(256.0)
    x = torch.stack([row.expand(256, 256), column.expand(256, 256)]).repeat(64, 1, 1, 1)
    made = random_crop(x, 224, rng())
    assert made.shape == (64, 2, 224, 224)
    assert torch.equal(made[:, 0, 1:] - made[:, 0, :-1], torch.ones(64, 223, 224))  # rows follow one another
    assert torch.equal(made[:, 1, :, 1:] - made[:, 1, :, :-1], torch.ones(64, 224, 223))
    corners = made[:, :, 0, 0]
    assert corners.min() >= 0 and corners.max() <= 32 and len(corners.unique()) > 20
    flipped, _ = augment({"flip": 0.5}, x)
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], x[~mirrored]) and 16 < int(mirrored.sum()) < 48


def test_shift_moves_by_whole_pixels_within_reach() -> None:
    x = torch.zeros(200, 1, 10, 10)
    x[:, :, 5, 5] = 1
    made, _ = augment({"shift": 0.2}, x)
    places = made.flatten(1).argmax(1)
    moves = {(int(p) // 10 - 5, int(p) % 10 - 5) for p in places}
    assert moves == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert torch.equal(made.sum((1, 2, 3)), torch.ones(200))


def test_crop_reaches_four_pixels_and_repeats_the_border() -> None:
    x = torch.arange(16.0).expand(300, 1, 16, 16)
    made, _ = augment({"crop": 4.0}, x)
    firsts = made[:, 0, 0, 0]
    assert firsts.min() == 0 and firsts.max() == 4
    assert {int(v) for v in made[:, 0, 0, 8].unique()} == set(range(4, 13))
    assert made.max() == 15


@pytest.mark.parametrize("names", [{"flip": 1.0}, {"shift": 0.3}, {"crop": 3.0}, {"rotate": 90.0}, {"zoom": 0.4}])
def test_label_maps_move_with_their_images(names: dict[str, float]) -> None:
    y = torch.zeros(40, 12, 12, dtype=torch.long)
    y[:, 2:7, 3:10] = 3
    y[:, 8:10, 1:4] = 5
    moved_x, moved_y = augment(names, y[:, None].float(), y)
    known = moved_y != -100
    assert moved_y.shape == y.shape and set(moved_y.unique().tolist()) <= {-100, 0, 3, 5}
    difference = (moved_x[:, 0] - moved_y).abs()[known]
    exact = not names.keys() & {"rotate", "zoom"}
    assert float(difference.max()) == 0 if exact else float((difference < 0.5).float().mean()) > 0.75
    assert bool((moved_y == -100).any()) == ("flip" not in names)
    assert not torch.equal(moved_y, y)


def test_a_quarter_turn_is_exact_on_squares_and_keeps_shape_on_oblongs() -> None:
    x = torch.rand(3, 2, 9, 9, generator=rng())
    one = torch.ones(3)
    turned = turn(x, 90 * one, one)
    assert torch.allclose(turned, x.rot90(1, (2, 3)), atol=1e-5) or torch.allclose(turned, x.rot90(-1, (2, 3)), atol=1e-5)
    half = turn(torch.rand(3, 1, 6, 10, generator=rng()), 180 * one, one)
    assert torch.allclose(half, torch.rand(3, 1, 6, 10, generator=rng()).flip(2, 3), atol=1e-5)
    dot = torch.zeros(1, 1, 41, 61)
    dot[0, 0, 20, 40] = 1  # 10 right of the centre
    moved = turn(dot, 90 * torch.ones(1), torch.ones(1))
    row, column = divmod(int(moved.flatten().argmax()), 61)
    assert abs(row - 20) == 10 and column == 30  # as far from the centre on an oblong image: no shear


def test_zoom_enlarges_about_the_centre() -> None:
    x = torch.zeros(1, 1, 40, 40)
    x[:, :, 15:25, 15:25] = 1
    assert float(turn(x, torch.zeros(1), torch.tensor([2.0])).sum()) == pytest.approx(400, rel=0.02)


def test_cutout_blanks_one_square() -> None:
    x = torch.ones(200, 3, 16, 16)
    made = cutout(x, 0.5, rng())
    blank = (made == 0).sum((2, 3))
    assert torch.equal(blank[:, 0], blank[:, 2])
    assert int(blank.max()) == 64 and int(blank.min()) >= 16  # 8 x 8, its centre in the image


def test_fancy_pca_shifts_all_pixels_of_an_image_along_the_axes() -> None:
    """[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T: Krizhevsky et al. 2012, section 4.1; catalogue, fancy_pca."""
    photo = torch.from_numpy(load_sample_image("china.jpg").copy())  # (427, 640, 3), comes with scikit-learn
    patches = photo[:416].view(13, 32, 20, 32, 3).permute(0, 2, 4, 1, 3).reshape(260, 3, 32, 32)
    x = (patches / 255 - 0.5) / 0.25
    axes = principal_axes(x)
    values, vectors = torch.linalg.eigh(torch.cov(x.transpose(0, 1).flatten(1)))
    alpha = torch.tensor([[0.1, -0.2, 0.3]])
    expected = sum(float(alpha[0, i] * values[i]) * vectors[:, i] for i in range(3))
    assert torch.allclose(color_shift(axes, alpha).flatten(), torch.as_tensor(expected), atol=1e-4)
    made, _ = augment({"fancy_pca": 0.1}, x)
    shift = made - x
    assert float(shift.std((2, 3)).max()) < 1e-5  # one shift for all pixels of an image
    spread = (shift[:, :, 0, 0] @ vectors).std(0) / (0.1 * values)
    assert spread.tolist() == pytest.approx([1, 1, 1], rel=0.2)  # 260 normal numbers each


def test_mixup_mixes_images_and_targets_alike() -> None:
    y = torch.arange(400)
    x = y.float().view(-1, 1, 1, 1).expand(400, 1, 2, 2)
    batch = mixup(Batch({"input": x}, {"label": y}), 0.2, rng())
    mix = batch.mix
    assert mix is not None and torch.equal(batch.y, y) and sorted(mix.targets["label"].tolist()) == y.tolist()
    expected = mix.weight * y + (1 - mix.weight) * mix.targets["label"]
    assert torch.allclose(batch.x[:, 0, 0, 0], expected, atol=1e-3)
    assert float(mix.weight.mean()) == pytest.approx(0.5, abs=0.06)  # Beta(a, a) has mean 1/2
    assert float(mix.weight.var()) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.03)  # and variance 1 / (4 (2a + 1))


@pytest.mark.parametrize("name", sorted(STRENGTHS))
def test_each_repeats_with_its_seed_and_leaves_its_input_alone(name: str) -> None:
    x = torch.rand(30, 3, 8, 8, generator=rng())
    kept = x.clone()
    strength = {name: STRENGTHS[name][0]}
    first, again, other = (augment(strength, x, seed=s)[0] for s in (1, 1, 2))
    by_seed = name != "alternating_flip"  # which follows the epoch, and the image
    assert torch.equal(first, again) and torch.equal(first, other) != by_seed
    assert torch.equal(x, kept) and first.shape == x.shape and math.isfinite(float(first.sum()))


def test_what_does_not_suit_the_samples_is_refused() -> None:
    tokens, sequences = torch.zeros(4, 9, dtype=torch.long), torch.zeros(4, 9, 2)
    for x in (tokens, sequences):
        with pytest.raises(UserError, match="flip needs images"):
            making({"flip": 0.5}, samples(x))
    assert making({"mixup": 0.2}, samples(sequences)) is not None
    with pytest.raises(UserError, match="mixup cannot be used with the task segmentation"):
        making({"mixup": 0.2}, samples(torch.zeros(4, 1, 8, 8), torch.zeros(4, 8, 8, dtype=torch.long)))
    two = TensorDataset("two", "two", DataSpec({"a": [3, 8, 8], "b": [3, 8, 8]}, {"label": Target("label", 2)}), {
        "train": Batch({"a": torch.zeros(4, 3, 8, 8), "b": torch.zeros(4, 3, 8, 8)}, {"label": torch.zeros(4, dtype=torch.long)})
    })  # fmt: skip
    with pytest.raises(UserError, match="flip needs images, got the inputs a, b"):
        making({"flip": 0.5}, two)
    assert making({}, samples(tokens)) is None
