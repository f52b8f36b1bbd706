"""A network taken away with what lies between files and it, and tried on the files of its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nasforge.api.data import data_given
from nasforge.api.named import Network, arch_and_weights, arch_of
from nasforge.data import Batch, Dataset, Source
from nasforge.data.originals import Originals, originals_of
from nasforge.data.preprocess import FILE, read_preprocess
from nasforge.errors import UserError, nearest
from nasforge.evaluation.train import at_input
from nasforge.export import Exported, Samples
from nasforge.export import export as write_files
from nasforge.files import parsed_file
from nasforge.objectives.metrics import metric
from nasforge.search.plan import MANIFEST, SUMMARY, read_manifest, source_from
from nasforge.spaces.arch import Arch
from nasforge.tasks import given_with_raw, load_with_raw, task_of

PREPROCESS = ("inside", "none")
MOST_SAMPLES, MOST_NUMBERS = 10_000, 2**26  # that an export is tried on, and numbers of outputs
AT_ONCE = 64  # samples
SAME = 1e-4  # share by which a metric may differ through rounding


@dataclass(frozen=True)
class Tried(Exported):
    """What was written, and what it gives for the files of the data.

    Attributes:
        metric: its name. samples: of val that it was tried on, 0 where none were at hand. val: what it reaches on them.
        recorded: what the run has of these weights. trained: whether the weights were trained. warning: what to do where they were not.
        notes: what is to be said.
    """

    metric: str | None = None
    samples: int = 0
    val: float | None = None
    recorded: float | None = None
    trained: bool = False
    warning: str | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Kept:
    """What a folder knows of the data of its networks.

    Attributes:
        about: the description of preprocessing. source: of the data, None where they were given as themselves. given_in: the folder from
            which their name was given.
        metric, recorded: the main metric, and its value on val for the weights.
    """

    about: dict[str, Any] | None = None
    source: Source | None = None
    given_in: Path = field(default_factory=Path)
    key: str | None = None
    metric: str | None = None
    recorded: float | None = None
    where: str = ""


def export(
    network: Network, to: str, out: str | Path = "exported", *, weights: str | Path | None = None, preprocess: str = "inside",
    data: Any = None, name: str | None = None, **options: Any,
) -> Tried:  # fmt: skip
    """Write a network as `python`, `onnx` or `torch` into a folder, and check it in a fresh process, on the files of its data.

    Args:
        network: a documented one, a file, RUN, RUN:NAME or the folder of a training (with their weights), or an architecture as data.
        weights: safetensors of it; fresh ones where there are none.
        preprocess: `inside`: the network reads raw numbers and normalizes them itself, where a description is known; `none`: it reads
            normalized ones.
        data: that it was trained on, where the run does not find them; of arrays only what they are is taken.
        name: of the files.
        options: task, target, data_limit, allow_code, image_size, skip_broken, data_memory: how to read the data.

    Raises:
        UserError: the network, its weights or its data cannot be read. ExportRefused: the file does not compute what the network does.
    """
    if preprocess not in PREPROCESS:
        raise UserError(f"--preprocess {preprocess}: must be one of {', '.join(PREPROCESS)}; {nearest(preprocess, PREPROCESS)}")
    title, arch = arch_of(network)
    found = Path(weights) if weights is not None else None if isinstance(network, Mapping) else arch_and_weights(str(network))[1]
    try:
        state = load_file(found) if found else None
    except (OSError, SafetensorError) as error:
        raise UserError(f"--weights {found}: no safetensors file that can be read ({error})") from None
    kept = Kept() if isinstance(network, Mapping) else kept_of(str(network))
    recorded = kept.recorded if weights is None else None
    dataset, originals, notes = data_of(kept, arch, data, options)
    about = kept.about or (dict(dataset.spec.preprocess) if dataset is not None else {}) or None
    samples = None if dataset is None or originals is None or about is None else _samples(dataset, originals, arch)
    if about is None:
        notes.append(f"not known what lies between files and this network ({FILE}): it reads normalized numbers; --data refits it")
    stem = name or (title.rpartition(":")[2] if ":" in title else Path(title).stem)
    stem = f"trial{stem}" if stem.isdigit() and name is None else stem  # a name that Python can import
    done = write_files(arch, state, to, Path(out), name=stem, preprocess=about, inside=preprocess == "inside", samples=samples)
    written = {key: getattr(done, key) for key in Exported.__dataclass_fields__}
    warning = None if state is not None else _warning(title, kept)
    tried = Tried(**written, notes=tuple(notes), recorded=recorded, trained=state is not None, warning=warning)
    if dataset is None or done.outputs is None:
        if samples is not None and done.preprocess is not None:
            many = len(done.preprocess["inputs"])
            why = f"it reads {many} inputs, which no file holds" if many > 1 else "it reads images of another size (--preprocess inside)"
            tried = replace(tried, notes=(*notes, f"not tried on files of the data: {why}"))
        return tried
    task = task_of(dataset.spec, dataset.name)
    wanted = kept.metric if kept.metric in {m.name for m in task.metrics} else task.main.name
    n = len(next(iter(done.outputs.values())))
    val = _scores(done, dataset, n).get(wanted)
    if val is not None and recorded is not None and abs(val - recorded) > SAME * max(abs(val), abs(recorded)):
        whole = dataset.size("val")
        why = f"on all {whole:,}" if n < whole else "as the mean over several views of an image, in another precision or on another device"
        notes.append(f"the run has {recorded:.6g}, scored {why}; the file gives what its network gives")
    return replace(tried, metric=wanted, samples=n, val=val, notes=tuple(notes))


def _warning(title: str, kept: Kept) -> str:
    """What to do about weights that nobody has trained."""
    said = f"the weights of {title} are fresh (drawn at random, not trained)"
    number = title.rpartition(":")[2]
    if not kept.where:
        return f"{said}; give trained ones with --weights, or name a run"
    if number.isdigit() and title != kept.where:
        return f"{said}, as a search keeps those of its finalists alone; train it (nasforge train {title} --out DIR) and export DIR"
    return f"{said}, as {kept.where} holds none; train it to the end, or give --weights"


def kept_of(name: str) -> Kept:
    """Return what a run, or the folder of a training, knows of the data of a network. Raise UserError where that is damaged."""
    before, _, which = name.rpartition(":")
    run = Path(before if before and (Path(before) / MANIFEST).is_file() else name)
    if (run / MANIFEST).is_file():
        manifest = read_manifest(run)
        source = source_from(manifest["data"])
        memory = (manifest.get("command") or {}).get("data_memory")
        source = replace(source, memory_bytes=memory * 2**30) if isinstance(memory, int | float) else source
        row = _row(run, which if run != Path(name) else "")
        return Kept(read_preprocess(run), source, Path(str(manifest.get("given_in", "."))), manifest.get("data_key"), row.get("metric"),
                    row.get("val_of_weights"), str(run))  # fmt: skip
    if run.is_dir() and (run / "arch.yaml").is_file():
        try:
            told = parsed_file(run / "result.json")
            given = dict(told.get("source") or {})
            where = Path(str(given.pop("given_in", ".")))
            return Kept(read_preprocess(run), source_from(given) if given else None, where, None, told["metric"],
                        told["metrics"].get(told["metric"]), str(run))  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Kept(read_preprocess(run), where=str(run))
    return Kept()


def _row(run: Path, name: str) -> dict[str, Any]:
    """The row of a network in the summary of a run; that of the best where none is named."""
    try:
        summary = parsed_file(run / SUMMARY)
        rows = {row["name"]: row for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"])}
        return dict(rows.get(name or summary["best"]["name"], {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def data_of(kept: Kept, arch: Arch, data: Any, options: Mapping[str, Any]) -> tuple[Dataset | None, Originals | None, list[str]]:
    """Return the data of a network and the files of val, as far as they are at hand, and what is to be said of that.

    Raises:
        UserError: data that are given cannot be read, or are not those of the network.
    """
    source, given = kept.source, data is not None
    if given:
        asked = {k: v for k, v in options.items() if v is not None and v is not False}
        named = {} if source is None else _options(source)
        dataset, source = data_given(data, {**(named if isinstance(data, str | Path) else {}), **asked}, arch)
        if dataset is not None:
            _check(dataset, kept)
            if hasattr(data, "batches"):
                return dataset, None, ["not tried on the data, of which only normalized samples are given; give arrays or files"]
            dataset, raw = given_with_raw(data, source)
            return dataset, originals_of(raw, seed=source.seed, limit=source.limit), []
        source = replace(source, seed=kept.source.seed) if kept.source is not None else source
    if source is None or source.spec == "arrays":
        return None, None, ["not tried on the data, which the folder does not name; give them with --data"] if kept.where else []
    there = kept.given_in / source.spec
    if not given and there.exists() and not Path(source.spec).exists():
        source = replace(source, spec=str(there))
    allowed, memory = bool(options.get("allow_code")), options.get("data_memory")
    source = source if memory is None else replace(source, memory_bytes=memory * 2**30)
    try:
        found, raw = load_with_raw(replace(source, allow_code=allowed, reads=source.reads or _reads(arch)))
    except UserError as error:
        if given:
            raise
        why = str(error).partition(";")[0]
        return None, None, [f"not tried on files of the data, which are not at hand ({why}); give them with --data"]
    try:
        _check(found, kept)
    except UserError as error:
        if given:
            raise
        return None, None, [f"not tried on files of the data: {error}"]
    fitted = [f"{FILE} was missing: fitted again to {found.name}"] if kept.about is None and kept.where else []
    return found, originals_of(raw, seed=source.seed, limit=source.limit), fitted


def _options(source: Source) -> dict[str, Any]:
    """The options by which a source was read."""
    named = {"task": source.task, "target": source.target, "data_limit": source.limit, "image_size": source.image_size}
    return {k: v for k, v in {**named, "skip_broken": source.skip_broken or None}.items() if v is not None}


def _reads(arch: Mapping[str, Any]) -> tuple[int, ...] | None:
    shape = arch.get("input")
    return tuple(shape) if isinstance(shape, list) and len(shape) == 3 else None


def _check(data: Dataset, kept: Kept) -> None:
    key = kept.key or (kept.about or {}).get("key")
    if key is not None and data.key != key:
        raise UserError(f"{kept.where}: was trained on other data (key {key}, these have {data.key}); give those with --data")


def _samples(data: Dataset, found: Originals, arch: Arch) -> Samples:
    """The samples of val, as files and as the network was scored on them."""
    fitted = at_input(data, arch)
    outputs = sum(target.size for target in data.spec.targets.values())
    axes = next(iter(data.batches("val", 1))).targets.values()
    each = max(1, outputs * max((t[0].numel() for t in axes if not t.is_floating_point()), default=1))
    most = min(len(found), MOST_SAMPLES, max(16, MOST_NUMBERS // each))
    names = list(arch["input"]) if isinstance(arch["input"], Mapping) and "tokens" not in arch["input"] else None

    def normalized() -> Iterator[tuple[Tensor, ...]]:
        seen = 0
        for batch in fitted.batches("val", AT_ONCE):
            if seen >= most:
                return
            seen += len(batch)
            yield tuple(batch.inputs[name] for name in names or batch.inputs)

    return Samples(found, normalized, most)


def _scores(done: Exported, data: Dataset, n: int) -> dict[str, float]:
    """The metrics of the task for the outputs of the first samples of val."""
    assert done.outputs is not None and done.preprocess is not None
    outputs, scorer, seen = done.outputs, task_of(data.spec, data.name).scorer(), 0
    if done.preprocess["inside"]:
        outputs = {key: _learned(y, _target(done.preprocess, key)) for key, y in outputs.items()}
    for batch in data.batches("val", AT_ONCE):
        if seen >= n:
            break
        some: Batch = batch[: n - seen]
        part = {key: y[seen : seen + len(some)] for key, y in outputs.items()}
        scorer.update(part.get("output", part), some)
        seen += len(some)
    return scorer.result()


def _target(about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return about["targets"][key] if key in about["targets"] else next(iter(about["targets"].values()))


def _learned(y: Tensor, target: Mapping[str, Any]) -> Tensor:
    """Values as a network learns them, mean 0 and deviation 1."""
    if target["kind"] != "value":
        return y
    mean, std = (torch.tensor(target[word], dtype=torch.float64) for word in ("mean", "std"))
    return ((y.double() - mean) / std).float()


def in_words(done: Tried) -> list[str]:
    """Return what came of the check, a line each."""
    rounded = f" from float64, from which rounding moves the network itself by {done.rounding:.2g}" if done.rounding is not None else ""
    lines = [f"checked in a fresh process: largest difference {done.largest_difference:.2g}{rounded}"]
    if done.val is not None and done.metric is not None:
        title = metric(done.metric).title
        beside = "" if done.recorded is None else f", {done.recorded:.6g} in the run"
        lines.append(f"tried on {done.samples:,} samples of val as files: {title} {done.val:.6g}{beside}")
    return [*lines, *done.notes]
