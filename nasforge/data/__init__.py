"""Data sets: read, split once, normalised, kept in memory as tensors. Knows nothing of architectures."""

from nasforge.data.tensors import Data, Part, load

__all__ = ["Data", "Part", "load"]
