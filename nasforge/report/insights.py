"""What can be learnt from the trials: which domains mattered, and what good networks have in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.networks.build import Text, opened
from nasforge.report.format import word
from nasforge.report.run import Run
from nasforge.search import study
from nasforge.search.records import TrialRecord
from nasforge.spaces.arch import SECTIONS, WIRES, Arch, Node, chain, split

MOST_VALUES = 12  # of a domain; of more, each would be drawn too rarely to tell
FEWEST = 10  # finished trials below which importances would be noise


@dataclass(frozen=True)
class Importance:
    """How much the value of a domain mattered: its share of 1, and how many of the finished trials drew it."""

    name: str
    share: float
    drawn: int
    finished: int


def importances(run: Run) -> tuple[list[Importance], str]:
    """Return the domains by importance for reaching the best values of the main objective, or the reason why there are none."""
    finished = {r.number for r in run.search.records.values() if r.kind == "finished"}  # a duplicate is complete too
    trials = [t for t in study.complete(run.search.study) if t.number in finished and t.params]
    if len(trials) < FEWEST:
        return [], f"needs at least {FEWEST} finished trials, there are {len(trials)}"
    if len({t.values[0] for t in trials}) < 2:
        return [], "all finished trials have the same score"
    sign = -1.0 if run.first.maximize else 1.0
    found = study.importances(run.search.study, trials, lambda t: sign * t.values[0], min(0.4, max(0.1, 10 / len(trials))))
    total = sum(found.values())
    if not total or not math.isfinite(total):
        return [], "no domain stands out"
    drawn = Counter(name for t in trials for name in t.params)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [Importance(name, share / total, drawn[name], len(trials)) for name, share in ordered], ""


# ---------------------------------------------------------------- what good networks have in common


@dataclass(frozen=True)
class Share:
    """One thing that networks can have: the share of the good networks and of all trained ones that have it."""

    name: str
    good: float
    all: float

    @property
    def lead(self) -> float:
        """How much more frequent it is among the good ones."""
        return self.good - self.all


def trained(run: Run) -> list[TrialRecord]:
    """Return the trials of the search that were trained, whole or in part."""
    return [r for r in run.search.records.values() if r.kind in ("finished", "pruned") and r.choices]


def good(run: Run) -> tuple[list[TrialRecord], str]:
    """Return the networks to learn from, and what they are: the front, or, where it is small, the best quarter of all."""
    front = [r for r in run.search.front() if r.choices]
    if len(front) >= 4:
        return front, "on the front"
    done = [r for r in run.search.finished() if r.choices]
    done.sort(key=lambda r: r.metrics[run.first.metric], reverse=run.first.maximize)
    best = done[: max(4, len(done) // 4)] if len(done) >= FEWEST else []
    return best, f"with the {'best' if run.first.maximize else 'lowest'} {word(run.first.metric)}"


def operator_shares(run: Run) -> list[Share]:
    """Return how many networks have an operator, of the good ones and of all; the most telling first."""
    have = {r.number: set(operators(run.arch(r))) for r in trained(run)}
    best = [have[r.number] for r in good(run)[0]]
    if not best:
        return []
    names = sorted({name for one in have.values() for name in one})
    out = [Share(n, sum(n in one for one in best) / len(best), sum(n in one for one in have.values()) / len(have)) for n in names]
    return sorted(out, key=lambda s: (-abs(s.lead), s.name))


def choice_shares(run: Run) -> list[Share]:
    """Return the values that good networks draw more often than all do, of domains that most of them are asked.

    Shares are of the networks where the domain was asked; the most telling first.
    """
    best = {r.number for r in good(run)[0]}
    asked, drew = Counter[tuple[bool, str]](), Counter[tuple[bool, str, Any]]()
    for record in trained(run):
        for group in {False, record.number in best}:
            asked.update((group, name) for name in record.choices)
            drew.update((group, name, value) for name, value in record.choices.items())
    values = Counter(name for group, name, _ in drew if not group)
    out = []
    for (group, name, value), count in drew.items():
        if not group and 2 * asked[True, name] >= len(best) > 0 and values[name] <= MOST_VALUES:
            out.append(Share(f"{name} = {value}", drew[True, name, value] / asked[True, name], count / asked[False, name]))
    return sorted((s for s in out if s.lead > 0), key=lambda s: (-s.lead, s.name))


def operators(arch: Arch) -> Iterator[str]:
    """Return the layers of an architecture in words, motifs opened: `conv 3×3`, `avg pool`; also shortcuts and joins."""
    shape = arch.get("input")
    axes = max(1, len(shape) - 1) if isinstance(shape, list | tuple) else 1
    lines = [node for section in SECTIONS for node in chain(arch.get(section))] + list((arch.get("heads") or {}).values())
    for node in lines:
        bare = {k: v for k, v in node.items() if k not in WIRES} if isinstance(node, dict) else node
        yield from _operators(Text(bare, "block"), axes)


@lru_cache(maxsize=100_000)
def _operators(text: Text, axes: int) -> tuple[str, ...]:
    return tuple(name for node in opened(text.data()) for name in _words(node, axes))


def _words(node: Node, axes: int) -> Iterator[str]:
    name, args, _ = split(node)
    block = BLOCKS.get(name)
    if block is None or block.kind == "layer":
        yield layer_word(name, args, axes)
    else:
        joined = f"branches joined by {args.get('join', 'concat')}"
        yield {"residual": "shortcut", "residual_unit": "shortcut", "parallel": joined}.get(name, name)
    for value in args.values():
        for inner in _nodes(value):
            yield from _words(inner, axes)


def _nodes(value: Any) -> Iterator[Node]:
    """The blocks anywhere inside an argument."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in BLOCKS:
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _nodes(part)


def layer_word(name: str, args: dict[str, Any], axes: int) -> str:
    """Return a layer in words that leave its width out; `axes` is the number of axes that a kernel has here."""
    params = BLOCKS[name].params if name in BLOCKS else {}
    full = {k: p.default for k, p in params.items() if p.default is not ...} | args
    kind = full["kind"] if name in ("pool", "norm", "act") and isinstance(full.get("kind"), str) else ""
    groups, dilation = full.get("groups"), full.get("dilation")
    how = "depthwise" if groups == "depthwise" else "grouped" if "conv" in name and isinstance(groups, int) and groups > 1 else ""
    wide = "dilated" if isinstance(dilation, int) and dilation > 1 else ""
    noun = "" if name == "act" else name
    return " ".join(w for w in (kind, wide, how, noun, kernel_word(full.get("kernel"), axes)) if w)


def kernel_word(kernel: Any, axes: int) -> str:
    """Return '3×3' of a kernel size, nothing where there is none."""
    if isinstance(kernel, int) and not isinstance(kernel, bool):
        return "×".join([str(kernel)] * axes)
    return "×".join(map(str, kernel)) if isinstance(kernel, list | tuple) and kernel else ""
