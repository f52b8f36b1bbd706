"""A search as data: what is asked, written to the run's manifest, compared when the run goes on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from nasforge.data import Dataset, DataSpec, Source, size_of
from nasforge.data.preprocess import FILE, write_preprocess
from nasforge.errors import UserError
from nasforge.files import parsed_file, write_whole
from nasforge.latency import read_profile
from nasforge.objectives.objective import Limit, Objective, parse_limit, parse_objectives
from nasforge.plugins import Plugin, check_loaded
from nasforge.spaces.arch import Arch, digest
from nasforge.spaces.check import fits, spell
from nasforge.spaces.files import check_folder, read, write
from nasforge.storage.open import without_password
from nasforge.tasks import load_data

MANIFEST = "manifest.json"
SPACE = "space.yaml"
SUMMARY = "summary.json"
PLUGINS = "plugins"  # a folder with copies of them
BASELINES = "baselines"  # a folder with one architecture each
# what manifests of older versions lack
LATER: dict[str, Any] = {"prior": [], "fidelity": "epochs", "inherit": False, "profiles": {}, "scores": [], "runtime": "eager"}
KEYS = {"prior_ids": "prior", "table_key": None}  # what says more than a path, and the path; older manifests lack it
NEEDED: dict[str, Any] = {  # fields of every manifest
    "objectives": list[str], "constraints": list[str], "strategy": str, "evaluator": str, "pruner": str, "seed": int, "data": dict,
}  # fmt: skip
KNOWN: dict[str, Any] = {  # and others, of this kind where they are there
    "id": str, "trials": int, "minutes": float | None, "recipe": dict, "final_recipe": dict, "prior": list[str], "scores": list[str],
    "baselines": list[str], "profiles": dict, "versions": dict, "machine": dict, "storage": str, "plugins": dict, "fidelity": str,
    "inherit": bool | str, "control": bool, "finalists": int, "final_seeds": int, "device": str, "study": dict, "storage_url": str,
    "runtime": str, "command": dict, "given_in": str, "data_key": str, "recipes": dict, "space_name": str,
}  # fmt: skip
EXPECTED = 40  # trials of a search that ends by the clock
PACKAGES = ("nasforge", "torch", "optuna", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a search does.

    fidelity: what grows from rung to rung where trainings pause, see `nasforge.strategies.schedulers`.
    recipe: what differs from the default recipe, in the search (`epochs` there only) and for finalists.
    baselines: architectures to compare with, by name. prior: folders of earlier runs to learn from.
    scores: zero-cost scores that the predictor reads beside the graph of a network.
    measures: whether it begins with what other spaces taught; a run that began before it could goes on without.
    runtime: that runs a network when its latency is measured.
    profiles: files of device profiles that predict latency, by device; the name "" is this machine.
    table: file, column selected and column reported, where the evaluator is a table.
    inherit: how a network begins with the weights of the nearest one that was trained, nothing where it does not; finalists never do.
    control: whether an equal-budget random search runs beside.
    minutes: that the whole search may take, finals and page included; `trials` is then the most that are asked.
    until: what a trial must reach so that no more are asked.
    dataset: the data themselves, where they were given instead of a source.
    plugins: that were loaded when it was made.
    command: the options that were given, by their long names, from which the page makes the command that goes on.
    name: what the space is called.
    """

    space: Mapping[str, Any]
    data: Source
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    strategy: str = "predictor"
    evaluator: str = "train"
    scheduler: str = "asha"
    fidelity: str = "epochs"
    trials: int = 40
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    final_recipe: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Arch] = field(default_factory=dict)
    finalists: int = 4
    final_seeds: int = 3
    control: bool = True
    device: str = "cpu"
    storage: str | None = None
    prior: tuple[str, ...] = ()
    inherit: str = ""
    scores: tuple[str, ...] = ()
    measures: bool = True
    runtime: str = "eager"
    profiles: Mapping[str, str] = field(default_factory=dict)
    table: tuple[str, str, str] | None = None
    dataset: Dataset | None = field(default=None, compare=False)
    plugins: tuple[Plugin, ...] = ()
    minutes: float | None = None
    until: tuple[Limit, ...] = ()
    command: Mapping[str, Any] = field(default_factory=dict, compare=False)
    name: str = field(default="", compare=False)

    @property
    def controlled(self) -> bool:
        """Whether a control runs: random search needs none."""
        return self.control and self.strategy != "random"

    @property
    def expected(self) -> int:
        """How many trials a strategy may plan with."""
        return self.trials if self.minutes is None else min(self.trials, EXPECTED)

    def load(self) -> Dataset:
        """Return the data set of the search."""
        return self.dataset if self.dataset is not None else load_data(self.data)

    def final_settings(self) -> str:
        """Return what decides the results of the finals, as a digest; other finals are done anew."""
        names = sorted(f"{name}:{digest(arch)}" for name, arch in self.baselines.items())
        time = [] if self.minutes is None else [self.minutes]
        return digest([dict(self.final_recipe), names, self.finalists, self.final_seeds, self.control, self.device, *time])

    def identity(self) -> dict[str, Any]:
        """Return what must stay the same for a run to go on; the number of trials may grow."""
        return {
            "space": digest(self.space),
            "data": source_of(self.data),
            "objectives": [str(o) for o in self.objectives],
            "constraints": [str(limit) for limit in self.limits],
            "strategy": self.strategy,
            "evaluator": self.evaluator,
            "pruner": self.scheduler,
            "fidelity": self.fidelity,
            "seed": self.seed,
            "recipe": dict(self.recipe),
            "prior": list(self.prior),
            "inherit": {"": False, "copy": True}.get(self.inherit, self.inherit),  # as older manifests say it
            "scores": list(self.scores),
            **({"measures": True} if self.measures else {}),
            "table": None if self.table is None else list(self.table[1:]),
            **({} if self.table is None else {"table_key": sha256(Path(self.table[0]).read_bytes()).hexdigest()[:12]}),
            **({"prior_ids": [read_manifest(Path(run)).get("id") for run in self.prior]} if self.prior else {}),
            "runtime": self.runtime,
            "profiles": {name: digest(read_profile(path).times_ms) for name, path in self.profiles.items()},
            "storage": "journal" if self.storage is None else self.storage.split("://")[0],
            **({"plugins": {plugin.name: plugin.identity for plugin in self.plugins}} if self.plugins else {}),
        }


