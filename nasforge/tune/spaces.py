"""Our spaces in the forms of others' searchers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.api.named import space_named
from nasforge.spaces.flat import FlatSpace
from nasforge.spaces.space import Space
from nasforge.strategies import tune as forms

SpaceLike = str | Path | Mapping[str, Any]


def _flat(space: SpaceLike) -> FlatSpace:
    return FlatSpace(Space(space if isinstance(space, Mapping) else space_named(str(space))))


def param_space(space: SpaceLike) -> dict[str, Any]:
    """Return all parameters of a space as a `param_space` of Ray Tune, by short names: `c0`, `c1`, ...

    `Training(space=...)` knows what they mean. Each is the place of an option, or a number; what is not asked in a network has no effect.

    Raises:
        UserError: no such space, or its depth has no end.
    """
    return forms.domains_of_tune(_flat(space))


def hyperopt_space(space: SpaceLike) -> dict[str, Any]:
    """Return a space in the form of `HyperOptSearch(space=...)`, with its conditions. Raises UserError as `param_space`."""
    return forms.space_of_hyperopt(_flat(space))


def config_space(space: SpaceLike) -> Any:
    """Return a space in the form of `TuneBOHB(space=...)`, with its conditions. Raises UserError as `param_space`."""
    return forms.space_of_configspace(_flat(space))
