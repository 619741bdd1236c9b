"""Models: networks composed of layers."""

from .dfno_state import dfno_weights, load_dfno
from .fno import FNO
from .lenet import LeNet5
from .neural_operator import NeuralOperator
from .neural_operator_state import load_neural_operator, neural_operator_weights

__all__ = [
    "FNO",
    "LeNet5",
    "NeuralOperator",
    "dfno_weights",
    "load_dfno",
    "load_neural_operator",
    "neural_operator_weights",
]
