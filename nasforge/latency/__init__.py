"""How long a network takes: measured on this machine, or predicted from a profile of it."""

from nasforge.latency.measure import RUNTIMES, Latency, measure, measure_many
from nasforge.latency.profile import Profile, calibrate, predict, read_profile, write_profile

__all__ = ["RUNTIMES", "Latency", "Profile", "calibrate", "measure", "measure_many", "predict", "read_profile", "write_profile"]
