"""nasforge in a Tuner of your own: our strategies as its `search_alg`, our trainings as its trainable, our spaces as its `param_space`.

    from ray import tune
    import nasforge.tune

    tuner = tune.Tuner(
        tune.with_parameters(nasforge.tune.Training, data="digits"),
        tune_config=tune.TuneConfig(
            search_alg=nasforge.tune.NasforgeSearch("digits", objective="accuracy,-params", trials=16, run="runs/tuned"),
            metric="accuracy", mode="max", num_samples=16, max_concurrent_trials=2, reuse_actors=True,
        ),
    )

The study in the folder `run` is the truth: each trial is written there as it ends, `nasforge report RUN` shows it, and `Tuner.restore` asks
it what was trained already. Tune's own folder holds pickles: never restore one of somebody whom you do not trust.
"""

from nasforge.tune.search import NasforgeSearch
from nasforge.tune.spaces import config_space, hyperopt_space, param_space
from nasforge.tune.training import Training

__all__ = ["NasforgeSearch", "Training", "config_space", "hyperopt_space", "param_space"]