def source_of(source: Source) -> dict[str, Any]:
    """Return a source as a manifest has it: what older manifests lack stands there only where it was asked for.

    What the network reads is told by the space, and how much memory there is does not matter.
    """
    asked = {name: value for name, value in asdict(source).items() if value and name in ("task", "target", "image_size", "skip_broken")}
    return {"spec": source.spec, "limit": source.limit, "seed": source.seed, "allow_code": source.allow_code, **asked}


def source_from(described: Mapping[str, Any]) -> Source:
    """Return the source that a manifest describes."""
    return Source(**{**described, "image_size": size_of(described.get("image_size"))})


def shared_identity(plan: Plan) -> dict[str, Any]:
    """Return what drivers on several machines must have in common to work on one study; where each finds its data may differ."""
    told = {k: v for k, v in plan.identity().items() if k not in ("data", "storage", "prior", *KEYS)}
    return json.loads(json.dumps({k: v for k, v in told.items() if k != "runtime" or v != LATER[k]}))  # older studies lack it


def write_manifest(
    plan: Plan, run: Path, data_key: str, spec: DataSpec | None = None, recipes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the manifest of the run; space.yaml and manifest.json are written into a new one, an old one must be of the same search.

    Args:
        spec: what the data are, for whoever uses the networks later: names of classes, mean and deviation of values.
        recipes: the default ones, `short` and `full`, which the run keeps.
    """
    path = run / MANIFEST
    if path.exists():
        old = _compare(plan, path, data_key)
        if not (run / SPACE).is_file():
            write(dict(plan.space), run / SPACE)
        _write_baselines(plan, run)
        now = {**{k: v for k, v in old.items() if k != "minutes"}, **_latest(plan)}
        if now != old:
            _write(now, path)
        _write_preprocess(spec, run)
        return now
    write(dict(plan.space), run / SPACE)
    _write_preprocess(spec, run)
    _write_baselines(plan, run)
    for plugin in plan.plugins:
        plugin.copy_to(run / PLUGINS)
    manifest = {
        "id": uuid4().hex[:12],
        **({"space_name": plan.name} if plan.name else {}),
        **plan.identity(),
        "trials": plan.trials,
        "data_key": data_key,
        "data_spec": None if spec is None else {"inputs": dict(spec.inputs), "targets": {k: asdict(t) for k, t in spec.targets.items()}},
        **_latest(plan),
        **({} if recipes is None else {"recipes": json.loads(json.dumps(recipes))}),
        "versions": _versions(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "commit": _commit(),
    }
    _write(manifest, path)
    return manifest


def _latest(plan: Plan) -> dict[str, Any]:
    """What of a plan may be another each time that a run goes on; a manifest has it as the last command said it."""
    told = {
        "baselines": sorted(plan.baselines),
        "finalists": plan.finalists,
        "final_seeds": plan.final_seeds,
        "final_recipe": dict(plan.final_recipe),
        "control": plan.control,
        **({} if plan.minutes is None else {"minutes": plan.minutes}),
        "device": plan.device,
        **({} if plan.storage is None else {"storage_url": without_password(plan.storage)}),
        **({"command": {**plan.command}} if plan.command else {}),
        **({"given_in": str(Path.cwd())} if plan.command or plan.storage else {}),
    }
    return json.loads(json.dumps(told))


def _write_baselines(plan: Plan, run: Path) -> None:
    """Baselines as they are compared with: a run can go on with them when their files are gone."""
    for name, arch in plan.baselines.items():
        write(arch, run / BASELINES / f"{name}.yaml")


def _write_preprocess(spec: DataSpec | None, run: Path) -> None:
    """What lies between files and the networks of the run; a run that was begun before this was kept gets it when it goes on."""
    if spec is not None and not (run / FILE).exists():
        write_preprocess(spec.preprocess, run)


def _write(manifest: Mapping[str, Any], path: Path) -> None:
    write_whole(path, json.dumps(manifest, indent=1))


def note_study(run: Path, manifest: Mapping[str, Any], prefix: str, owner: str) -> None:
    """Write into a manifest which studies are the run's: what their names begin with, and the id of the run that made them."""
    _write({**manifest, "study": {"prefix": prefix, "owner": owner}}, run / MANIFEST)


def check_owner(study: Any, manifest: Mapping[str, Any], run: Path) -> None:
    """Raise UserError where a study is of another run than the one that a manifest has noted."""
    noted = manifest.get("study")
    owner, wanted = study.user_attrs.get("run"), noted.get("owner") if isinstance(noted, Mapping) else None
    if None not in (owner, wanted) and owner != wanted:
        raise UserError(
            f"{run}: its storage holds the study {study.study_name!r} of another run ({owner}, not {wanted}); give the storage in "
            "which this run began, or another --run"
        )


def moved(summary: Any, run: Path) -> Any:
    """Return a summary with its paths as they are now: a folder may be elsewhere than when it was written."""
    if not isinstance(summary, dict):
        return summary

    def here(part: Any) -> Any:
        if isinstance(part, list):
            return [here(one) for one in part]
        if isinstance(part, dict) and isinstance(part.get("arch"), str):
            return {**part, "arch": str(run / "finalists" / Path(part["arch"]).name)}
        return part

    return {**{name: here(part) for name, part in summary.items()}, "run": str(run)}


def _versions() -> dict[str, str]:
    out = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
    return out


def other_versions(manifest: Mapping[str, Any]) -> str:
    """Return in words which packages were others when a run began; nothing where none was."""
    then, now = manifest.get("versions"), _versions()
    known = then if isinstance(then, Mapping) else {}
    changed = [f"{name} {known[name]} (now {now.get(name)})" for name in PACKAGES if name in known and known[name] != now.get(name)]
    return f"began with {', '.join(changed)}: results may differ from those of one version" if changed else ""


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run. Raises UserError where there is none, or where plugins of the run are not loaded."""
    check_folder(run)
    try:
        manifest = parsed_file(run / MANIFEST)
    except (OSError, ValueError) as error:
        raise UserError(f"{run / MANIFEST}: cannot be read ({error}); is {run} the folder of a search?") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{run / MANIFEST}: must hold an object, got {type(manifest).__name__}; restore it from a copy")
    for name, kind in {**NEEDED, **KNOWN}.items():
        if name in manifest and not fits(manifest[name], kind):
            raise UserError(f"{run / MANIFEST}: {name} must be {spell(kind)}, got {manifest[name]!r:.40}; restore the file from a copy")
    if isinstance(plugins := manifest.get("plugins"), dict):
        check_loaded(plugins, run / PLUGINS)
    return manifest


def plan_from(run: Path, manifest: Mapping[str, Any]) -> Plan:
    """Return the plan of the trials of a run; of its finals and of how it was carried out it knows nothing.

    Raises UserError for a manifest that lacks a part of it.
    """
    try:
        objectives = tuple(parse_objectives(",".join(manifest["objectives"])))
        return Plan(
            space=read(run / SPACE), data=source_from(manifest["data"]), objectives=objectives,
            limits=tuple(map(parse_limit, manifest["constraints"])), strategy=manifest["strategy"], evaluator=manifest["evaluator"],
            scheduler=manifest["pruner"], fidelity=manifest.get("fidelity", "epochs"), trials=int(manifest["trials"]),
            seed=int(manifest["seed"]), recipe=dict(manifest["recipe"]), device=str(manifest.get("device", "cpu")),
            prior=tuple(manifest.get("prior", ())), scores=tuple(manifest.get("scores", ())),
            measures=bool(manifest.get("measures")), runtime=str(manifest.get("runtime", "eager")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{run}: its manifest lacks what a plan needs ({type(error).__name__}: {error})") from None


def _compare(plan: Plan, path: Path, data_key: str) -> dict[str, Any]:
    """The manifest of a run. Raise UserError where it is of another search."""
    old, new = read_manifest(path.parent), {**json.loads(json.dumps(plan.identity())), "data_key": data_key}
    if not isinstance(old.get("id"), str):
        raise UserError(f"{path}: id must be a word, got {old.get('id')!r:.40}; restore the file from a copy")
    passed = {"plugins", "measures", *(paths if key in old else key for key, paths in KEYS.items())}  # of these, `old` knows
    changed = [k for k in new if k not in passed and _fixed(k, old.get(k, LATER.get(k))) != _fixed(k, new[k])]
    if changed:
        what = "; ".join(f"{k} was {old.get(k)!r}, is {new[k]!r}" for k in changed)
        raise UserError(f"{path.parent}: holds another search ({what}); give the same command to go on with it, or another --run")
    return old


def _fixed(name: str, value: Any) -> Any:
    """What of an entry of a manifest must stay: of data the key says what they are, wherever they lie; code may run if asked each time."""
    return {k: v for k, v in value.items() if k not in ("spec", "allow_code")} if name == "data" and isinstance(value, dict) else value


def _commit() -> str | None:
    """The git commit of nasforge, where it runs from a clone."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
