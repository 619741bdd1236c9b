"""Models: networks composed of layers."""

from .fno import FNO
from .lenet import LeNet5

__all__ = ["FNO", "LeNet5"]
