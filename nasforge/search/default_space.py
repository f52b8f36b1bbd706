"""The packaged space that is searched where none is named."""

from __future__ import annotations

from nasforge.data.dataset import DataSpec
from nasforge.errors import UserError

SMALL_SIDE = 12  # pixels


def default_space(spec: DataSpec, name: str) -> str:
    """Return the packaged space for data, by what one sample and its target are.

    Raises:
        UserError: there is none for such data.
    """
    one, target = spec.input, spec.target.kind
    if isinstance(one, list | tuple) and len(one) == 3 and len(spec.targets) == 1:
        if target == "mask":
            return "unet"
        return "digits" if max(one[1:]) <= SMALL_SIDE else "fast"
    if isinstance(one, list | tuple) and len(one) == 2 and target in ("label", "value", "labels"):
        return "series"
    if isinstance(one, list | tuple) and len(one) == 1:
        return "tabular"
    if isinstance(one, dict) and "tokens" in one and target == "steps":
        return "text"
    if isinstance(one, dict) and "tokens" not in one and target == "steps":
        return "translation"
    what = f"inputs {dict(spec.inputs)} and the target {', '.join(f'{n} ({t.kind})' for n, t in spec.targets.items())}"
    raise UserError(f"{name}: no packaged space is the default for {what}; name a space, or write one (docs/spaces.md)")
