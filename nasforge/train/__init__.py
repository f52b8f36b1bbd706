"""Training of any `nn.Module` by a recipe. Knows the contract of tasks, and no task."""

from nasforge.train.fit import Fitted, checked_device, fit, use_threads
from nasforge.train.inherit import inherit, shrink_perturb
from nasforge.train.loop import OnStep, OutOfMemory, Stop, TrainingFailed, score, scored
from nasforge.train.morph import morph
from nasforge.train.recipe import Recipe, default_recipe

__all__ = [
    "Fitted", "OnStep", "OutOfMemory", "Recipe", "Stop", "TrainingFailed", "checked_device", "default_recipe", "fit", "inherit", "morph",
    "score", "scored", "shrink_perturb", "use_threads",
]  # fmt: skip
