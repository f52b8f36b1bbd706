"""A trained network scored on data, by one call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from nasforge import zoo
from nasforge.api.again import lies_at
from nasforge.api.data import data_given
from nasforge.api.exports import kept_of
from nasforge.api.named import Network, arch_and_weights, arch_of
from nasforge.api.train import difference
from nasforge.data import Dataset, Part
from nasforge.data.dataset import FITS
from nasforge.data.readers import are_encoded
from nasforge.errors import UserError, nearest
from nasforge.evaluation.train import at_input, for_data, with_its_own_side
from nasforge.networks.build import build
from nasforge.networks.cost import count
from nasforge.report.training import Progress
from nasforge.search.plan import read_manifest, source_from
from nasforge.spaces.arch import Arch
from nasforge.tasks import Task, load_data, task_of
from nasforge.tasks.base import forward
from nasforge.train import checked_device, use_threads
from nasforge.train import score as score_on
from nasforge.zoo.branches import rivals, uncertain
from nasforge.zoo.state_files import of_tensorflow, read_state
from nasforge.zoo.weights import Mapped, map_weights

OTHERS = ("weights", "part", "resize", "norm_eps", "device", "threads", "show")


@dataclass(frozen=True)
class Scored:
    """How well a network does.

    Attributes:
        name, data, task, metric: of the network, the data and the task, and the task's main metric.
        part: of the data, and how many samples it has.
        metrics: on it.
        weights: the file that they are of.
        form: in words, what was done to the architecture to fit the data, "as it is" where nothing was.
        remarks: what to look at in the mapping of the weights.
    """

    name: str
    data: str
    task: str
    metric: str
    part: str
    samples: int
    metrics: dict[str, float]
    weights: str
    form: str
    params: int
    remarks: list[str]
    seconds: float


def score(
    network: Network,
    data: Any = None,
    *,
    weights: str | Path | None = None,
    part: str = "test",
    resize: bool = False,
    norm_eps: float | None = None,
    device: str = "cpu",
    threads: int | None = None,
    show: bool = False,
    **options: Any,
) -> Scored:
    """Score a network with trained weights on a part of some data.

    A network of a run, or of a training, reads its inputs normalized as there; columns and classes must be those that it learned. With
    other weights they are normalized as for a training on these data: give the data, and the options, with which it was trained.

    Args:
        network: a documented one, a file, RUN (its winner) or RUN:NAME, the folder of a training, or an architecture as data.
        data: what `--data` names, `(x, y)`, arrays by name, a data frame, or a data set; by default those of the run, else `digits`.
        weights: ours, or those of torchvision or timm; by default those of the run or the training.
        part: test, val or train.
        resize: bring the images to the side that the network reads, not a documented network to theirs.
        norm_eps: what batch norms of the file add to the variance, where that is not known.
        threads: of torch; None is one for every core.
        show: whether to show the progress on stderr.
        options: task, target, data_limit, allow_code, image_size, image_fit, skip_broken, data_memory: how to read the data.

    Raises:
        UserError: there are no weights, they are not of this network, or the network does not fit the data.
    """
    checked_device(device)
    if part not in get_args(Part):
        raise UserError(f"--part {part}: there is no such part; {nearest(part, get_args(Part))}")
    name, given = arch_of(network)
    own = arch_and_weights(str(network))[1] if isinstance(network, str | Path) else None
    file = weights if weights is not None else own
    if file is None:
        raise UserError(f"{name}: has no weights of its own; give --weights FILE, safetensors of a training or .pth of torchvision or timm")
    progress = Progress(show)
    with progress.during("reading the data"):
        learned = kept_of(str(network)).about if weights is None and isinstance(network, str | Path) else None
        dataset = _data(name, data, _fitted_as(learned, data, options), given)
    task = task_of(dataset.spec, dataset.name)
    if learned:
        _check_learned(name, learned, dataset)
    arch = given if weights is None else with_its_own_side(given, dataset) if resize else for_data(given, dataset)
    changed = difference(given, arch)
    mapped = _mapped(name, arch, Path(file), norm_eps, changed)
    found = at_input(dataset, arch).to(checked_device(device))
    model = build(arch)
    model.load_state_dict(mapped.state, strict=False)
    if learned:
        _normalize_as(model, learned, dataset)
    model.to(device)
    began, samples = time.perf_counter(), found.size(part)  # type: ignore[arg-type]
    if not samples:
        raise UserError(f"--part {part}: {dataset.name} has no sample in it; choose another part")
    _check_outputs(name, model, found, part, task)
    views = str((arch.get("recipe") or {}).get("views", "one"))
    progress.unit = "images" if dataset.spec.is_image else "samples"
    before = torch.get_num_threads()
    try:
        if device == "cpu":
            use_threads(threads)
        metrics = score_on(model, found, part, task, views=views, on_batch=lambda seen: progress.step(0, part, seen, samples))  # type: ignore[arg-type]
    finally:
        progress.clear()
        torch.set_num_threads(before)
    return Scored(
        name, dataset.name, task.name, task.main.name, part, samples, metrics, str(file), changed or "as it is", count(arch).params,
        mapped.remarks, time.perf_counter() - began,
    )  # fmt: skip


def _check_outputs(name: str, model: nn.Module, data: Dataset, part: Any, task: Task) -> None:
    """Raise UserError where a network cannot read the samples of some data, or answers what their targets do not ask."""
    batch = next(iter(data.batches(part, 1)))
    try:
        with torch.no_grad():
            task.check(forward(model.eval(), batch), batch)
    except (UserError, RuntimeError, ValueError, IndexError) as error:  # torch raises of all kinds where shapes do not fit
        said = str(error).splitlines()[0].removeprefix("model: ").partition(";")[0]
        raise UserError(f"{name}: must fit the data {data.name}, got: {said}; give data as it was trained on") from None


def _check_learned(name: str, learned: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise UserError where data have other inputs, columns or classes than those that a network has learned from."""
    now = dataset.spec.preprocess
    for kind in ("inputs", "targets"):
        for key, was in learned[kind].items():
            found = (now.get(kind) or {}).get(key)
            for word in ("kind", "shape", "size", "names", "columns"):
                if found is not None and was.get(word) != found.get(word) and not (word == "shape" and was.get("kind") == "image"):
                    what = f"{key} of {word} {_short(was.get(word))}, {dataset.name} has {_short(found.get(word))}"
                    raise UserError(f"{name}: has learned {what}; give data as it was trained on, or predict, which finds columns by name")
            if found is None and now:
                raise UserError(f"{name}: has learned from {key}, {dataset.name} has {', '.join(now.get(kind) or ())}; give such data")


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(str(one["name"] if isinstance(one, Mapping) else one) for one in value)
    return f"{value}"[:80]


