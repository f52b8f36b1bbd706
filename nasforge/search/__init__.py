"""Searches: an Optuna study, what it asks, what it keeps, when it stops a training."""
