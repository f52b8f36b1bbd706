"""The searchers of Ray Tune as strategies: each asks a library for its next point, and is told all that the study has seen.

A searcher is made anew for each ask, from the history and a seed: it is given the points of the finished trials and their values, in
order, and then asked for one more. So it depends on nothing but the study, and a search that was killed asks what it would have asked. It
costs time that grows with the trials. What is repeated or breaks a limit never reaches a worker: the search answers it.

HyperOpt and BOHB get the conditions of a space too (a parameter that is asked only under a choice); the others get all parameters at once,
and what they say of those that are not asked is left out. Several objectives become one: how many trials dominate a trial, plus the share
of the largest that its first objective has.
"""

from __future__ import annotations

import contextlib
import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasforge.errors import UserError
from nasforge.objectives.objective import Losses
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.domains import Branch, Const, Each, Fork, Ref, Tree
from nasforge.spaces.flat import FlatSpace, Parameter
from nasforge.spaces.space import Choices, Space, depths_of
from nasforge.strategies.base import History, Problem, Propose, TrialKind
from nasforge.strategies.schedulers import ranks

VALUE = "loss"
MODE: dict[str, Any] = {"metric": VALUE, "mode": "min"}
Make = Callable[[FlatSpace, list[dict[str, Any]], int, Problem], Any]  # (space, points, seed, problem) -> a searcher


def driven(name: str, problem: Problem) -> Propose:
    """Return the strategy that asks the searcher `name` of Ray Tune.

    Raises:
        UserError: Ray Tune or the library is not installed, or the searcher cannot take the space.
    """
    made = SEARCHERS[name]
    with _quiet(), _told_what_is_missing(name):
        made.make(FlatSpace(problem.space), [], problem.seed, problem)

    def propose(history: History, rng: random.Random) -> Choices:
        flat, seed = FlatSpace(problem.space), rng.randrange(2**31)
        known = [trial for trial in history.trials if trial.kind in (TrialKind.FINISHED, TrialKind.INFEASIBLE) and trial.choices]
        values = _values([trial.losses if trial in history.finished else None for trial in known])
        points = [flat.places(trial.choices, dead=not made.conditions) for trial in known]
        first = [i for i, point in enumerate(points) if point not in points[:i]]  # some take no point twice
        points, values = [points[i] for i in first], [values[i] for i in first]
        with _quiet(), _seeded(seed):
            searcher = made.make(flat, [dict(point) for point in points], seed, problem)
            for number, (point, value) in enumerate(zip(points, values, strict=True)):
                made.tell(searcher, str(number), point, value)
            found = searcher.suggest("next")
        asked = flat.choices(flattened(found)) if isinstance(found, Mapping) else {}
        return problem.space.draw(replay(asked, random_chooser(rng)))[1]

    return propose


def _values(losses: Sequence[Losses | None]) -> list[float]:
    """One number for each trial, smaller is better; a trial without losses gets one that is worse than all."""
    told = [one for one in losses if one is not None]
    if told and len(told[0]) > 1:
        most = max(abs(one[0]) for one in told) or 1.0
        numbers = iter([rank + one[0] / most for rank, one in zip(ranks(told), told, strict=True)])
    else:
        numbers = iter([one[0] for one in told])
    found = [None if one is None else next(numbers) for one in losses]
    known = [one for one in found if one is not None]
    worst = max(known) + (max(known) - min(known)) if known else 1.0
    return [worst if one is None else one for one in found]


def flattened(found: Any) -> dict[str, Any]:
    """The numbers by short names in what a searcher suggests: flat, or nested as `_tree` has it."""
    out: dict[str, Any] = {}
    if isinstance(found, Mapping):
        for name, value in found.items():
            if isinstance(value, Mapping) and "place" in value:
                out |= {name: value["place"], **flattened(value["inside"])}
            elif isinstance(value, Mapping | list | tuple):
                out |= flattened(value)
            else:
                out[str(name)] = value
    elif isinstance(found, list | tuple):
        for one in found:
            out |= flattened(one)
    return out


# ---------------------------------------------------------------- a space as the libraries write it


def domains_of_tune(flat: FlatSpace) -> dict[str, Any]:
    """Return the parameters of a space as a search space of Ray Tune, by short names."""
    from ray import tune

    def one(parameter: Parameter) -> Any:
        return tune.uniform(*parameter.ends) if parameter.count is None else tune.choice(list(range(parameter.count)))

    return {name: one(parameter) for name, parameter in flat.by_name.items()}


