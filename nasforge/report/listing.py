"""The runs in a folder, one row each, from `manifest.json`, `summary.json` and the look of the journal; whatever is broken is a row too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.files import content, parsed_file
from nasforge.report.format import clock, score, short
from nasforge.storage.lock import is_driven

MANIFEST, SUMMARY, RESULT, JOURNAL = "manifest.json", "summary.json", "result.json", "study.journal"
SUMMARIZED = b'"user_attr":{"summary":'  # in the line of a journal with which a search ends
ENDED = ("finished", "pruned", "failed")  # trials that count against the asked number
Entry = dict[str, Any]
HEAD = ("run", "state", "data", "space", "strategy", "trials", "best", "params", "time", "age", "")


def listed(folder: Path) -> list[Entry]:
    """Return the runs in a folder, or the one that it is, the latest first.

    Each has name, run (its path), state (`finished`, `unfinished`, `running`, `damaged`), reason (of a damaged one), data, space, strategy
    (`train` of a single training), trials, asked, metric, score (on test, where there is one; else on val), part, params, seconds, age_s
    (since its files changed); None where something is not known.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: must be a folder with runs, got {'a file' if folder.exists() else 'nothing there'}; "
                        "runs of a search lie in runs/, or where its --run says")  # fmt: skip
    try:
        inside = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if path.is_dir() and _is_run(path))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error}); give another folder") from None
    return sorted((_entry(path) for path in inside), key=lambda one: one["age_s"])


def _is_run(path: Path) -> bool:
    try:
        return any((path / name).exists() for name in (MANIFEST, SUMMARY, JOURNAL, RESULT))
    except OSError:  # it may not be looked into
        return True


def _entry(path: Path) -> Entry:
    """One run; what cannot be understood makes it a damaged one."""
    entry: Entry = {"name": path.resolve().name, "run": str(path), "state": "damaged", "reason": None}
    entry |= dict.fromkeys(("data", "space", "strategy", "trials", "asked", "metric", "score", "part", "params", "seconds"))
    entry["age_s"] = _age(path)
    try:
        found = _training(path) if (path / RESULT).exists() and not (path / MANIFEST).exists() else _search(path, entry)
        return {**entry, **found}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = f"{Path(error.filename).name}: " if isinstance(error, OSError) and error.filename else ""
        return {**entry, "state": "damaged", "reason": f"{where}{reason}"}
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        return {**entry, "state": "damaged", "reason": f"a file lacks what every run has ({type(error).__name__}: {error})"}


def _age(path: Path) -> float:
    changed = []
    for name in (MANIFEST, SUMMARY, JOURNAL, RESULT):
        try:
            changed.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(0.0, round(time.time() - max(changed), 1)) if changed else 0.0


def _search(path: Path, entry: Entry) -> Entry:
    """What of a search is known; `entry` is filled in as far as the files can be read."""
    told = _object(path / MANIFEST)
    entry |= {"data": str(told["data"]["spec"]), "space": told.get("space_name"), "strategy": str(told["strategy"])}
    entry["asked"] = None if told.get("minutes") else told.get("trials")
    if (path / SUMMARY).exists():
        summary = _object(path / SUMMARY)
        entry |= {"trials": sum(int(summary[kind]) for kind in ENDED), "asked": summary["asked"]}
        entry["seconds"] = (summary.get("seconds") or {}).get("total")
        entry["state"] = "unfinished" if summary.get("unfinished") else "finished"
        if best := summary["best"]:
            reached, part = (best["val"], "val") if best["test_mean"] is None else (best["test_mean"], "test")
            entry |= {"metric": str(best["metric"]), "score": float(reached), "part": part, "params": int(best["params"])}
    else:
        entry["state"] = "unfinished"
    if is_driven(path):
        return {"state": "running"}
    if told.get("storage", "journal") == "journal":
        _check_journal(path / JOURNAL, entry["state"] == "finished")
    return {}


def _check_journal(path: Path, ended: bool) -> None:
    """Raise ValueError where a journal is damaged, or is cut off before the summary of a search that has ended.

    Lines are looked at from outside alone, which takes a second for a gigabyte; `nasforge report` reads what they say.
    """
    try:
        *lines, rest = content(path).split(b"\n")
    except FileNotFoundError:
        raise ValueError(f"{JOURNAL} is missing") from None
    for number, line in enumerate(lines, 1):
        if not (line.startswith(b'{"op_code":') and line.endswith(b"}")):
            raise ValueError(f"{JOURNAL}: line {number} is no entry of a journal; restore it from a copy")
    if ended and not any(SUMMARIZED in line for line in reversed(lines)):
        cut = f"ends after {len(lines):,} lines" + (" and a part of one" if rest else "")
        raise ValueError(f"{JOURNAL} {cut}, before the summary of the search; restore it from a copy, or run the search once more")


def _training(path: Path) -> Entry:
    """A folder of `nasforge train`."""
    told = _object(path / RESULT)
    tested = told.get("test") or {}
    metric = str(told["metric"]) if "metric" in told else next(iter(tested), None)
    found = {"score": float(tested[metric]), "part": "test"} if metric in tested else {}
    return {
        "state": "finished", "data": str(told["data"]), "space": Path(str(told["arch"])).stem, "strategy": "train", "metric": metric,
        **found, "params": int(told["params"]), "seconds": float(told["seconds"].get("training", 0.0)),
    }  # fmt: skip


def _object(path: Path) -> Mapping[str, Any]:
    try:
        found = parsed_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path.name} holds no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold an object, got {type(found).__name__}")
    return found


def cells(entry: Entry) -> list[str]:
    """Return a run as the cells of a line, under HEAD; what is not known is a dash, and at the end stands what is wrong."""
    best = "-"
    if entry["score"] is not None:
        best = score(entry["metric"], entry["score"]) + (" on val" if entry["part"] == "val" else "")
    trials = "-" if entry["trials"] is None and entry["asked"] is None else f"{_known(entry['trials'])}/{_known(entry['asked'])}"
    if entry["trials"] is not None and entry["asked"] in (None, entry["trials"]):
        trials = str(entry["trials"])
    return [
        entry["name"], entry["state"], _last(entry["data"]), _known(entry["space"]), _known(entry["strategy"]), trials, best,
        "-" if entry["params"] is None else short(entry["params"]), "-" if entry["seconds"] is None else clock(entry["seconds"]),
        age(entry["age_s"]), entry["reason"] or "",
    ]  # fmt: skip


def _known(found: Any) -> str:
    return "-" if found is None else str(found)


def _last(spec: str | None) -> str:
    """Data by the last part of their path, or their last two where that says too little."""
    return "-" if spec is None else Path(spec).name or spec


def age(seconds: float) -> str:
    """Return how long ago something was, in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "now"
