"""Training: optimizer, schedules, loop, checkpoints, data sets, images, rollouts, metrics and logs."""

from .dataset import Cases, Dataset, Scaling, View
from .images import Images, digits, mnist, read_idx
from .loop import fit, load_model
from .optimizers import AdamW, clip, global_norm
from .plan import Progress, Training
from .rollouts import rollout
from .schedules import Schedule, cosine_schedule

__all__ = [
    "AdamW",
    "Cases",
    "Dataset",
    "Images",
    "Progress",
    "Scaling",
    "Schedule",
    "Training",
    "View",
    "clip",
    "cosine_schedule",
    "digits",
    "fit",
    "global_norm",
    "load_model",
    "mnist",
    "read_idx",
    "rollout",
]
