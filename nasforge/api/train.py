"""One architecture trained by its recipe, by one call."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from nasforge import zoo
from nasforge.api.data import data_given
from nasforge.api.named import Network, arch_of
from nasforge.api.predict import predict
from nasforge.data.preprocess import write_preprocess
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, Report
from nasforge.evaluation.train import BEGUN, Train, for_data, recipe_of, with_its_own_side
from nasforge.files import write_whole
from nasforge.networks.build import build, key
from nasforge.networks.cost import count
from nasforge.report.training import Progress
from nasforge.search.plan import source_of
from nasforge.spaces.arch import Arch
from nasforge.spaces.files import write
from nasforge.tasks import load_data, task_of
from nasforge.train import Recipe, checked_device, use_threads
from nasforge.zoo.state_files import read_state
from nasforge.zoo.weights import map_weights

INITIAL = "initial.safetensors"  # the weights that a training began with, where they were given
CURVE = "curve.csv"  # one row an epoch, while a training runs
OTHERS = ("minutes", "epochs", "recipe", "seed", "device", "resize", "weights", "out", "show", "verbose")


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        arch: as it was trained, its recipe in it.
        name, data, task, metric: of the network, the data and the task, and the task's main metric.
        form: in words, what was done to the architecture to fit the data, "as it is" where nothing was.
        params, macs: its size.
        metrics: on val. test: on test. curve: one row an epoch. seconds: where the time went.
        folder: with `model.safetensors`, `arch.yaml`, `checkpoint.pt` `curve.csv` and `result.json`.
    """

    arch: Arch
    name: str
    data: str
    task: str
    metric: str
    form: str
    params: int
    macs: int
    metrics: dict[str, float]
    test: dict[str, float]
    curve: list[dict[str, float]]
    seconds: dict[str, float]
    folder: Path

    @property
    def model(self) -> nn.Module:
        """The trained network, in eval mode; it reads inputs that were normalized as the data set does."""
        model = build(self.arch)
        model.load_state_dict(load_file(self.folder / "model.safetensors"))
        return model.eval()

    def predict(self, files: Any, top: int = 5) -> list[dict[str, Any]]:
        """Return what the network says of files; see `nasforge.predict`."""
        return predict(self.folder, files, top)


def train(
    network: Network,
    data: Any = "digits",
    *,
    minutes: float | None = None,
    epochs: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    resize: bool = False,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    show: bool = True,
    verbose: bool = False,
    **options: Any,
) -> Trained:
    """Train an architecture with its recipe on train, choose on val, and score it on test once; a training that was stopped is continued.

    Args:
        network: a documented one, a file, RUN:NAME, or an architecture as data.
        data: what `--data` names, `(x, y)`, arrays by name, a data frame, or a data set.
        minutes: train for so long, with as many epochs as that allows (200, or `epochs`, at most), on every core.
        epochs: by the data where None.
        recipe: what differs from the default recipe, in the words of `nasforge.train.Recipe`.
        resize: bring the images to the side that the network reads, not the network to theirs.
        weights: a file of them to begin with: ours, or those of a library; layers that do not fit, such as another head, begin fresh.
        out: folder for weights, checkpoint and curve, `runs/train-NAME` by default.
        show: whether to print notes, how far the training is, and a line an epoch to stderr.
        verbose: also the recipe, and where there is no terminal a line every second.
        options: task, target, data_limit, allow_code, image_size, skip_broken, data_memory: how to read the data.

    Raises:
        UserError: the network does not fit the data, or the training failed.
    """
    progress = Progress(show, verbose)
    say = progress.say
    checked_device(device)
    name, given = arch_of(network)
    dataset, source = data_given(data, options, given, OTHERS)
    with progress.during("reading the data"):
        found = dataset if dataset is not None else load_data(source)
    task = task_of(found.spec, found.name)
    for note in found.spec.notes:
        say(f"{found.name}: {note}")
    arch = with_its_own_side(given, found) if resize else for_data(given, found)
    changed = difference(given, arch)
    if changed:
        say(f"{name}: {changed}")
    folder = Path(out or f"runs/train-{Path(name.replace(':', '-')).stem}")
    given_words = {"minutes": minutes, "epochs": epochs}
    changes = {**(recipe or {}), **{name: value for name, value in given_words.items() if value is not None}}
    final, checkpoint, initial = (str(folder / file) for file in ("model.safetensors", "checkpoint.pt", INITIAL))
    job = Job(arch, seed, full=True, test=True, recipe=changes, weights=final, checkpoint=checkpoint, parent=initial)
    used = recipe_of(job, found, task)
    _begin_with(weights, arch, {**(arch.get("recipe") or {}), **changes}, seed, folder, say)
    write({**arch, "recipe": used.to_dict()}, folder / "arch.yaml")
    write_preprocess(found.spec.preprocess, folder)

    progress.epochs, progress.minutes = used.epochs, used.minutes
    progress.unit = "images" if found.spec.is_image else "samples"
    if not changed and "optimizer" not in changes:  # the data are those that the network was made for
        _say_what_was_published(name, used, say)
    if Path(checkpoint).is_file():
        say(f"{folder}: a training stands there, which is continued")
    if verbose:
        say(f"recipe: {json.dumps(used.to_dict())}")
    cost = count(arch)
    say(f"{name} on {found.name}: {cost.params:,} parameters, {found.size('train'):,} {progress.unit} an epoch")
    rows: list[Mapping[str, float]] = []

    def on_report(report: Report) -> Decision:
        rows.append(report.row)
        _write_curve(rows, folder / CURVE)
        losses = f"loss {report.row['loss']:.4f}  val loss {report.row['val_loss']:.4f}"
        main = "" if task.main.name == "loss" else f"  {task.main.title} {report.row[task.main.name]:.4g}"
        where = f"/{used.epochs}" if used.minutes is None else f", {report.row['seconds'] / 60:.1f} of {used.minutes:g} min"
        say(f"epoch {report.epoch}{where}  {losses}{main}")
        return Decision.CONTINUE

    threads = torch.get_num_threads()
    if device == "cpu":
        use_threads(1 if minutes is None else None)
    try:
        progress.status("preparing the training")
        evaluator = Train(progress.step)
        evaluator.prepare(Context("train", source, device, dataset=dataset))
        result = evaluator.evaluate(job, on_report)
    finally:
        progress.clear()
        torch.set_num_threads(threads)
    if result.error:
        raise UserError(result.error)
    trained = Trained(
        {**arch, "recipe": used.to_dict()}, name, found.name, task.name, task.main.name, changed or "as it is", cost.params, cost.macs,
        result.metrics, result.test, result.curve, result.seconds, folder,
    )  # fmt: skip
    where = {"memory_bytes": source.memory_bytes, "given_in": str(Path.cwd())}
    named = {} if dataset is not None else {"source": {**source_of(source), **where}}
    write_whole(folder / "result.json", json.dumps({**told(trained), **named}, indent=1))
    return trained


