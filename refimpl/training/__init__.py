"""Training: optimizer, loop, checkpoints, data sets and metrics."""

from .dataset import Dataset, Scaling, View
from .loop import Progress, Training, fit, load_model
from .optimizers import AdamW, clip, cosine_schedule

__all__ = [
    "AdamW",
    "Dataset",
    "Progress",
    "Scaling",
    "Training",
    "View",
    "clip",
    "cosine_schedule",
    "fit",
    "load_model",
]
