"""Training from image files that do not fit into memory: images a second and peak memory, beside plain loops over torch's DataLoader.

    python benchmarks/stream.py [--images 60000] [--folder FOLDER] [--rows FILE] [--ways nasforge,0,1,2] [--rounds 1] [--augment]

CIFAR-10 from the packed file is written once as 256 x 256 JPEGs (bicubic, quality 90), one folder a class, train/ and test/. Then one epoch
of a small network, training and validation, each way in a fresh process: `nasforge` is its data set and `fit` with the recipe of the task,
a number is a loop as a user writes it, with PIL and a DataLoader of so many worker processes. Network, optimizer, number format (fp32) and
counts of samples are the same; torch has OMP_NUM_THREADS threads. --augment adds the flips and crops of the recipe to both.

Images a second are of the epoch, both parts; looking over the files before is told apart. The ratio is to the best plain loop of the round.
Memory is the largest sum over the process and its children, seen every 0.2 s in /proc: RSS counts a page that several share several times,
PSS (smaps_rollup) once. `cpu ms` is the processor time of all of them for an image of the epoch, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, random_split

from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.tasks import load_data, task_of
from nasforge.train import default_recipe, fit

PACKED = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "cifar10" / "cifar10_jpeg_full.npz"
SIDE, QUALITY, BATCH, CROP = 256, 90, 64, 32
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)  # of CIFAR-10
SAMPLED_S = 0.2


def write(folder: Path, count: int) -> None:
    """Write the images as FOLDER/train/CLASS/NUMBER.jpg and FOLDER/test/..., unless they are there."""
    done = folder / f"{count}.written"
    if done.exists():
        return
    if not PACKED.exists():
        raise SystemExit(f"no {PACKED}")
    packed = np.load(PACKED, allow_pickle=False)
    header, data, offsets, labels = packed["header"].tobytes(), packed["data"], packed["offsets"], packed["labels"]
    split = int(packed["n_train"])
    n = round(count * split / len(labels))
    chosen = [*range(n), *np.random.default_rng(0).permutation(np.arange(split, len(labels)))[: count - n].tolist()]  # test lies by class

    def one(i: int) -> None:
        path = folder / ("train" if i < split else "test") / f"class{labels[i]}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(header + data[offsets[i] : offsets[i + 1]].tobytes())) as image:
            image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=QUALITY)

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, chosen))
    done.touch()


def network() -> nn.Module:
    def conv(c_in: int, c_out: int, kernel: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]

    layers = [*conv(3, 8, 5, 4), *conv(8, 16, 3, 2), *conv(16, 32, 3, 2), *conv(32, 64, 3, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@dataclass
class Epoch:
    """What one way took. before_s: until the epoch could begin."""

    images: int
    before_s: float
    epoch_s: float
    cpu_s: float
    accuracy: float


# ---------------------------------------------------------------- the ways


def by_nasforge(folder: Path, augment: bool) -> Epoch:
    began = time.perf_counter()
    data = load_data(Source(str(folder), memory_bytes=0))  # so that fewer images do not fit either
    before_s = time.perf_counter() - began
    task = task_of(data.spec)
    recipe = replace(default_recipe(task, data), epochs=1, batch_size=BATCH, data_fraction=1.0, precision="fp32", channels_last=False)
    recipe = recipe if augment else replace(recipe, augment={})
    cpu = cpu_s()
    fitted = fit(network(), data, recipe, task=task)
    return Epoch(data.size("train") + data.size("val"), before_s, fitted.seconds, cpu_s() - cpu, fitted.metrics["accuracy"])


class Files(Dataset):
    """Image files of one folder a class, decoded one by one."""

    def __init__(self, folder: Path, augment: bool) -> None:
        self.files, self.augment = sorted(folder.glob("*/*.jpg")), augment
        self.classes = sorted({path.parent.name for path in self.files})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        with Image.open(self.files[i]) as image:
            pixels = np.array(image.convert("RGB"))
        if self.augment:  # also of what is held out: few images, and no matter here
            down, right = np.random.randint(-CROP, CROP + 1, 2)
            pixels = pixels[np.clip(np.arange(SIDE) + down, 0, SIDE - 1)][:, np.clip(np.arange(SIDE) + right, 0, SIDE - 1)]
            pixels = pixels[:, ::-1].copy() if np.random.rand() < 0.5 else pixels
        return torch.from_numpy(pixels), self.classes.index(self.files[i].parent.name)


def normalized(pixels: Tensor) -> Tensor:
    """(B, C, H, W) floats of (B, H, W, C) bytes: bytes travel faster between processes than floats that workers make."""
    x = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return x.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


def by_loader(folder: Path, augment: bool, workers: int) -> Epoch:
    began = time.perf_counter()
    files = Files(folder / "train", augment)
    held_out = max(len(files) // 10, min(1000, len(files) // 5))  # as many as nasforge does
    train, val = random_split(files, [len(files) - held_out, held_out])
    before_s = time.perf_counter() - began
    model = network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05, fused=True)
    loader = DataLoader(train, BATCH, shuffle=True, num_workers=workers)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(loader))
    cpu, began = cpu_s(), time.perf_counter()
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(normalized(x)), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    average.eval()
    with torch.no_grad():
        right = sum(int((average(normalized(x)).argmax(1) == y).sum()) for x, y in DataLoader(val, BATCH, num_workers=workers))
    epoch_s = time.perf_counter() - began
    return Epoch(len(files), before_s, epoch_s, cpu_s() - cpu, right / held_out)


# ---------------------------------------------------------------- measuring


def cpu_s() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def run(way: str, folder: Path, augment: bool, pipe: Connection) -> None:
    """What the fresh process does."""
    torch.manual_seed(0)
    pipe.send(by_nasforge(folder, augment) if way == "nasforge" else by_loader(folder, augment, int(way)))


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def memory_mib(root: int) -> tuple[float, float]:
    """RSS and PSS of a process and its descendants."""
    sums = {"Rss": 0, "Pss": 0}
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] += int(rest.split()[0])
    return sums["Rss"] / 1024, sums["Pss"] / 1024


def watched(work: Callable[..., None], *args: object) -> tuple[Epoch, tuple[float, float]]:
    """What work in a fresh process sends, and the peak of its memory."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=work, args=(*args, theirs))
    process.start()
    theirs.close()
    peak = (0.0, 0.0)
    while not ours.poll(SAMPLED_S):
        rss, pss = memory_mib(process.pid or 0)
        peak = max(peak[0], rss), max(peak[1], pss)
    found = ours.recv()
    process.join()
    return found, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, help="of the images, kept (default: a temporary one)")
    parser.add_argument("--rows", type=Path, help="file to which the rows are appended, one JSON object a line")
    parser.add_argument("--ways", default="nasforge,0,1,2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--augment", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() if args.folder is None else contextlib.nullcontext(args.folder) as given:
        folder = Path(given)
        write(folder, args.images)
        for number in range(args.rounds):
            found = {way: watched(run, way, folder, args.augment) for way in args.ways.split(",")}
            speeds = {way: epoch.images / epoch.epoch_s for way, (epoch, _) in found.items()}
            best = max((speed for way, speed in speeds.items() if way != "nasforge"), default=float("nan"))
            rows = []
            for way, (epoch, (rss, pss)) in found.items():
                rows.append({
                    "label": way if way == "nasforge" else f"plain loop, {way} workers", "images/s": round(speeds[way], 1),
                    "before s": round(epoch.before_s, 1), "RSS MiB": round(rss), "PSS MiB": round(pss),
                    "ratio": round(speeds[way] / best, 3), "cpu ms": round(1e3 * epoch.cpu_s / epoch.images, 2),
                })  # fmt: skip
            print(table(tuple(rows[0]), [tuple(map(str, row.values())) for row in rows]), flush=True)
            if args.rows:
                about = {"images": args.images, "round": number, "augment": args.augment, "threads": torch.get_num_threads()}
                with args.rows.open("a", encoding="utf-8") as file:
                    for row, (epoch, _) in zip(rows, found.values(), strict=True):
                        file.write(json.dumps({**row, **about, "load": round(os.getloadavg()[0], 1), **asdict(epoch)}) + "\n")


if __name__ == "__main__":
    main()
