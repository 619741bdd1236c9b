"""Training: optimizer, loop, checkpoints, data sets, images and metrics."""

from .dataset import Dataset, Scaling, View
from .images import Images, digits, mnist, read_idx
from .loop import Progress, Training, fit, load_model
from .optimizers import AdamW, clip, cosine_schedule

__all__ = [
    "AdamW",
    "Dataset",
    "Images",
    "Progress",
    "Scaling",
    "Training",
    "View",
    "clip",
    "cosine_schedule",
    "digits",
    "fit",
    "load_model",
    "mnist",
    "read_idx",
]
