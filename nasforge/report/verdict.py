"""What a run showed, in sentences: the result, and how sure it is. Nothing here is nicer than the numbers."""

from __future__ import annotations

import math

from nasforge.objectives.metrics import COUNTED, metric_or_value
from nasforge.report.answers import answers_of, never_answered
from nasforge.report.format import difference, lower, many, on_test, percent, score, times, value, word
from nasforge.report.noise import smaller_ones, worse_than_in_search
from nasforge.report.run import Row, Run

SURE = 3  # standard errors, beyond which a difference is one of the networks


def title(run: Run) -> str:
    """Return the result in one sentence."""
    best, control = run.best(), run.best_control()
    if run.summary is None:
        return _title_so_far(run)
    if best is None:
        return "No network of this search could be trained to the end and keep all limits"
    name = f"{best['name']}, {many(best['params'], 'parameter')}, reaches"
    if best["test_mean"] is None:
        return f"{name} {score(best['metric'], best['val'])} on validation{lower(best['metric'])}; there are no test data"
    reached = score(best["metric"], best["test_mean"], best["test_std"], len(best["test_seeds"]))
    parts = [f"{name} {reached} on test{lower(best['metric'])}"]
    if control is not None:
        parts.append(f"random search with the same budget {on_test(control)}")
    parts += [f"{row['name']} {on_test(row)}" for row in run.rows("baseline") if row["test_mean"] is not None]
    return "; ".join(parts)


def _title_so_far(run: Run) -> str:
    done, leader = run.trained(run.search), run.leader()
    minutes = run.manifest.get("minutes")
    state = f"Not finished: {f'{done} of ' if not minutes else ''}{many(run.asked, 'trial')} done"
    state += f" in a search of {minutes:g} minutes" if minutes else ""
    if leader is None:
        return f"{state}, and no network yet that was trained to the end and keeps all limits"
    scores = []
    for o in run.objectives:
        note = "" if o.maximize or o.described.is_cost else " (lower is better)"
        scores.append(f"{word(o.metric)} {value(o.metric, leader.metrics[o.metric])}{note}")
    return f"{state}; best so far is trial {leader.number}: {', '.join(scores)} (validation)"


# ---------------------------------------------------------------- how sure that is


def compare(a: Row, b: Row, samples: int = 0) -> str:
    """Return 'better', 'worse', 'alike' or 'unknown': a against b on test, which has so many samples, 0 where that is not known.

    They are alike where they are no further apart than their spread over seeds. One seed does not show that; then a difference is known
    where it is larger than the choice of so many test samples explains.
    """
    ahead = a["test_mean"] - b["test_mean"]
    if _single(a, b) and abs(ahead) <= by_chance(a, b, samples):
        return "unknown"
    if not _single(a, b) and abs(ahead) <= _spread(a, b):
        return "alike"
    return "better" if (ahead > 0) == metric_or_value(a["metric"]).maximize else "worse"


def _single(a: Row, b: Row) -> bool:
    """Whether one of them was trained with one seed only."""
    return min(len(a["test_seeds"]), len(b["test_seeds"])) < 2


def by_chance(a: Row, b: Row, samples: int) -> float:
    """Return how far two shares of right answers are apart by the choice of test samples: 3 binomial standard errors.

    Infinity for other metrics, and where the number of samples is not known.
    """
    if not samples or a["metric"] not in COUNTED:
        return math.inf
    variances = [row["test_mean"] * (1 - row["test_mean"]) / samples for row in (a, b)]
    return SURE * math.sqrt(max(0.0, sum(variances)))


def _samples(run: Run) -> int:
    """Samples of test, 0 where that is not known."""
    return next((sum(one.total) for one in answers_of(run) if one.part == "test"), 0)


def _spread(a: Row, b: Row) -> float:
    """The standard deviation of a difference of two trainings, one of each network."""
    return math.hypot(a["test_std"] or 0.0, b["test_std"] or 0.0)


def verdict(run: Run) -> list[str]:
    """Return what the test scores show and what they do not, in sentences."""
    best = run.best()
    if run.summary is None or best is None:
        return _open_ends(run)
    if best["test_mean"] is None:
        said = "There are no test data: networks were chosen by these scores, so expect a little less of new data."
        return [said, *smaller_ones(run), *worse_than_in_search(run), *never_answered(run), *_refused(run)]
    return [*_against_control(run, best), *smaller_ones(run), *_against_baselines(run, best), *_warnings(run, best)]


