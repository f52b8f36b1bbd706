"""Compound scaling: one architecture, made deeper, wider and finer by a few numbers. Data in, data out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from nasforge.arch import SECTIONS, WIRES, Arch, Node, chain
from nasforge.blocks import BLOCKS
from nasforge.blocks.shapes import divisible
from nasforge.cost import count
from nasforge.errors import UserError, nearest

LIMITS = ("params", "macs", "weight_bytes", "peak_bytes", "activation_bytes")
STEP = 100  # phi is found in hundredths
FARTHEST = 32  # |phi| beyond which `fit` does not look
WIDTHS = ("out", "width", "mid", "growth", "squeeze", "e1", "e3", "b1", "b3", "b5", "single", "double")  # numbers of maps
DEPTHS = (("stage", "depth"), ("dense_block", "depth"))  # numbers of repeats


def scale(arch: Arch, phi: float = 1.0, depth: float = 1.2, width: float = 1.1, resolution: float = 1.15, divisor: int = 8) -> Arch:
    """The architecture with stages depth^phi as deep, maps width^phi as many and the input resolution^phi as large.

    A stage of d blocks gets ceil(d * depth^phi). Every argument of a block that is a number of maps (WIDTHS) is multiplied and rounded to
    `divisor`, never below 90 %; relative widths (`expand`, ratios) stay, and so does the classifier: the last line of the head, and
    separate heads. Height and width of an image or video are rounded to whole numbers.
    With phi 1 the numbers are explicit factors: the published EfficientNet-B1 is depth 1.1, width 1, resolution 240/224.
    Source: Tan & Le 2019, equation 3 (depth 1.2, width 1.1, resolution 1.15 from their grid search); rounding as in their code.
    """
    for name, value in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not value > 0:
            raise UserError(f"scale.{name}: must be a number above 0, got {value!r}")
    deeper, wider, finer = depth**phi, width**phi, resolution**phi
    out = {k: v for k, v in arch.items() if k != "published"}
    if "name" in arch:
        out["name"] = f"{arch['name']}_phi{phi:g}"
    out["input"] = _resize(arch.get("input"), finer)
    last = next((s for s in reversed(SECTIONS) if arch.get(s)), None)
    for section in SECTIONS:
        if section in arch:
            lines = chain(arch[section])
            kept = lines[-1:] if section == last and section == "head" else []
            out[section] = [_scale_node(node, deeper, wider, divisor) for node in lines[: len(lines) - len(kept)]] + kept
    return out


def fit(arch: Arch, limit: Mapping[str, float], depth: float = 1.2, width: float = 1.1, resolution: float = 1.15, divisor: int = 8) -> Arch:
    """The largest of the architecture's family (phi in hundredths) within every limit: params, macs or a number of bytes.

    Raises UserError where not even the smallest of the family fits.
    """
    unknown = [name for name in limit if name not in LIMITS]
    if unknown or not limit:
        hint = nearest(unknown[0] if unknown else "", LIMITS)
        raise UserError(f"limit: takes bounds like {{params: 2.0e6}}, got {dict(limit)!r}; {hint}")

    def member(step: int) -> Arch:
        return scale(arch, step / STEP, depth, width, resolution, divisor)

    def fits(step: int) -> bool:
        cost = count(member(step))
        return all(getattr(cost, name) <= bound for name, bound in limit.items())

    low, high = _bracket(fits)
    while high - low > 1:  # low fits, high does not
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return member(low)


def _bracket(fits: Callable[[int], bool]) -> tuple[int, int]:
    """A step that fits and a larger one that does not."""
    grows = fits(0)
    near, reach = 0, STEP // 4
    while abs(reach) <= FARTHEST * STEP:
        far = reach if grows else -reach
        if fits(far) != grows:
            return (near, far) if grows else (far, near)
        near, reach = far, 2 * reach
    if grows:
        raise UserError(f"limit: even phi {near / STEP:g} is within it; the limit is too high to bound the family")
    raise UserError(f"limit: not even phi {near / STEP:g} is within it; raise the limit or begin with a smaller architecture")


# ---------------------------------------------------------------- data


def _resize(spec: Any, factor: float) -> Any:
    """Height and width of an image [C, H, W] or video [C, T, H, W] times the factor; other inputs as they are."""
    if isinstance(spec, list | tuple) and len(spec) >= 3:
        return [*spec[:-2], *(max(1, round(side * factor)) for side in spec[-2:])]
    if isinstance(spec, Mapping) and "tokens" not in spec:
        return {name: _resize(one, factor) for name, one in spec.items()}
    return spec


def _scale_node(node: Node, deeper: float, wider: float, divisor: int) -> Node:
    if isinstance(node, list | tuple):
        return [_scale_node(part, deeper, wider, divisor) for part in node]
    if not isinstance(node, Mapping):
        return node
    return {
        name: value if name in WIRES or not isinstance(value, Mapping) else _scale_args(name, value, deeper, wider, divisor)
        for name, value in node.items()
    }


def _scale_args(name: str, args: Mapping[str, Any], deeper: float, wider: float, divisor: int) -> dict[str, Any]:
    out = {}
    for key, value in args.items():
        if key in WIDTHS or (key == "pool" and name.startswith("inception")):
            out[key] = _widen(value, wider, divisor)
        elif (name, key) in DEPTHS:
            out[key] = _deepen(value, deeper)
        elif name == "stage" and key == "blocks":
            blocks = [_scale_node(part, deeper, wider, divisor) for part in value]
            out[key] = [blocks[min(i, len(blocks) - 1)] for i in range(_deepen(len(blocks), deeper))]
        else:
            out[key] = _scale_node(value, deeper, wider, divisor) if _holds_blocks(name, key) else value
    return out


def _holds_blocks(name: str, key: str) -> bool:
    hint = BLOCKS[name].params[key].hint if name in BLOCKS and key in BLOCKS[name].params else None
    return "block" in getattr(hint, "__metadata__", ()) or "blocks" in getattr(hint, "__metadata__", ())


def _deepen(depth: int, factor: float) -> int:
    return math.ceil(depth * factor - 1e-9)  # 5 * 1.2 is 6, also where floats make it a little more


def _widen(value: Any, factor: float, divisor: int) -> Any:
    if isinstance(value, list):
        return [_widen(v, factor, divisor) for v in value]
    number = isinstance(value, int) and not isinstance(value, bool)
    return divisible(value * factor, divisor) if number and factor != 1 else value
