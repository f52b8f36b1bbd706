"""Data files from strangers: what tells of more than it holds, unpacks without end or never ends is refused before memory is taken."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasforge import files
from nasforge.cli import main
from nasforge.data import load
from nasforge.errors import UserError

LABELS = np.arange(20) % 2


def npy(head: str, body: bytes = b"") -> bytes:
    """An array file with this head, whatever follows."""
    padded = head + " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + body


def archive(path: Path, **members: Any) -> Path:
    """An npz of arrays, or of bytes that pass for some."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, member in members.items():
            out = io.BytesIO()
            if not isinstance(member, bytes):
                np.save(out, member)
            file.writestr(f"{name}.npy", member if isinstance(member, bytes) else out.getvalue())
    return path


def head(descr: str, shape: tuple[int, ...]) -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")


PACKED = {"header": np.zeros(0, np.uint8), "data": np.zeros(9, np.uint8), "offsets": np.array([0, 4, 9]), "labels": np.array([0, 1]),
          "n_train": np.array(1)}  # fmt: skip


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x": head("<f4", (10**12, 10)), "y": LABELS}, "array 'x' .* tells of .*40,000,000,000,000 in all, and 0 follow"),
        ({"x": head("<U100000000", (4, 2)), "y": LABELS}, "array 'x' .* 400000000 bytes"),
        ({"x": head("<U0", (10**13,)), "y": LABELS}, "array 'x'"),
        ({"x": head("<f4", (-1, 5)), "y": LABELS}, "array 'x'"),
        ({"x": np.full((20, 5), 1e300), "y": LABELS}, "largest of float32"),
        ({"x": np.zeros((20, 5), "f4"), "y": LABELS + 10**9}, "y must be integers from 0 to"),
        ({"x": np.zeros((20, 5), "f4"), "y": LABELS + 2**62}, "y must be integers from 0 to"),
        ({**PACKED, "n_train": np.array([1, 1])}, "n_train must be one whole number"),
        ({**PACKED, "offsets": np.array([0, 4, 2**40])}, "offsets must rise"),
        ({**PACKED, "offsets": np.array([0.0, 4, 9])}, "offsets must be .* whole numbers"),
        ({**PACKED, "data": np.array(["a"])}, "data must be .* bytes"),
    ],
)
def test_arrays_that_tell_of_what_they_do_not_hold(tmp_path: Path, members: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(str(archive(tmp_path / "a.npz", **members)))


def test_an_array_file_with_a_head_that_no_memory_holds(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(head("<f4", (10**12, 10)))
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(UserError, match=r"x\.npy: .*its head tells of"):
        load(str(tmp_path))


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a small file may unpack to is less, so that bombs are small."""
    monkeypatch.setattr(files, "MOST_BYTES", 2**18)


@pytest.mark.usefixtures("strict")
def test_packed_files_that_unpack_without_end(tmp_path: Path) -> None:
    images = struct.pack(">IIII", 0x803, 100, 280, 280) + bytes(100 * 280 * 280)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, 100) + bytes(100)))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 10**6))
    (tmp_path / "t.npz").write_bytes(archive(tmp_path / "a.npz", x=np.zeros((20, 10**5), np.uint8), y=LABELS).read_bytes())
    (tmp_path / "a.npz").unlink()
    for name in ("t.csv.gz", "t.npz", "train-images-idx3-ubyte.gz"):
        with pytest.raises(UserError, match="unpacks to"):
            load(str(tmp_path / name))


@pytest.mark.usefixtures("strict")
def test_a_parquet_file_of_constants(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({name: np.zeros(10**6, np.int8) for name in ("a", "label")}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="must not unpack to more than"):
        load(str(tmp_path / "t.parquet"))


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("packing", ["lz4", "zstd"])
def test_an_arrow_file_of_constants(tmp_path: Path, packing: str) -> None:
    ipc = pytest.importorskip("pyarrow.ipc")
    import pyarrow

    for rows in (40, 10**6):
        names = pyarrow.array(["x"] * rows).dictionary_encode()
        table = pyarrow.table({"a": np.arange(rows) // 2 * (rows < 50), "b": names, "label": np.arange(rows) % 2})
        for name, writer in (("t.feather", ipc.new_file), ("t.arrow", ipc.new_stream)):
            with writer(tmp_path / name, table.schema, options=ipc.IpcWriteOptions(compression=packing)) as file:
                file.write_table(table)
            if rows == 40:
                assert sum(map(len, load(str(tmp_path / name)).parts["train"])) > 0
                continue
            with pytest.raises(UserError, match="must not unpack to more than"):
                load(str(tmp_path / name))


def test_packed_members_follow_one_another_and_end() -> None:
    data = bytes(range(256)) * 5000
    assert files.unpacked(gzip.compress(data) + gzip.compress(b"more") + bytes(512)) == data + b"more"
    for broken in (gzip.compress(data)[:-9], b"no gzip", gzip.compress(data)[:50] + b"xx"):
        with pytest.raises(OSError, match=r"Error|end too early"):
            files.unpacked(broken)


def pictures(folder: Path) -> Path:
    """A folder of small images of two classes."""
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((8, 8), 10 * i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def png_head(side: int) -> bytes:
    """A PNG of which only the beginning is there."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"IDAT": zlib.compress(bytes(9))}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks.items()
    )


def test_pictures_that_are_waited_for_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "pictures")
    strange = folder / "a" / "x.png"

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=f"x.png: must be a readable image, got: {message}"):
            load(str(folder))
        strange.unlink()

    os.mkfifo(strange)
    refused("it is no regular file")
    strange.symlink_to("/dev/zero")
    refused("it is no regular file")
    strange.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")  # Pillow would run Ghostscript
    refused("it is no image")
    strange.write_bytes(png_head(30_000))
    refused("Image size .900000000 pixels. exceeds")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    strange.write_bytes(png_head(12_000))
    refused("it has 12000 x 12000 pixels")


def test_arrays_that_are_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(UserError, match=r"x\.npy: .*no regular file"):
        load(str(tmp_path))


@pytest.mark.parametrize("command", ["train resnet20 --data {}", "search digits --data {}", "search {} --data digits", "show {}"])
def test_what_is_no_file_is_called_so(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "given")
    assert main(command.format(tmp_path / "given").split()) == 2
    assert "given: must be a regular file" in capsys.readouterr().err


def test_a_long_field_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n" + "3" * 200_000 + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3 must have 2 cells"):
        load(str(tmp_path / "t.csv"))