def numbers_of_tune(flat: FlatSpace) -> dict[str, Any]:
    """Return the parameters of a space as intervals, for those who know no others: an option is the whole part."""
    from ray import tune

    ends = {name: one.ends if one.count is None else (0, one.count - 1e-6) for name, one in flat.by_name.items()}
    return {name: tune.uniform(low, high if high > low else low + 1e-6) for name, (low, high) in ends.items()}


def space_of_hyperopt(flat: FlatSpace) -> dict[str, Any]:
    """Return a space in the form of HyperOpt: nested choices, so that what is not chosen has no parameters."""
    from hyperopt import hp

    made: dict[str, Any] = {}

    def parameter(one: Parameter, options: Sequence[Any] | None = None) -> Any:
        if one.name not in made:
            if one.count is None:
                made[one.name] = hp.uniform(one.name, *one.ends)
            else:
                made[one.name] = hp.choice(one.name, list(options if options is not None else range(one.count)))
        return made[one.name]

    return {"space": _tree(flat.space.root, flat, flat.space, parameter)}


def _tree(node: Tree, flat: FlatSpace, space: Space, parameter: Callable[..., Any]) -> Any:
    """A tree of dictionaries and lists with the parameters where they are asked; parts without any are left out."""
    inner = lambda other: _tree(other, flat, space, parameter)  # noqa: E731
    match node:
        case Fork(domain, options):
            one, parts = flat.parameters[domain.name], [inner(option) for option in options.values()]
            nested = [{"place": i, "inside": part} for i, part in enumerate(parts)] if any(parts) else None
            return {one.name: parameter(one, nested)}
        case Ref(name):
            return inner(space.lets[name])
        case Branch(parts):
            found = [inner(part) for part in (parts.values() if isinstance(parts, Mapping) else parts)]
            return [part for part in found if part]
        case Each(rest, depth, block, where):
            depths = depths_of(depth, where, space.lets)
            repeats = [inner(block(i)) for i in range(max(depths))]
            plain = isinstance(depth, Fork) and not any(inner(option) for option in depth.options.values())
            if plain and any(repeats):
                one = flat.parameters[depth.domain.name]  # type: ignore[union-attr]
                counts = [one.value(place) for place in range(one.count or 0)]
                shared = [{"place": i, "inside": repeats[: int(count or 0)]} for i, count in enumerate(counts)]
                drawn: Any = {one.name: parameter(one, shared)}
            else:
                drawn = [inner(depth), *repeats]
            return [part for part in (inner(Branch(rest)), drawn) if part]
        case Const():
            return []
    raise AssertionError(node)


def space_of_configspace(flat: FlatSpace) -> Any:
    """Return a space in the form of ConfigSpace: a parameter counts where one that it stands under has one of some values."""
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Constant, InCondition, OrConjunction, UniformFloatHyperparameter

    def one(parameter: Parameter) -> Any:
        count = parameter.count
        if count is None:
            return UniformFloatHyperparameter(parameter.name, *parameter.ends)
        return CategoricalHyperparameter(parameter.name, list(range(count))) if count > 1 else Constant(parameter.name, 0)

    out, made = ConfigurationSpace(), {name: one(parameter) for name, parameter in flat.by_name.items()}
    out.add(*made.values())
    for parameter in flat.parameters.values():
        under: dict[str, set[int | float]] = {}
        for term in () if parameter.always else parameter.when:
            parent = flat.parameters[term[-1][0]]
            under.setdefault(parent.name, set()).update(parent.place(value) for value in term[-1][1])
        own, parents = made[parameter.name], [(made[name], sorted(places)) for name, places in under.items()]
        conditions = [InCondition(own, parent, places) for parent, places in parents if parent.size > 1]
        if conditions and len(conditions) == len(under):
            out.add(conditions[0] if len(conditions) == 1 else OrConjunction(*conditions))
    return out


# ---------------------------------------------------------------- the searchers


def _told(searcher: Any, trial: str, point: dict[str, Any], value: float) -> None:
    """Let a searcher suggest the next of the points that it was given, and tell it its value."""
    suggested = flattened(searcher.suggest(trial))
    if suggested.keys() != point.keys() or any(int(suggested[name]) != int(place) for name, place in point.items()):
        raise RuntimeError(f"{type(searcher).__name__} suggests other points than those that it was given; has its version changed?")
    row = {VALUE: value, "training_iteration": 1, "hyperband_info": {"budget": 1}}
    searcher.on_trial_result(trial, row)
    searcher.on_trial_complete(trial, row)


