"""How long a network takes: measured on this machine, or predicted from a profile of it."""

from nasforge.latency.measure import Latency, measure, measure_many
from nasforge.latency.profile import Prediction, Profile, calibrate, check_conditions, predict, read_profile, with_measured, write_profile
from nasforge.latency.runtimes import RUNTIMES

__all__ = [
    "RUNTIMES",
    "Latency",
    "Prediction",
    "Profile",
    "calibrate",
    "check_conditions",
    "measure",
    "measure_many",
    "predict",
    "read_profile",
    "with_measured",
    "write_profile",
]
