"""Data sets: read, split once, normalized, given out in batches. Knows nothing of architectures and of no task."""

from nasforge.data.batch import Batch, Mix
from nasforge.data.dataset import IGNORE, PARTS, Dataset, DataSpec, Part, Source, Target, size_of
from nasforge.data.normal import Normalization
from nasforge.data.stored import StoredDataset
from nasforge.data.tensors import TensorDataset, load, prepared

__all__ = [
    "IGNORE",
    "PARTS",
    "Batch",
    "DataSpec",
    "Dataset",
    "Mix",
    "Normalization",
    "Part",
    "Source",
    "StoredDataset",
    "Target",
    "TensorDataset",
    "load",
    "prepared",
    "size_of",
]