def _told_zoopt(searcher: Any, trial: str, point: dict[str, Any], value: float) -> None:
    """ZOOpt takes points that it has not suggested, in the places of those that it does."""
    from zoopt import Solution

    if searcher.optimizer.suggest() is None:  # once, between its first points and the others
        searcher.optimizer.suggest()
    searcher.optimizer.complete(Solution(x=[point[name] for name in searcher._dim_keys]), value)


@dataclass(frozen=True)
class Driven:
    """A searcher. package: that it needs. conditions: whether it takes only what is asked. tell: gives it a point with its value."""

    make: Make
    package: str
    conditions: bool = False
    tell: Callable[[Any, str, dict[str, Any], float], None] = _told


def _asking(searcher: Any, config: Mapping[str, Any]) -> Any:
    searcher.set_search_properties(VALUE, "min", dict(config))
    return searcher


def _hyperopt(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.hyperopt import HyperOptSearch

    searcher: Any = HyperOptSearch(space_of_hyperopt(flat), points_to_evaluate=points or None, random_state_seed=seed, **MODE)
    for trial in searcher._hpopt_trials.trials:  # points that leave parameters out are written here as HyperOpt writes its own
        for name in searcher.domain.params:
            trial["misc"]["idxs"].setdefault(name, [])
            trial["misc"]["vals"].setdefault(name, [])
    return searcher


def _bohb(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.bohb import TuneBOHB

    return TuneBOHB(space_of_configspace(flat), points_to_evaluate=points or None, seed=seed, **MODE)


def _ax(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.ax import AxSearch

    searcher = AxSearch(points_to_evaluate=points or None, random_seed=seed % 2**31, verbose_logging=False, **MODE)
    return _asking(searcher, domains_of_tune(flat))


def _nevergrad(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    import nevergrad
    from ray.tune.search.nevergrad import NevergradSearch

    searcher = NevergradSearch(nevergrad.optimizers.NGOpt, {"budget": problem.trials}, points_to_evaluate=points or None, **MODE)
    asked = _asking(searcher, domains_of_tune(flat))
    asked._nevergrad_opt.parametrization.random_state = np.random.RandomState(seed % 2**32)
    return asked


def _bayesopt(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.bayesopt import BayesOptSearch

    middle = [{name: place if flat.by_name[name].count is None else place + 0.5 for name, place in point.items()} for point in points]
    searcher = BayesOptSearch(points_to_evaluate=middle or None, random_state=seed % 2**31, skip_duplicate=False, patience=10**9, **MODE)
    return _asking(searcher, numbers_of_tune(flat))


def _optuna(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    return _asking(OptunaSearch(points_to_evaluate=points or None, seed=seed % 2**31, **MODE), domains_of_tune(flat))


def _zoopt(flat: FlatSpace, points: list[dict[str, Any]], seed: int, problem: Problem) -> Any:
    from ray.tune.search.zoopt import ZOOptSearch

    return _asking(ZOOptSearch(budget=max(problem.trials, len(points) + 1), parallel_num=10**6, **MODE), domains_of_tune(flat))


SEARCHERS: dict[str, Driven] = {
    "hyperopt": Driven(_hyperopt, "hyperopt", conditions=True),
    "bohb": Driven(_bohb, "hpbandster ConfigSpace", conditions=True),
    "ax": Driven(_ax, "'ax-platform<1.2'"),
    "nevergrad": Driven(_nevergrad, "nevergrad"),
    "bayesopt": Driven(_bayesopt, "'bayesian-optimization<2'"),
    "optuna": Driven(_optuna, "optuna"),
    "zoopt": Driven(_zoopt, "zoopt", tell=_told_zoopt),
}


@contextlib.contextmanager
def _told_what_is_missing(name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of another version, libraries raise anything
        package, why = SEARCHERS[name].package, next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise UserError(
            f"--strategy tune:{name}: needs Ray Tune and {package}, one of which is not installed or of another version ({why}); "
            f"pip install 'nasforge[tune]' {package}"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the libraries."""
    loggers = [logging.getLogger(name) for name in ("hyperopt", "ax", "ray.tune", "nevergrad", "hpbandster", "zoopt", "optuna")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Some libraries draw from the random numbers that all share: seeded here, and put back after."""
    before, numbers = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numbers)
