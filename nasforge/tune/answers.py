"""What came of the networks of a run, in files by their keys: whoever is given one of them again has its answer at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasforge.files import write_whole


def answer_of(run: str | Path, key: str) -> dict[str, Any] | None:
    """Return what is known of a network: `rows` of its curve, `metrics`, and why it was `stopped` early (None: it was not)."""
    file = _file(run, key)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def keep_answer(run: str | Path, key: str, rows: Sequence[Mapping[str, float]], metrics: Mapping[str, float], stopped: str | None) -> None:
    """Write what came of a network."""
    _file(run, key).parent.mkdir(parents=True, exist_ok=True)
    write_whole(_file(run, key), json.dumps({"rows": list(rows), "metrics": dict(metrics), "stopped": stopped}))


def _file(run: str | Path, key: str) -> Path:
    return Path(run) / "answers" / f"{key}.json"
