"""Searches as estimators of scikit-learn: `fit` searches and trains the best network, `predict` reads raw numbers."""

from __future__ import annotations

import copy
import math
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nasforge.api.named import space_named
from nasforge.api.run import Run
from nasforge.api.search import search
from nasforge.data import Normalization, Target, prepared
from nasforge.data.arrays import input_of, raw_of
from nasforge.data.splits import held_out
from nasforge.errors import UserError
from nasforge.evaluation.train import reads
from nasforge.report import collect
from nasforge.report.budget import failures

NAME = "X"  # of the data in messages
MOST_AT_ONCE = 2**22  # numbers that a network reads at once
OPTIONS = ("trials", "epochs", "final_epochs", "strategy", "finalists", "final_seeds", "workers")  # as a search calls them


class _Estimator(BaseEstimator):
    """What both estimators have in common."""

    def __init__(
        self,
        space: str | Path | Mapping[str, Any] = "tabular",
        *,
        trials: int = 8,
        epochs: int | None = None,
        final_epochs: int | None = None,
        strategy: str = "random",
        objective: str | None = None,
        constraints: Mapping[str, float] | list[str] | None = None,
        validation_fraction: float = 0.2,
        workers: int = 1,
        finalists: int = 1,
        final_seeds: int = 1,
        random_state: Any = 0,
        run: str | Path | None = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.space = space
        self.trials = trials
        self.epochs = epochs
        self.final_epochs = final_epochs
        self.strategy = strategy
        self.objective = objective
        self.constraints = constraints
        self.validation_fraction = validation_fraction
        self.workers = workers
        self.finalists = finalists
        self.final_seeds = final_seeds
        self.random_state = random_state
        self.run = run
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _search(self, x: np.ndarray, y: np.ndarray, strata: np.ndarray, **told: Any) -> Target:
        """Search on (N, ...) samples and set what `fit` finds; return what y is as a target.

        Args:
            y: targets as a data set has them. strata: (N,) numbers of classes, of each of which a share is held out.
            told: what else `raw_of` is told.
        """
        space = dict(self.space) if isinstance(self.space, Mapping) else space_named(str(self.space))
        if not 0 < self.validation_fraction < 1:
            raise UserError(f"validation_fraction: must be between 0 and 1, got {self.validation_fraction!r}")
        given = self.random_state
        draw = given.integers if isinstance(given, np.random.Generator) else check_random_state(given).randint
        seed = int(given if isinstance(given, Integral) else draw(2**31 - 1))
        val = held_out(strata, self.validation_fraction, np.random.default_rng(seed))
        if not val.any():
            raise UserError(f"y: a class must have 2 samples at least, one to train and one to choose by, got {len(y)} classes of one")
        if len(rare := np.setdiff1d(strata, strata[val])):
            names = ", ".join(told["labels"][i] for i in rare)
            warnings.warn(f"too few samples to hold any out of the training: class {names}", stacklevel=3)
        self._reads, self._shape = reads(space), x.shape[1:]
        bytes_ = x.dtype == np.uint8 and x.ndim + (self._sample == "image") == 4  # of images; elsewhere they are numbers like any other
        x = x if bytes_ else x.astype(np.float32)
        arrays = {"x_train": x[~val], "y_train": y[~val], "x_val": x[val], "y_val": y[val]}
        raw = raw_of({**arrays, **({"kind": self._sample} if self._sample else {})}, NAME, reads=self._reads, **told)
        data = prepared(raw, seed=seed, test=False)
        folder = nullcontext(self.run) if self.run is not None else tempfile.TemporaryDirectory(prefix="nasforge-")
        with folder as name, _torch_state(str(self.device)):
            found = search(self.space, data, run=name, show=bool(self.verbose), page=self.run is not None, **self._options(seed))
            if not found.summary.get("best"):
                raise UserError(f"fit: no network could be trained to the end and keep all limits{_reasons(found)}")
            best = found.best
            self.model_ = best.model
        self.best_arch_, self.run_ = best.arch, found.summary
        self.normalization_ = Normalization.of(data, 1 / 255 if bytes_ else 1.0)
        return data.spec.target

    @property
    def _sample(self) -> str | None:
        """What (N, a, b) numbers are: images for a space of images, else sequences."""
        return (None, "image" if self._reads else "sequence")[len(self._shape) == 2]

    def _options(self, seed: int) -> dict[str, Any]:
        """The options of the search. What the space names for itself alone, baselines and a control, is not wanted."""
        values = {name: getattr(self, name) for name in OPTIONS}
        plain = {name: int(v) if isinstance(v, Integral) else v for name, v in values.items()}
        limits = {} if self.constraints is None else {"constraints": self.constraints}
        runner = "inline" if self.workers == 1 else "local"
        return {**plain, **limits, "runner": runner, "objective": self.objective or "", "evaluator": "train", "control": False,
                "seed_arch": [], "seed": seed, "device": str(self.device)}  # fmt: skip

    def _output(self, X: Any) -> np.ndarray:
        """Return what the network gives for samples, as (N, outputs) float64.

        For vectors it works in double precision, so that a prediction does not hang on which others are made beside it.

        Raises:
            UserError: samples are of another shape than in fit, end early where none did, or the network gives no finite numbers for one.
        """
        check_is_fitted(self)
        x = _samples(self, X, reset=False).astype(np.float32, copy=False)
        if x.shape[1:] != self._shape:
            raise UserError(f"X: samples must be of the shape {self._shape} as in fit, got {x.shape[1:]}")
        laid_out = input_of(x, NAME, self._sample, self._reads)
        if laid_out.ndim == 3 and not self.best_arch_.get("padding") and len(ends := np.flatnonzero(np.isnan(laid_out).any((1, 2)))):
            raise UserError(f"X: no sample of fit ended early, so none may end with NaN here, got sample {ends[0]}; fill it, or fit with "
                            "samples that end early too")  # fmt: skip
        as_steps = x.ndim == 2 and len(self.best_arch_["input"]) == 2  # a network for sequences [time, 1]
        device = torch.device(self.device)
        kind = torch.float64 if x.ndim == 2 and device.type == "cpu" else torch.float32
        model = copy.deepcopy(self.model_).to(device, kind)
        size = max(1, min(512, MOST_AT_ONCE // math.prod(self._shape)))
        found = []
        for start in range(0, len(x), size):
            inputs = self.normalization_(laid_out[start : start + size]).to(device, kind)
            with torch.no_grad():
                found.append(model(inputs[:, :, None] if as_steps else inputs).cpu().double())
        output = torch.cat(found).numpy()
        if len(wrong := np.flatnonzero(~np.isfinite(output.reshape(len(output), -1)).all(1))):
            raise UserError(f"X: the network must give finite numbers, got {output[wrong[0]].tolist()} for sample {wrong[0]}; "
                            "are its numbers like those of fit?")  # fmt: skip
        return output


class NASClassifier(ClassifierMixin, _Estimator):
    """A classifier whose network is searched for.

    `fit` holds out a share of each class, searches for the network that is best on it, and trains this one to the end. With the same
    data, parameters, `random_state` and number of threads it gives the same network on a CPU. There are no sample weights.

    Args:
        space: a packaged space, a file, or the data of one. X is (N, features) for a space of vectors such as `tabular`,
            (N, channels, height, width), (N, height, width, channels) or (N, height, width) for one of images, (N, time, features) for
            one of sequences. NaN in vectors is a missing number, and in sequences the end.
        trials: networks to try. epochs, final_epochs: of each, and of the best; None lets the size of the data decide.
        strategy: of the search; beyond some 20 trials one that learns, such as `predictor`, is worth it.
        objective: what the networks are chosen by; None is the main score and, of equal ones, the fewest parameters.
        constraints: limits by name, such as `{"params": 2e4}`, or conditions in words.
        validation_fraction: of the samples, held out of the training to choose by. Classes with too few samples for both are trained on.
        workers: processes; 1 trains in this one.
        finalists, final_seeds: networks that are trained to the end, and how often each.
        random_state: of the split and the search; None or a generator gives another at each fit.
        run: folder to keep the search in, and to go on with it after a stop; None keeps nothing. Not for cross-validation, where each fit
            is another search.
        device: `cpu`, `cuda`, `cuda:N` or `mps`.
        verbose: whether to show how the search proceeds.

    Attributes:
        classes_: (K,) labels in order.
        n_features_in_: X.shape[1]. feature_names_in_: of a data frame.
        model_: the network, in eval mode; it reads normalized samples and gives (N, K) logits.
        normalization_: makes of samples, laid out with their channels first, what the network reads.
        best_arch_: the architecture as data. run_: the summary of the search.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search and train. X: see the class; y: (N,) labels of any kind.

        Raises:
            ValueError: X or y are no samples and labels, there is only one class, or the search cannot be carried out.
        """
        x, y = _samples(self, X, y)
        try:
            check_classification_targets(y)
            self.classes_, numbers = np.unique(y, return_inverse=True)
        except TypeError:
            kinds = ", ".join(sorted({type(label).__name__ for label in y}))
            raise UserError(f"y: labels must be of one kind, which has an order, got {kinds}; drop samples without one") from None
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs samples of at least 2 classes in y, got one class: {self.classes_[0]}")
        self._search(x, numbers, numbers, labels=tuple(map(str, self.classes_)))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return (N, K) probabilities of the classes in their order."""
        logits = self._output(X)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return (N,) labels."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class NASRegressor(RegressorMixin, _Estimator):
    """A regressor whose network is searched for; see `NASClassifier` for its parameters and what else it has in common.

    y is (N,) or (N, values) and predictions are in its units. The network gives (N, values) with mean 0 and deviation 1 over the samples
    that it was trained on: a prediction is that times `target_std_`, plus `target_mean_`.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Search and train. X: see `NASClassifier`; y: (N,) or (N, values) numbers.

        Raises:
            ValueError: X or y are no samples and numbers, y is the same for all, or the search cannot be carried out.
        """
        x, y = _samples(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        target = self._search(x, y, np.zeros(len(y), dtype=int), kind="value")
        self.target_mean_, self.target_std_ = np.array(target.mean), np.array(target.std)
        self._one_value = y.ndim == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return (N,) or (N, values) numbers, as y was."""
        found = self._output(X) * self.target_std_ + self.target_mean_
        return found[:, 0] if self._one_value else found


def _samples(estimator: _Estimator, X: Any, y: Any = "no_validation", **options: Any) -> Any:
    """X, and y where it is given, checked as scikit-learn does: X as float32, or the bytes of images; NaN may be a missing number."""
    return validate_data(estimator, X, y, dtype=[np.float32, np.uint8], ensure_all_finite="allow-nan", allow_nd=True, **options)


def _torch_state(device: str) -> Any:
    """A context that leaves torch's random state as it was."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device.startswith("cuda") else [])


def _reasons(found: Run) -> str:
    """Why trials failed, in words."""
    groups = failures(collect(found.folder, found.storage))
    return "".join(f"; {message} ({len(who)} x)" for message, who in groups[:3])
