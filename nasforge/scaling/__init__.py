"""Compound scaling: one architecture, made deeper, wider and finer by a few numbers. Data in, data out."""

from nasforge.scaling.axes import AXES, along, matched, matched_compound
from nasforge.scaling.compound import LIMITS, Coefficients, cost_of, fit, largest, scale
from nasforge.scaling.grid import Point, candidates, coefficient_grid, search_grid
from nasforge.scaling.grow import grow

__all__ = [
    "AXES",
    "LIMITS",
    "Coefficients",
    "Point",
    "along",
    "candidates",
    "coefficient_grid",
    "cost_of",
    "fit",
    "grow",
    "largest",
    "matched",
    "matched_compound",
    "scale",
    "search_grid",
]
