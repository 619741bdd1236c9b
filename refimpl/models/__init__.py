"""Models: networks composed of layers."""

from .dfno_state import dfno_weights, load_dfno
from .fno import FNO
from .lenet import LeNet5

__all__ = ["FNO", "LeNet5", "dfno_weights", "load_dfno"]
