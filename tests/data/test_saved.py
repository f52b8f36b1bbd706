"""Data sets of Hugging Face, saved to disk: images, tables, token ids, and what is said of the others."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasforge.data import PARTS, Dataset, Source, StoredDataset, TensorDataset, load
from nasforge.data.images import Broken
from nasforge.data.readers.saved import SavedImages
from nasforge.errors import UserError

hf = pytest.importorskip("datasets")
hf.disable_progress_bars()
CLASS = hf.ClassLabel(names=["wolf", "cat", "unseen", "ape"])


def pictures(n: int, seed: int = 0) -> list[Image.Image]:
    return [Image.fromarray(x) for x in np.random.default_rng(seed).integers(0, 256, (n, 6, 7, 3)).astype(np.uint8)]


def columns(n: int) -> dict[str, Any]:
    """A column of each kind that tables may have."""
    rng = np.random.default_rng(0)
    return {"size": [None, *rng.normal(size=n - 1)], "many": [int(i) for i in range(n)], "odd": [bool(i % 2) for i in range(n)],
            "place": [("here", "there", None)[i % 3] for i in range(n)], "pair": [[i, i / 7] for i in range(n)],
            "label": [(0, 1, 3)[i % 3] for i in range(n)], "price": [i / 3 for i in range(n)]}  # fmt: skip


def saved(root: Path, given: Any, **features: Any) -> str:
    """Save columns, or columns by split."""
    def made(values: dict[str, Any]) -> Any:
        rows = hf.Dataset.from_dict(values)
        return rows.cast(hf.Features({**rows.features, **features})) if features else rows

    split = isinstance(next(iter(given.values())), dict)
    (hf.DatasetDict({k: made(v) for k, v in given.items()}) if split else made(given)).save_to_disk(root / "set")
    return str(root / "set")


def whole(data: Dataset, part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.batches(part, 7))
    return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])


def test_images_by_split_with_the_names_of_their_classes(tmp_path: Path) -> None:
    parts = {name: {"image": pictures(n, n), "who": ["x"] * n, "label": [(0, 1, 3)[i % 3] for i in range(n)]}
             for name, n in (("train", 60), ("validation", 9), ("test", 12), ("extra", 3))}  # fmt: skip
    parts["unlabelled"] = parts.pop("extra")
    spec = saved(tmp_path, parts, image=hf.Image(), label=CLASS)
    data, stored = load(spec), load(Source.of({"data": spec, "data_memory": 0}))
    assert isinstance(data, TensorDataset) and isinstance(stored, StoredDataset)
    assert [data.size(part) for part in PARTS] == [60, 9, 12] and data.spec.input == [3, 6, 7]
    assert data.spec.target.names == ("wolf", "cat", "ape") and data.spec.target.counts == (20, 20, 20)
    assert data.spec.notes == ("the splits unlabelled are not read", "the columns who are not read")
    sent = pickle.dumps(stored)
    assert len(sent) < 20_000
    again = pickle.loads(sent)
    for part in PARTS:
        for x, y in zip(whole(data, part), whole(again, part), strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)
    x = np.stack([np.asarray(image) for image in parts["test"]["image"]]).transpose(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (data.mean, data.std))
    torch.testing.assert_close(whole(data, "test")[0] * std + mean, torch.tensor(x, dtype=torch.float32), atol=1e-5, rtol=1e-5)


def test_images_with_several_labels_or_a_number_and_some_broken(tmp_path: Path) -> None:
    n = 40
    broken = [{"bytes": b"no image", "path": None}, None]
    given = {"image": [*pictures(n - 2), *broken], "tags": [[k for k in (0, 1, 3) if (i + k) % 2] for i in range(n)],
             "price": [i / 3 for i in range(n)]}  # fmt: skip
    spec = saved(tmp_path, given, image=hf.Image(), tags=hf.Sequence(CLASS))
    with pytest.raises(UserError, match=r"set: train, row 38, image: must be a readable image, .* \(1 more broken: "):
        load(Source(spec, task="regression", target="price"), "value")
    data = load(Source(spec, target="price", skip_broken=True), "value")
    assert data.spec.target.names == ("price",) and sum(data.size(part) for part in PARTS) == 38
    assert "2 broken images left out" in data.spec.notes[-1]
    data = load(Source(spec, target="tags", skip_broken=True), "labels")
    assert data.spec.target.names == tuple(CLASS.names) and data.spec.target.counts[2] == 0 and data.spec.target.counts[0] > 0
    with pytest.raises(UserError, match="target tags must be one class a row, got lists; of classes add --task multilabel"):
        load(Source(spec, target="tags", skip_broken=True))


def test_an_image_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "a.png")
    cells = [{"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": b"x", "path": "https://a/b.png"}, None]
    images = SavedImages(name="set", rows=[{"image": cell} for cell in cells], column="image", sizes={"train": 2, "val": 1})
    assert Image.open(io.BytesIO(images.read(0))).size == (7, 6) and images.read(1) == b"x" and len(images) == 3
    assert images.where(1) == "set: train, row 1, image" and images.where(2) == "set: val, row 0, image"
    with pytest.raises(Broken):
        images.read(2)


def test_columns_without_images_are_a_table(tmp_path: Path) -> None:
    spec = saved(tmp_path, {"train": columns(60), "test": columns(15)}, label=CLASS)
    data = load(spec)
    assert data.spec.input == [8] and data.spec.target.names == ("wolf", "cat", "ape")  # size, many, odd, two places, a pair, the price
    assert data.size("test") == 15 and "size: 2 empty cells, counted as the mean of the column" in data.spec.notes
    values = load(Source(spec, target="price"), "value")
    assert values.spec.input == [10] and values.spec.target.names == ("price",)  # without the price, with three classes
    assert torch.allclose(whole(values, "test")[1][:, 0], torch.arange(15) / 3)
    both = load(Source(spec, target="odd,label"), "value")
    assert both.spec.target.names == ("odd", "label") and both.spec.target.size == 2
    pair = load(Source(spec, target="pair"), "value")
    assert pair.spec.target.names == ("pair.0", "pair.1")
    named = load(Source(spec, target="odd"))
    assert named.spec.target.names == ("0", "1")


def test_lists_of_unequal_length_are_padded_sequences(tmp_path: Path) -> None:
    ids = [[1 + (i + j) % 9 for j in range(1 + i % 5)] for i in range(60)]
    given = {"text": [f"text {i}" for i in range(60)], "idx": list(range(60)), "tags": [i % 2 for i in range(60)], "input_ids": ids}
    parts = {"train": given, "test": {k: v[:1] * 20 for k, v in given.items()}}
    data = load(saved(tmp_path, parts, tags=hf.ClassLabel(names=["no", "yes"])))
    assert data.spec.input == {"tokens": 10, "length": 5} and data.spec.padded == {"input"} and data.spec.target.names == ("no", "yes")
    assert data.spec.notes[0] == "the columns text, idx are not read"
    assert whole(data, "test")[0].tolist() == [[1, -1, -1, -1, -1]] * 20


def test_the_mask_tells_which_tokens_count_also_for_a_class_for_each(tmp_path: Path) -> None:
    n = 60
    lengths = [2 + i % 3 for i in range(n)]
    tags = [[-100, *[i % 3] * (k - 1)] + [-100] * (4 - k) for i, k in enumerate(lengths)]
    given = {"input_ids": [[5] * k + [0] * (4 - k) for k in lengths], "attention_mask": [[1] * k + [0] * (4 - k) for k in lengths],
             "token_type_ids": [[0] * 4] * n, "tags": tags}  # fmt: skip
    data = load(saved(tmp_path, given, tags=hf.Sequence(hf.Value("int64"))))
    assert data.spec.input == {"tokens": 6, "length": 4} and data.spec.target.kind == "steps"
    x, y = whole(data, "train")
    assert set(x.flatten().tolist()) == {5, -1} and bool((y[:, 0] == -100).all()) and bool((y[x < 0] == -100).all())
    folder = tmp_path / "named"
    folder.mkdir()
    given["tags"] = [[i % 3] * k + [0] * (4 - k) for i, k in enumerate(lengths)]
    named = load(saved(folder, given, tags=hf.Sequence(CLASS)))
    assert named.spec.target.size == 4 and named.spec.target.names == tuple(CLASS.names)


def test_lists_of_lists_are_sequences_and_arrays_images(tmp_path: Path) -> None:
    steps = [np.full((2 + i % 3, 2), i / 60).tolist() for i in range(60)]
    data = load(saved(tmp_path, {"series": steps, "other": [[1.0] * (1 + i % 2) for i in range(60)], "y": [i % 2 for i in range(60)]}))
    assert data.spec.inputs == {"series": [4, 2], "other": [2, 1]}
    folder = tmp_path / "maps"
    folder.mkdir()
    maps = np.random.default_rng(0).integers(0, 256, (60, 5, 6)).astype(np.uint8)
    data = load(saved(folder, {"pixels": list(maps), "y": [i % 2 for i in range(60)]}, pixels=hf.Array2D((5, 6), "uint8")))
    assert data.spec.input == [1, 5, 6]


@pytest.mark.parametrize("missing", [-1, None])
def test_a_test_set_without_targets_is_left_out(missing: int | None, tmp_path: Path) -> None:
    parts = {"train": {"a": list(range(60)), "label": [i % 2 for i in range(60)]}, "test": {"a": [1, 2], "label": [missing] * 2}}
    data = load(saved(tmp_path, parts, label=hf.ClassLabel(names=["no", "yes"])))
    assert "test has no label: left out" in data.spec.notes and data.size("test") == 12
    parts["train"]["label"][3] = missing
    with pytest.raises(UserError, match="train, row 3: the target is empty"):
        load(saved(tmp_path / "second", parts, label=hf.ClassLabel(names=["no", "yes"])))


N = 60
Y = [i % 2 for i in range(N)]


@pytest.mark.parametrize(("given", "features", "said"), [
    ({"text": [f"text {i}" for i in range(N)], "y": Y}, {}, "text must be numbers or at most 50 names, got 60 different texts; text is"),
    ({"y": Y, "a": Y, "class": [f"text {i}" for i in range(N)]}, {"target": "class"}, "class must be numbers .* got 60 different texts"),
    ({"tokens": [["a", "b"]] * N, "tags": [[0, 1]] * N}, {}, "tokens must be numbers .* got lists of texts"),
    ({"when": [{"a": 1}] * N, "y": Y}, {}, "when must hold numbers, names, lists of numbers or images, got"),
    ({"a": [[1, 2], []] * (N // 2), "y": Y}, {}, r"train, row 1: a must hold numbers, got an empty list; drop the row"),
    ({"a": [[[1, 2], [1]]] * N, "y": Y}, {}, "a: lists of lists must be equally long inside"),
    ({"y": Y}, {}, "set: a table must have a column beside its target"),
    ({"validation": {"a": Y, "y": Y}}, {}, r"must have rows in a split train, got validation; save it as DatasetDict\(train=...\)"),
    ({"train": {"a": Y, "y": Y}, "test": {"a": ["x"] * N, "y": Y}}, {}, "all splits must have the columns and types of train"),
])  # fmt: skip
def test_mistakes(given: dict[str, Any], features: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load(Source(saved(tmp_path, given), **features))


def test_the_package_may_be_missing_and_the_folder_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = saved(tmp_path, {"a": Y, "y": Y})
    (Path(spec) / "state.json").write_text(json.dumps({"_data_files": []}), encoding="utf-8")
    with pytest.raises(UserError, match="must be a data set as save_to_disk writes it"):
        load(spec)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets, which is not installed; pip install 'nasforge\[huggingface\]'"):
        load(spec)


def test_splits_and_masks_that_do_not_fit(tmp_path: Path) -> None:
    part = {"a": list(range(9)), "label": [0, 1, 0] * 3}
    twice = saved(tmp_path / "twice", {"train": part, "val": part, "validation": part})
    tokens = {"input_ids": [[1, 2, 3]] * 9, "attention_mask": [[1, 1, 1]] * 8 + [[1, 1]], "label": [0, 1, 0] * 3}
    short = saved(tmp_path / "short", tokens)
    none = saved(tmp_path / "none", {**tokens, "attention_mask": [[1, 1, 1]] * 8 + [[0, 0, 0]]})
    listed = saved(tmp_path / "listed", {"a": [[1, 2]] * 9, "a.0": list(range(9)), "label": [0, 1, 0] * 3})
    rest = saved(tmp_path / "rest", {"train": part, "test": {"a": [], "label": []}})
    empty = saved(tmp_path / "empty", {"a": [], "label": []})
    for spec, said in [
        (twice, "must have one split for val, got val and validation"),
        (short, "row 8: attention_mask must be as long as input_ids, 3, got 2"),
        (none, "row 8: attention_mask must count a token, got none"),
        (listed, "got 'a.0' twice, once of the list a"),
        (empty, "with rows in every split, got one without; remove it"),
        (rest, "with rows in every split, got one without; remove it"),
    ]:
        with pytest.raises(UserError) as caught:
            load(spec)
        assert said in str(caught.value)
