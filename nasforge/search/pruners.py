"""Early stopping of trainings, for one objective or several: one rule, "would it be kept among what was seen at this epoch?".

Optuna's own pruners refuse studies with several objectives, so these work on the curves of a study: for each trial the losses (smaller
is better, one number per objective) after each epoch. A trial is compared only with others at the same epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasforge.search.objectives import Losses, dominates

Pruner = Callable[[Sequence[Sequence[Losses]], Sequence[Losses], int], bool]  # (curves of others, own curve, last epoch) -> stop?


def rungs(last: int, factor: int = 3, first: int = 1) -> list[int]:
    """The epochs at which ASHA decides: first, first*factor, ... below `last`."""
    out = []
    epoch = first
    while epoch < last:
        out.append(epoch)
        epoch *= factor
    return out


def rank(losses: Losses, others: Sequence[Losses]) -> int:
    """How many of `others` dominate `losses`: with one objective, the place in the order."""
    return sum(dominates(other, losses) for other in others)


def asha(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int, factor: int = 3, warm: int = 4) -> bool:
    """Stop at a rung unless the trial is among the best 1/factor seen there (never the first `warm` ones).

    Source: Li et al. 2020, algorithm 2 (the stopping form); with several objectives the order is by how many dominate.
    """
    epoch = len(own)
    if epoch not in rungs(last, factor):
        return False
    seen = [curve[epoch - 1] for curve in others if len(curve) >= epoch]
    if len(seen) < warm:
        return False
    ranks = sorted(rank(s, seen) for s in seen)
    return rank(own[-1], seen) > ranks[max(0, len(seen) // factor - 1)]


def median(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int, warm: int = 4) -> bool:
    """Stop when more than half of the others dominate the trial at this epoch. Source: Golovin et al. 2017, section 3.2.1."""
    epoch = len(own)
    seen = [curve[epoch - 1] for curve in others if len(curve) >= epoch]
    return epoch < last and len(seen) >= warm and rank(own[-1], seen) > len(seen) / 2


def never(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int) -> bool:
    """No early stopping."""
    return False


PRUNERS: dict[str, Pruner] = {"asha": asha, "median": median, "none": never}
