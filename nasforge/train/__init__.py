"""Training of any `nn.Module` by a recipe. Knows nothing of architectures."""

from nasforge.train.fit import Fitted, OutOfMemory, TrainingFailed, fit, use_threads
from nasforge.train.inherit import inherit
from nasforge.train.recipe import Recipe, default_recipe
from nasforge.train.scoring import score

__all__ = ["Fitted", "OutOfMemory", "Recipe", "TrainingFailed", "default_recipe", "fit", "inherit", "score", "use_threads"]
