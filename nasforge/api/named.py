"""Architectures and spaces by the names that users give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.errors import UserError, nearest
from nasforge.files import parsed_file
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import check_there, find_space, read, space_names
from nasforge.spaces.space import Space

MOST_DIGITS = 12  # of the number of a trial
Network = str | Path | Mapping[str, Any]  # a documented network, a file, RUN:NAME, RUN:NUMBER; or an architecture as data


def arch_named(name: str) -> Arch:
    """Return the architecture that ARCH means on the command line: zoo name, file, RUN, RUN:NAME or RUN:NUMBER, folder of a training."""
    return arch_and_weights(name)[0]


def arch_of(network: Network) -> tuple[str, Arch]:
    """Return the name and the data of an architecture that is named or given. Raise UserError where something is open in it."""
    if isinstance(network, str | Path):
        return str(network), arch_named(str(network))
    if not isinstance(network, Mapping):
        got = type(network).__name__
        raise UserError(f"network: must be a name, a file or an architecture as data, got {got}; of a run give run.best.arch")
    name = str(network.get("name") or "network")
    return name, _closed(name, network)


def arch_and_weights(name: str) -> tuple[Arch, Path | None]:
    """Return the architecture, and its weights where a run has them."""
    folder, _, which = name.rpartition(":")
    run = Path(folder or name)
    if (run / "manifest.json").is_file():
        return _from_run(run, which if folder else "")
    if Path(name).is_dir() and (Path(name) / "arch.yaml").is_file():
        return _trained(Path(name))
    if folder and not Path(name).is_file():
        raise UserError(f"{name}: {folder} is no folder of a search (manifest.json is missing); RUN:NAME and RUN:NUMBER are of one")
    if not Path(name).is_file():
        try:
            return zoo.load(name), None
        except UserError:
            check_there(name)
            raise

    return _closed(name, read(name)), None


def _closed(name: str, arch: Mapping[str, Any]) -> Arch:
    """The architecture with its `let` filled in. Raise UserError where a choice is open."""

    def refuse(domain: Any) -> Any:
        raise UserError(f"{name}: {domain.name} is open ({domain}); an architecture has nothing open: search it, or choose a value")

    return Space(dict(arch)).draw(refuse)[0]


def _trained(folder: Path) -> tuple[Arch, Path | None]:
    """The network of a training, and its weights where it has ended."""
    weights = folder / "model.safetensors"
    return _closed(str(folder), read(folder / "arch.yaml")), weights if weights.is_file() else None


def _from_run(run: Path, which: str) -> tuple[Arch, Path | None]:
    """A finalist or trial of a run; the winner where nothing is named."""
    from nasforge.search.plan import read_manifest

    read_manifest(run)  # says which plugins are missing
    folder = run / "finalists"
    have = {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    if which.isascii() and which.isdigit() and len(which) < MOST_DIGITS:
        return _trial(run, int(which)), None
    if not which:
        try:
            which = str(parsed_file(run / "summary.json")["best"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{run}: the search has no winner yet; let it end, or name a trial as {run}:NUMBER") from None
    if which not in have:
        raise UserError(f"{run}: has no finalist {which!r}; {nearest(which, have)}")
    weights = folder / f"{which}.safetensors"
    return read(have[which]), weights if weights.exists() else None


def _trial(run: Path, number: int) -> Arch:
    """The architecture of a trial, drawn again from the choices in the run's study."""
    from nasforge.search.study import studies_of

    study = studies_of(run)("search")
    trials = study.get_trials(deepcopy=False) if study is not None else []
    if number >= len(trials):
        raise UserError(f"{run}:{number}: the search has the trials 0 to {len(trials) - 1}")
    return Space(read(run / "space.yaml")).draw(replay(trials[number].params))[0]


def is_space(what: Network) -> bool:
    """Return whether something is open in what a name, a file or data describe."""
    if isinstance(what, Mapping):
        return bool(list(Space(dict(what)).domains()))
    if not isinstance(what, str | Path):
        return False
    if Path(what).is_file():
        return bool(list(Space(space_named(str(what))).domains()))
    return str(what) in space_names() and str(what) not in zoo.names()


def space_named(name: str) -> dict[str, Any]:
    """Return the data of a space by name or file."""
    return read(find_space(name))
