"""The estimators keep the contract of scikit-learn, and predict from raw numbers what the network learned from normalized ones."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import nasforge as nf

TINY: dict[str, Any] = {
    "name": "tiny", "input": [4], "classes": 2, "recipe": {"batch_size": 32, "lr": 0.05, "ema": None, "precision": "fp32"},
    "body": [{"linear": {"out": {"choose": [16, 32]}, "act": "relu"}}], "head": ["linear"],
}  # fmt: skip
QUICK: dict[str, Any] = {"space": TINY, "trials": 1, "epochs": 1, "final_epochs": 15}
BRIEF: dict[str, Any] = {"trials": 2, "epochs": 3}  # on the packaged spaces
RNG = np.random.default_rng(0)


@pytest.mark.filterwarnings("ignore:too few samples to hold any out")  # some checks have classes of one sample
@parametrize_with_checks([nf.NASClassifier(**QUICK), nf.NASRegressor(**QUICK)])
def test_the_contract_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


# ------------------------------------------------------------ real data


@pytest.fixture(scope="module")
def wine() -> tuple[Any, ...]:
    """A classifier of wines by name, and those that it has not seen."""
    bunch = load_wine(as_frame=True)
    names = bunch.target_names[bunch.target]
    x, test_x, y, test_y = train_test_split(bunch.data, names, stratify=names, random_state=0)
    return nf.NASClassifier(final_epochs=20, **BRIEF).fit(x, y), x, test_x, test_y


def test_wines_from_a_frame_by_name(wine: tuple[Any, ...]) -> None:
    model, x, test_x, test_y = wine
    assert list(model.classes_) == ["class_0", "class_1", "class_2"] and list(model.feature_names_in_) == list(x.columns)
    shares, found = model.predict_proba(test_x), model.predict(test_x)
    assert shares.shape == (len(test_x), 3) and np.allclose(shares.sum(1), 1, atol=1e-12)
    assert (model.classes_[shares.argmax(1)] == found).all() and model.score(test_x, test_y) == (found == test_y).mean() >= 0.9
    assert model.run_["best"]["params"] == sum(p.numel() for p in model.model_.parameters()) and model.best_arch_["classes"] == 3
    assert model.run_["best"]["test_mean"] is None, "no sample is held out for a test that nobody reads"
    assert isinstance(model.model_, torch.nn.Module) and not Path(model.run_["run"]).exists()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(test_x[test_x.columns[::-1]])


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_pickle_and_other_types_of_numbers_give_the_same(wine: tuple[Any, ...]) -> None:
    model, x, test_x, _ = wine
    expected = model.predict_proba(test_x)
    assert (pickle.loads(pickle.dumps(model)).predict_proba(test_x) == expected).all()
    numbers = test_x.to_numpy()
    with pytest.raises(ValueError, match="X has 12 features, but NASClassifier is expecting 13"):
        model.predict(numbers[:, :-1])
    assert (model.predict_proba(numbers.astype(np.float32)) == expected).all() and (model.predict_proba(numbers.tolist()) == expected).all()
    assert np.allclose(np.vstack([model.predict_proba(row[None]) for row in numbers]), expected, atol=1e-12, rtol=0)
    x = x.to_numpy().astype(np.float32)
    assert torch.allclose(model.normalization_(x).mean(0), torch.zeros(13), atol=0.3), "over all, not the training part alone"


def test_diabetes_in_its_own_units() -> None:
    x, y = load_diabetes(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x, y, random_state=0)
    model = nf.NASRegressor(final_epochs=20, **BRIEF).fit(x, y)
    found = model.predict(test_x)
    assert found.shape == test_y.shape and model.score(test_x, test_y) > 0.2
    assert abs(found.mean() - test_y.mean()) < 20 and abs(float(model.target_mean_[0]) - y.mean()) < 10
    both = nf.NASRegressor(**QUICK).fit(x, np.stack([y, 1000 - y], 1))
    assert both.predict(test_x).shape == (len(test_x), 2)
    assert np.corrcoef(both.predict(test_x).T)[0, 1] < -0.5


@pytest.mark.parametrize("bytes_", [True, False])
def test_digits_as_images(bytes_: bool) -> None:
    images, y = load_digits().images[:600], load_digits().target[:600]
    x = (images * 15).astype(np.uint8) if bytes_ else images
    model = nf.NASClassifier("digits", trials=1, epochs=1, final_epochs=6, constraints={"params": 2e4}).fit(x[:500], y[:500])
    assert model.best_arch_["input"] == [1, 8, 8] and model.score(x[500:], y[500:]) > 0.8
    expected = model.predict_proba(x[500:])
    assert np.allclose(model.predict_proba(x[500:].astype(float)), expected, atol=1e-5), "bytes are numbers"
    with pytest.raises(nf.UserError, match=r"samples must be of the shape \(8, 8\) as in fit, got \(8, 7\)"):
        model.predict(x[:, :, 1:])


def test_images_in_any_layout_and_sequences() -> None:
    images, y = np.repeat(load_digits().images[:80, None], 3, 1), load_digits().target[:80]  # (N, 3, 8, 8)
    images = images * np.array([1, 2, 3])[:, None, None]
    options = {"trials": 1, "epochs": 1, "final_epochs": 1, "constraints": ["params<=20000"]}
    first = nf.NASClassifier("digits", **options).fit(images, y)
    last = nf.NASClassifier("digits", **options).fit(np.moveaxis(images, 1, 3), y)
    assert first.best_arch_["input"] == [3, 8, 8] == last.best_arch_["input"]
    assert np.allclose(first.predict_proba(images), last.predict_proba(np.moveaxis(images, 1, 3)), atol=1e-6)
    space = {"input": [8, 1], "classes": 2, "body": [{"lstm": {"hidden": {"choose": [4, 8]}, "output": "last"}}], "head": ["linear"]}
    steps = nf.NASRegressor(space, **{**options, "constraints": None}).fit(images[:, 0].mean(1), y)  # (N, 8) as steps
    assert steps.predict(images[:5, 0].mean(1)).shape == (5,)
    many = nf.NASClassifier({**space, "input": [8, 8]}, **{**options, "constraints": None}).fit(images[:, 0], y)
    of_bytes = clone(many).fit(images[:, 0].astype(np.uint8), y)
    assert np.allclose(of_bytes.predict_proba(images[:, 0].astype(np.uint8)), many.predict_proba(images[:, 0]), atol=1e-6)


@pytest.mark.parametrize("name", ["NASClassifier", "NASRegressor"])
def test_samples_that_end_early_are_told_from_others(name: str) -> None:
    """A network that was fitted to whole samples would give NaN, and always the first class, for one that ends early."""
    x, y = RNG.normal(size=(60, 6, 2)), np.arange(60) % 2
    ending = x.copy()
    ending[1::2, 4:] = np.nan
    space = {"input": [6, 2], "classes": 2, "body": [{"gru": {"hidden": {"choose": [4, 8]}, "output": "last"}}], "head": ["linear"]}
    options: dict[str, Any] = {"trials": 1, "epochs": 1, "final_epochs": 1}
    whole = getattr(nf, name)(space, **options).fit(x, y)
    assert np.isfinite(whole.predict(x)).all()
    with pytest.raises(nf.UserError, match=r"no sample of fit ended early, so none may end with NaN here, got sample 1; fill it, or fit"):
        whole.predict(ending)
    padded = getattr(nf, name)(space, **options).fit(ending, y)
    assert np.isfinite(padded.predict(ending)).all() and np.isfinite(padded.predict(x)).all()
    with pytest.raises(nf.UserError, match="a step missing before the end"):
        padded.predict(np.where(np.arange(6)[:, None] == 2, np.nan, x))


def test_an_output_that_is_no_number_is_refused() -> None:
    model = nf.NASClassifier(**QUICK).fit(X, Y)
    with torch.no_grad():
        next(model.model_.parameters())[0, 0] = np.nan
    with pytest.raises(nf.UserError, match=r"the network must give finite numbers, got \[.*nan.*\] for sample 0; are its numbers"):
        model.predict(X)
    images, y = load_digits().images[:80].copy(), load_digits().target[:80]
    grey = nf.NASClassifier("digits", trials=1, epochs=1, final_epochs=1, constraints={"params": 2e4}).fit(images, y)
    images[3, 7] = np.nan
    with pytest.raises(nf.UserError, match="finite"):
        grey.predict(images)


# ------------------------------------------------------------ what is normalized, and how


def test_predictions_are_normalized_as_the_data_set_was() -> None:
    """The network gives for a raw sample what it gives for that of the data set, missing numbers included."""
    x = RNG.normal(3, [1, 10, 100, 0], (60, 4))
    x[RNG.random(x.shape) < 0.1] = np.nan
    y = np.where(np.nan_to_num(x[:, 0], nan=3) > 3, "yes", "no")
    found: list[Any] = []
    original = nf.api.estimators.search

    def kept(space: Any, data: Any, **options: Any) -> Any:
        found.append(data)
        return original(space, data, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nf.api.estimators, "search", kept)
        model = nf.NASClassifier(**QUICK).fit(x, y)
    (data,) = found
    assert [data.size(part) for part in ("train", "val", "test")] == [48, 12, 0]
    have = {tuple(row.tolist()) for row in model.normalization_(x.astype(np.float32))}
    assert have == {tuple(row.tolist()) for part in (data.train, data.val) for row in part.x}, "to the last bit"
    assert np.isfinite(model.predict_proba(x)).all() and data.spec.target.names == ("no", "yes")
    with pytest.raises(ValueError, match="infinity"):
        model.predict(np.full((2, 4), np.inf))
    with pytest.raises(ValueError, match="infinity"):
        nf.NASClassifier(**QUICK).fit(np.where(np.isnan(x), np.inf, x), y)
    with pytest.raises(ValueError, match="NaN"):
        nf.NASRegressor(**QUICK).fit(x, np.full(60, np.nan))


def test_the_same_seed_gives_the_same_predictions_and_leaves_torch_as_it_was() -> None:
    x, y = load_iris(return_X_y=True)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = nf.NASClassifier(**QUICK).fit(x, y).predict_proba(x)
    assert torch.equal(torch.rand(3), expected)
    assert (nf.NASClassifier(**QUICK).fit(x, y).predict_proba(x) == first).all()
    for generator in (np.random.RandomState, np.random.default_rng):
        other, again = (nf.NASClassifier(**QUICK, random_state=generator(3)).fit(x, y).predict_proba(x) for _ in range(2))
        assert not np.allclose(other, first) and (other == again).all()


# ------------------------------------------------------------ with the rest of scikit-learn


def test_in_a_pipeline_in_cross_validation_and_in_a_grid() -> None:
    x, y = load_iris(return_X_y=True)
    scores = cross_val_score(make_pipeline(StandardScaler(), nf.NASClassifier(**QUICK)), x, y, cv=3)
    assert scores.shape == (3,) and scores.mean() > 0.9
    wide = {**TINY, "name": "wide", "body": [{"linear": {"out": 64, "act": "relu"}}]}
    grid = GridSearchCV(nf.NASClassifier(**QUICK), {"space": [TINY, wide], "trials": np.array([1, 2])}, cv=2).fit(x, y)
    assert len(grid.cv_results_["params"]) == 4 and grid.best_score_ > 0.9 and grid.predict(x).shape == y.shape
    assert clone(grid.best_estimator_).get_params()["space"] in (TINY, wide)


def test_a_folder_keeps_the_search(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x, y = load_iris(return_X_y=True)
    model = nf.NASClassifier(**QUICK, run=tmp_path / "run").fit(x, y)
    assert capfd.readouterr() == ("", ""), "nothing is shown unless it is asked for"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "There are no test data" in page and len(nf.Run.open(tmp_path / "run").rows()) == 1
    more = clone(model).set_params(trials=2, finalists=2, verbose=True).fit(x, y)
    assert more.run_["asked"] == 2 and len(nf.Run.open(tmp_path / "run").rows()) == 2
    assert "finals" in capfd.readouterr().err
    with pytest.raises(nf.UserError, match="holds another search"):
        clone(model).fit(x[:60], y[:60] % 2)


@pytest.mark.slow
def test_two_workers_give_the_same_network() -> None:
    x, y = load_iris(return_X_y=True)
    one, two = (nf.NASClassifier(**QUICK, workers=workers).fit(x, y) for workers in (1, 2))
    assert one.best_arch_ == two.best_arch_ and np.allclose(one.predict_proba(x), two.predict_proba(x), atol=1e-6)


# ------------------------------------------------------------ few samples, and mistakes


def test_classes_with_few_samples_are_trained_on() -> None:
    x = RNG.normal(size=(24, 4))
    with pytest.warns(UserWarning, match="too few samples to hold any out of the training: class once, twice$"):
        model = nf.NASClassifier(**QUICK).fit(x, ["once", "twice", "twice"] + ["often"] * 21)
    assert list(model.classes_) == ["often", "once", "twice"] and model.predict_proba(x).shape == (24, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nf.NASClassifier(**QUICK).fit(x, ["some"] * 3 + ["often"] * 21)


X, Y = RNG.normal(size=(20, 4)), [0, 1] * 10


@pytest.mark.parametrize(("options", "x", "y", "said"), [
    ({"space": "tabluar"}, X, Y, "did you mean 'tabular'"),
    ({"space": "digits"}, X, Y, r"input: made for \[1, 8, 8\], the data set X has \[4\]"),
    ({"trials": 0}, X, Y, "trials: must be a whole number >= 1"),
    ({"strategy": "randon"}, X, Y, "did you mean 'random'"),
    ({"workers": 0}, X, Y, "workers: must be at least 1"),
    ({"objective": "-mse"}, X, Y, "the task classification has no mse"),
    ({"constraints": {"parms": 3}}, X, Y, "parms"),
    ({"constraints": {"params": 3}}, X, Y, "no network could be trained|params"),
    ({"device": "cuda:77"}, X, Y, "device: no cuda:77 here"),
    ({"validation_fraction": 1.0}, X, Y, "validation_fraction: must be between 0 and 1, got 1.0"),
    ({"random_state": -1}, X, Y, "Seed must be between"),
    ({}, X, ["ü", None] * 10, "y: labels must be of one kind, which has an order, got NoneType, str"),
    ({}, X, [1] * 20, "at least 2 classes in y, got one class: 1"),
    ({}, X, list(range(20)), "a class must have 2 samples at least"),
    ({}, X, np.linspace(0, 1, 20), "Unknown label type"),
    ({}, X, Y[:-1], "inconsistent numbers of samples"),
    ({}, X[:, 0], Y, "Expected 2D array"),
    ({}, [["a"] * 4] * 20, Y, "could not convert string to float"),
])  # fmt: skip
def test_mistakes(options: dict[str, Any], x: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nf.NASClassifier(**{**QUICK, **options}).fit(x, y)


def test_other_mistakes() -> None:
    with pytest.raises(nf.UserError, match="the target must differ between samples"):
        nf.NASRegressor(**QUICK).fit(X, np.ones(20))
    with pytest.raises(NotFittedError):
        nf.NASRegressor().predict(X)
    with pytest.raises(TypeError, match="sample_weight"):
        nf.NASRegressor().fit(X, Y, sample_weight=Y)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        from scipy.sparse import csr_array

        nf.NASRegressor(**QUICK).fit(csr_array(X), Y)
