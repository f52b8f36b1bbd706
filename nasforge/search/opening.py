"""What a search has read and is about to do, in a few lines: data, space, limits with where they come from, objective, recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasforge.data import Dataset, Target
from nasforge.objectives.objective import Objective, limits_of, parse_objectives
from nasforge.search.plan import Plan
from nasforge.search.within import OF_SPACE, origin
from nasforge.spaces.space import Space
from nasforge.tasks import Task, task_of
from nasforge.train import default_recipe

MOST_NAMED = 6  # classes that are counted one by one
WORDS = ("epochs", "batch_size", "optimizer", "lr", "schedule", "augment")  # of a recipe, that are told


def opening(plan: Plan, raw: Mapping[str, Any], data: Dataset) -> list[str]:
    """Return the lines, each `name   text`. raw: the space as its file has it, before it was fitted to the data."""
    task = task_of(data.spec, data.name)
    rows = [
        ("data", f"{data.name}: {_sizes(data)}"),
        *(("targets" if len(data.spec.targets) > 1 else "target", _target(name, one)) for name, one in data.spec.targets.items()),
        ("input", _input(data)),
        ("columns", "; ".join(note for note in data.spec.notes if " empty cell" in note)),
        ("task", f"{task.name}, judged by {task.main.name} on val; test is read once, at the end"),
        ("space", f"{raw.get('name') or plan.name or 'given'}: {_many(Space(plan.space).size())} networks{_made_for(raw, data)}"),
        ("limits", _limits(plan, raw, data)),
        ("objective", _objectives(plan, raw)),
    ]
    timed = plan.minutes is not None
    if plan.evaluator == "train":
        rows.append(("recipe", _recipe(task, data, plan.recipe, timed)))
        rows.append(("final recipe", _recipe(task, data, plan.final_recipe, timed, full=True)))
    return [f"{name:<12}  {text}" for name, text in rows if text]


def _sizes(data: Dataset) -> str:
    return ", ".join(f"{data.size(part):,} {part}" for part in ("train", "val", "test") if data.size(part))


def _target(name: str, target: Target) -> str:
    """`label: 10 classes, 132 to 138 training samples each`."""
    if target.kind == "value":
        which = f": {', '.join(target.names)}" if 0 < len(target.names) <= MOST_NAMED else ""
        return f"{name}: {target.size} value{'s' * (target.size > 1)}{which}"
    counts, things = target.counts, "labels" if target.kind == "labels" else "classes"
    named = target.names or tuple(map(str, range(target.size)))
    if counts and len(counts) <= MOST_NAMED:
        return f"{name}: {target.size} {things}: " + ", ".join(f"{n} {c:,}" for n, c in zip(named, counts, strict=True))
    spread = f", {min(counts):,} to {max(counts):,} training samples each" if counts else ""
    some = f" ({', '.join(named[:3])} ... {named[-1]})" if target.names else ""
    return f"{name}: {target.size} {things}{some}{spread}"


def _input(data: Dataset) -> str:
    one = data.spec.input
    return "x".join(map(str, one)) if isinstance(one, list | tuple) else str(one)


def _made_for(raw: Mapping[str, Any], data: Dataset) -> str:
    own = raw.get("input")
    return f", written for {'x'.join(map(str, own))}" if isinstance(own, list | tuple) and list(own) != list(data.spec.input) else ""


def _limits(plan: Plan, raw: Mapping[str, Any], data: Dataset) -> str:
    """Each limit with where it comes from; of the space's own what it was meant for."""
    out = []
    for limit in plan.limits:
        whose = origin(limit, plan.space)
        meant = _made_for(raw, data) if whose == OF_SPACE and limit.metric == "macs" else ""
        lift = "; --constraint none lifts it" if whose == OF_SPACE else ""
        out.append(f"{limit.metric}{'<' if limit.upper else '>'}{'' if limit.strict else '='}{limit.bound:,.15g} ({whose}{meant}{lift})")
    left = [str(limit) for limit in limits_of(raw.get("constraints")) if limit not in plan.limits]
    note = f"; not the space's own {' and '.join(left)}" if left else ""
    return (", ".join(out) or "none") + note


def _objectives(plan: Plan, raw: Mapping[str, Any]) -> str:
    """What is wanted, the main one first, and who says so."""
    said, own = plan.command.get("objective"), (raw.get("search") or {}).get("objective")
    of_space = own is not None and list(plan.objectives) == parse_objectives(own)
    whose = "--objective" if said else f"{OF_SPACE}; --objective gives another" if of_space else "the default; --objective gives another"
    return f"{', '.join(f'{_wish(o)} {o.metric}' for o in plan.objectives)} ({whose})"


def _wish(objective: Objective) -> str:
    return "high" if objective.maximize else "low"


def _recipe(task: Task, data: Dataset, given: Mapping[str, Any], timed: bool, full: bool = False) -> str:
    recipe = {**default_recipe(task, data, full).to_dict(), **given}
    if timed and full:
        recipe["epochs"] = "as the time allows"
    words = [f"{name} {_plain(recipe[name])}" for name in WORDS if recipe.get(name)]
    return ", ".join(words)


def _plain(value: Any) -> str:
    return " ".join(f"{k} {v:g}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _many(size: float) -> str:
    return f"{size:,.0f}" if size < 1e7 else "endlessly many" if size == float("inf") else f"{size:.2g}"