def _say_what_was_published(name: str, used: Recipe, say: Callable[[str], None]) -> None:
    """Say that a documented network is not trained by its published recipe, where it has one."""
    published = zoo.recipe(name)
    if published is not None:
        was = published["recipe"]
        say(f"{name}: trained by a default recipe for these data ({used.optimizer}, {used.epochs} epochs), not as published on "
            f"{published['data']} ({was['optimizer']}, {was['epochs']} epochs); --recipe published does that")  # fmt: skip


def _write_curve(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the latest row of a curve, the first with the names of its columns; those of an earlier call are written again."""
    with open(path, "w" if len(rows) == 1 else "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if len(rows) == 1:
            writer.writerow(rows[0])
        writer.writerow(rows[-1].values())


def _begin_with(
    weights: str | Path | None, arch: Arch, asked: Mapping[str, Any], seed: int, folder: Path, say: Callable[[str], None]
) -> None:
    """Write the weights that a training begins with into its folder. Raise UserError where nothing fits, or it has begun with others.

    asked: words of the recipe that were asked for.
    """
    initial, begun = folder / INITIAL, (folder / "checkpoint.pt").is_file()
    before = initial.read_bytes() if initial.is_file() else None
    state: dict[str, Tensor] = {}
    if weights is not None:
        for word, value in BEGUN.items():
            if asked.get(word, value) != value:
                raise UserError(f"recipe.{word}: {asked[word]} would replace the weights of {weights}; leave one of them out")
        given, ordered = read_state(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mapped = map_weights(arch, given, ordered=ordered, partial=True)
        if not mapped.pairs:
            raise UserError(f"--weights {weights}: no layer of it fits the network; give weights of this architecture")
        for remark in mapped.remarks:
            say(remark)
        fresh = f"; fresh: {', '.join(mapped.fresh)}" if mapped.fresh else ""
        say(f"{weights}: {len(mapped.pairs)} layers taken{fresh}")
        state = mapped.state
    if begun and before != (save(state) if state else None):
        raise UserError(f"{folder}: holds a training that began with other weights; give another --out, or delete it")
    if state:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, initial)
    else:
        initial.unlink(missing_ok=True)


def told(trained: Trained) -> dict[str, Any]:
    """Return what a training gave as plain data, as result.json has it."""
    rows = {k: v for k, v in asdict(trained).items() if k not in ("arch", "name", "folder")}
    return {"arch": trained.name, **rows, "recipe": trained.arch["recipe"], "out": str(trained.folder), "stopped": None, "error": None}


def difference(given: Mapping[str, Any], arch: Arch) -> str:
    """In words, what was done to an architecture to fit the data; nothing where nothing was."""
    if given.get("input") == arch["input"] and given.get("classes") == arch["classes"]:
        return ""
    sizes = f"made for {given.get('input')} and {given.get('classes')} classes, used for {arch['input']} and {arch['classes']}"
    try:
        kept = key({**given, **{k: arch[k] for k in ("input", "classes", "padding") if k in arch}}) == key(arch)
    except UserError:
        kept = False
    return sizes + ("" if kept else f", in its small form: {str(arch.get('note')).partition(': ')[2]}")
