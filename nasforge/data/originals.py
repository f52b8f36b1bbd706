"""The samples of a part as their files have them, before anything is done to their numbers: what an export is tried on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Arrays, Origin, Raw
from nasforge.data.numbers import Input
from nasforge.data.splits import divide


@dataclass(frozen=True)
class Originals:
    """Samples of one part in its order.

    Attributes:
        inputs: raw numbers by name, of all samples that the part was cut from. places: of the samples among these.
        origin: gives the file or row of one of them, None where the data came as arrays.
    """

    inputs: Mapping[str, Input]
    places: np.ndarray
    origin: Origin | None

    def __len__(self) -> int:
        return len(self.places)

    def arrays(self, most: int) -> dict[str, np.ndarray]:
        """Return the raw numbers of the first samples by input."""
        chosen = self.places[:most]
        return {name: x[chosen] if isinstance(x, np.ndarray) else x.take(chosen) for name, x in self.inputs.items()}

    def write(self, folder: Path, about: Mapping[str, Any], most: int) -> list[Path]:
        """Write the first samples of the only input as the files they were read from: encoded images, a table; else an array."""
        ((name, described),) = about["inputs"].items()
        if self.origin is None or described["kind"] not in ("image", "table"):
            np.save(folder / "samples.npy", self.arrays(most)[name])
            return [folder / "samples.npy"]
        found = [self.origin(int(i)) for i in self.places[:most]]
        if described["kind"] == "image":
            files = [folder / f"{i:06}.image" for i in range(len(found))]
            for file, encoded in zip(files, found, strict=True):
                file.write_bytes(encoded)
            return files
        names = [column["name"] for column in described["columns"]]
        every = names if described["header"] else [str(i + 1) for i in range(max(map(int, names)))]
        with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerows([every] if described["header"] else [])
            writer.writerows([_cell(row.get(column, "0")) for column in every] for row in found)
        return [folder / "samples.csv"]


def _cell(value: Any) -> str:
    """A cell as it is written; a number with all its digits."""
    if isinstance(value, str):
        return value
    return "" if value != value else repr(value.item() if hasattr(value, "item") else value)


def originals_of(raw: Raw, *, seed: int = 0, limit: int | None = None) -> Originals:
    """Return the samples of `val` as `prepared` cuts it out of what a reader found."""
    places = {part: Arrays({"place": np.arange(len(arrays))}, arrays.targets) for part, arrays in raw.parts.items()}
    stratified = raw.kinds[next(iter(raw.kinds))] == "label"
    val: Any = divide(places, seed=seed, limit=limit, ordered=raw.ordered, stratified=stratified, where=raw.name)["val"].inputs["place"]
    part = "val" if "val" in raw.parts else "train"
    return Originals(raw.parts[part].inputs, val, raw.origins.get(part))