def _against_control(run: Run, best: Row) -> list[str]:
    control, strategy = run.best_control(), run.manifest["strategy"]
    if control is None and strategy == "random":
        return ["The strategy is random search itself, so it has no control."]
    if control is None and run.control is not None:
        return ["The control, a random search with the same budget, gave no network that could be trained to the end."]
    if control is None:
        return ["No control was run: whether the strategy is better than random search is not known from this run."]
    if control["key"] == best["key"]:
        same = f"Random search with the same budget found the same network: here {strategy} was no better."
        return [same, *_fronts(run)]
    if run.first.described.is_cost:
        return [_cheaper(run, best, control), *_fronts(run)]
    metric = best["metric"]
    gap, samples = difference(metric, best["test_mean"], control["test_mean"]), _samples(run)
    limit = f"the spread over seeds ({difference(metric, _spread(best, control))})"
    if _single(best, control):
        limit = f"{SURE} standard errors of the {samples:,} test samples"
    sizes, random = _sizes(best, control), "random search with the same budget"
    not_shown = f"That {strategy} finds better networks than random search is not shown by this run."
    verdicts = {
        "better": f"The search is ahead of {random} by {gap} in {word(metric)} on test, more than {limit}{sizes}.",
        "alike": f"On test, {random} is as good: {gap} apart in {word(metric)}, within {limit}{sizes}. {not_shown}",
        "worse": f"R{random[1:]} found a better network: {gap} ahead in {word(metric)} on test, more than {limit}{sizes}. "
        f"Consider {control['name']}. {not_shown}",
        "unknown": f"On test, the search and {random} are {gap} apart in {word(metric)}; with one training of each network nobody knows "
        f"whether that is more than chance{sizes}. {not_shown}",
    }
    return [verdicts[compare(best, control, samples)], *_fronts(run)]


def _cheaper(run: Run, best: Row, control: Row) -> str:
    """The winner against the control's where a cost is the first objective."""
    name = run.first.metric
    ours, theirs = (row.get("objectives", row).get(name) for row in (best, control))
    if ours is None or theirs is None:
        return f"How the winner and that of random search with the same budget compare in {word(name)} is not known."
    better = "as good as" if ours == theirs else "better than" if (ours > theirs) == run.first.maximize else "worse than"
    verdict = f"By {word(name)}, which comes first, the winner is {better} that of random search with the same budget"
    return f"{verdict}: {value(name, ours)} against {value(name, theirs)}, with {on_test(best)} and {on_test(control)} on test."


def _sizes(best: Row, other: Row) -> str:
    """The ratio of parameters in words, where it is worth one."""
    a, b = best["params"], other["params"]
    if not a or not b or max(a, b) / min(a, b) < 1.05:
        return "; both networks are about equally large"
    ratio = f"{times(max(a, b) / min(a, b))} times {'fewer' if a < b else 'more'}"
    return f"; {best['name']} has {ratio} parameters than {other['name']}"


def _fronts(run: Run) -> list[str]:
    volumes = (run.summary or {}).get("hypervolume") or {}
    search, control = volumes.get("search"), volumes.get("control")
    if len(run.objectives) < 2 or search is None or control is None:
        return []
    words = f"the front of the search covers {percent(search)} of the box spanned by all that was seen"
    note = "validation, one run of each, so without a spread"
    ahead = "" if search > control else "; here the front of random search is " + ("as good" if search == control else "better")
    return [f"Over all objectives together, {words}, the control's {percent(control)} ({note}){ahead}."]


def _against_baselines(run: Run, best: Row) -> list[str]:
    hows = {
        "better": "is better than",
        "alike": "is, within the spread, as good as",
        "worse": "does not reach",
        "unknown": "is not shown to be better or worse than",
    }
    out, samples = [], _samples(run)
    for row in run.rows("baseline"):
        if row["test_mean"] is None:
            out.append(f"The baseline {row['name']} could not be trained.")
        else:
            against = f"{hows[compare(best, row, samples)]} {row['name']} ({on_test(best)} against {on_test(row)})"
            out.append(f"{best['name']} {against}{_sizes(best, row)}.")
    return out


def _warnings(run: Run, best: Row) -> list[str]:
    out = []
    if len(best["test_seeds"]) < 2:
        out.append("Each network was trained with one seed only: without a spread, small differences mean nothing.")
    out += worse_than_in_search(run)
    out += _no_better_than_constant(run)
    out += never_answered(run)
    out += _refused(run)
    if run.trained(run.search) > run.summary["asked"]:  # type: ignore[index]
        out.append("More trials were run since this summary was written; run the search to its end for a new one.")
    return out


def _no_better_than_constant(run: Run) -> list[str]:
    """Of finalists that are no better on test than the largest class is large."""
    out = []
    for name, share in run.constant().items():
        sign = 1 if metric_or_value(name).maximize else -1
        poor = [row["name"] for row in run.rows("finalist") if sign * (row.get("tests") or {}).get(name, math.inf * sign) <= sign * share]
        if poor:
            those = f"{' and '.join(poor)} {'is' if len(poor) == 1 else 'are'} not above it"
            out.append(
                f"Answering the largest class always gives {score(name, share)} on test, and {those}: weigh the classes alike, in the "
                "recipe (class_weights) and the objective."
            )
    return out


def _refused(run: Run) -> list[str]:
    return [f"{row['name']} does not keep {limit}." for row in run.rows() for limit in row["refused"]]


def _open_ends(run: Run) -> list[str]:
    """What is still missing of a run without a winner."""
    if run.summary is not None:
        return ["No finalist came through its final training and keeps all limits; see the messages below."]
    out = ["Scores are of short trainings, on validation data; test data are read at the end, for the finalists only."]
    done = run.trained(run.search)
    if done >= run.asked and run.control is not None and run.trained(run.control) < run.asked:
        out.append(f"The control, random search with the same budget, has done {run.trained(run.control)} of its trials.")
    if run.finals:
        out.append(f"Of the final trainings {sum(map(len, run.finals.values()))} are done.")
    if run.running:
        running = many(run.running, "trial was", "trials were")
        out.append(f"{running} running when this was written, or cut off with the search.")
    return out