def _normalize_as(model: nn.Module, learned: Mapping[str, Any], dataset: Dataset) -> None:
    """Let a model read inputs that were normalized by the moments of these data as if they were by those of its training."""
    now = dataset.spec.preprocess.get("inputs") or {}
    key = next(iter(learned["inputs"]))
    was, found = learned["inputs"][key], now.get(key)
    if not found or not was.get("mean") or (was["mean"], was["std"]) == (found["mean"], found["std"]):
        return
    mean, std, mean_now, std_now = (torch.tensor(v) for v in (was["mean"], was["std"], found["mean"], found["std"]))

    def shift(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        axes = [1, -1, *[1] * (x.ndim - 2)] if was["kind"] == "image" else [1] * (x.ndim - 1) + [-1]
        scale, offset = ((v.to(x) if v.ndim == 0 else v.view(axes).to(x)) for v in (std_now / std, (mean_now - mean) / std))
        return (x * scale + offset, *args[1:])

    model.register_forward_pre_hook(shift)


def _fitted_as(learned: Mapping[str, Any] | None, data: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options by which image files are brought to a size as those that a network has learned from, where nothing else is asked for."""
    inputs: Mapping[str, Any] = (learned or {}).get("inputs", {})
    resize = next((one["resize"] for one in inputs.values() if one.get("resize")), "cover")
    if resize == "cover" or options.get("image_fit") or not isinstance(data, str | Path) or not are_encoded(str(data)):
        return options
    return {**options, "image_fit": next(word for word, told in FITS.items() if told == resize)}


def _data(name: str, data: Any, options: dict[str, Any], arch: Arch) -> Dataset:
    """The data that are given, those of the run where none are."""
    run = Path(name.rpartition(":")[0] or name)
    if data is None and (run / "manifest.json").is_file():
        manifest = read_manifest(run)
        source = source_from(manifest["data"])
        described = {"data_limit": source.limit, "task": source.task, "target": source.target, "image_size": source.image_size}
        options = {**described, "image_fit": source.image_fit, "skip_broken": source.skip_broken, **{k: v for k, v in options.items() if v}}
        data = lies_at(manifest, source)
    dataset, found = data_given(data, options, arch, OTHERS)
    return dataset if dataset is not None else load_data(found)


def _mapped(name: str, arch: Arch, file: Path, norm_eps: float | None, changed: str) -> Mapped:
    """The weights of a file for the network. Raise UserError where they are of another one."""
    given, ordered = read_state(file)
    try:
        found = map_weights(arch, given, ordered=ordered, norm_eps=norm_eps, pad="tf" if of_tensorflow(str(file)) else None)
    except UserError as error:
        why = f"; {name} is {changed}: take data with as many classes and channels, or the --data of its training" if changed else ""
        raise UserError(f"--weights {file}: {str(error).replace(', or --partial to take what fits', '')}{why}") from None
    if name not in (*zoo.names(), *zoo.aka()) and (unclear := rivals(arch, found.pairs)):
        remedy = "map them by `nasforge zoo --weights ARCH FILE --check IN OUT`"
        raise UserError(f"--weights {file}: {uncertain(unclear, found.pairs)}; {remedy}")
    return found
