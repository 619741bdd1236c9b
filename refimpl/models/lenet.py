"""LeNet-5, the network of the first experiment with distributed affine and convolutional layers.

Definition   With g = max(0, .), P the maximum of 2 x 2 windows, C convolutions with 5 x 5 kernels, and matrices W:
                 h = P g(C_1 x)                        1 -> 6 channels, 28 x 28 -> 14 x 14
                 h = P g(C_2 h)                        6 -> 16 channels, -> 5 x 5
                 h = g(W_1 h + b_1)                    16 . 5 . 5 = 400 features -> 120
                 h = g(W_2 h + b_2)                    -> 84
                 y = W_3 h + b_3                       -> classes
             An image of 28 x 28 is padded by 2 zeros on each side; one of 32 x 32 is not.
Spaces       x (batch, 1, height, width) on any partition, as a rule whole on one rank -> y (batch, classes) on the first rank
             of that partition, whole: there the loss is.
Parallel     Height and width are cut by ``space``. Each matrix is cut by ``weights`` (p, q), from q blocks of features on the
             first q ranks to p blocks on the last p; the next one by its transpose, so that nothing moves in between.
             In front of the matrices the channels are cut in q blocks instead of space, so that flattening moves nothing.
Jacobian     That of the composition: see layers/compose.py.
Cost         Each image travels out, and its scores back; halos of two rows and columns; the 400 features once; then vectors of
             a layer's size.
Reference    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998 (there with
             sigmoids and means); Hewett and Grady, arXiv 2006.03108, on 2 x 2 ranks, with these grids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt

from ..layers import Apply, Convolution, Flatten, GeneralLinear, Layer, MaxPool, ReLU, Sequential, chain
from ..movement import Repartition
from ..partition import Partition, whole_numbers
from ..space import Space

PADDING: dict[tuple[int, ...], int] = {(28, 28): 2, (32, 32): 0}  # for an image of this size


class LeNet5(Sequential):
    """The network on the real space ``X``: (batch, 1, 28, 28) or (batch, 1, 32, 32).

    ``space``, ``weights``: grids (p, q) over the first p q ranks, by default the most square one over all, with p >= q.
    Raises ValueError where X has another shape, classes < 1, or a grid has not two axes or too many ranks.
    """

    def __init__(
        self,
        X: Space,
        space: Sequence[int] | None = None,
        weights: Sequence[int] | None = None,
        classes: int = 10,
        seed: int = 0,
    ) -> None:
        if X.ndim != 4 or X.shape[1] != 1 or X.shape[2:] not in PADDING or X.dtype.kind != "f":
            raise ValueError(f"LeNet5: expected a real space (batch, 1, 28, 28) or (batch, 1, 32, 32), got {X!r}")
        (p, q), (rows, columns) = (read_grid(X, name, g) for name, g in (("space", space), ("weights", weights)))
        P_w = Partition(X.comm, (rows, columns))
        P_in = Partition(X.comm, (1, columns), ranks=P_w.ranks[:columns])
        P_out = Partition(X.comm, (1, rows), ranks=P_w.ranks[-rows:])
        root = Partition(X.comm, (1, 1), ranks=X.partition.ranks[:1])
        makers: dict[str, Callable[[Space], Layer]] = {
            "scatter": partial(move, P=Partition(X.comm, (1, 1, p, q)), cuts=(0, 1, 2, 3)),
            "conv1": partial(Convolution, out=6, kernel=5, padding=PADDING[X.shape[2:]], seed=5 * seed),
            "relu1": ReLU,
            "pool1": partial(MaxPool, kernel=2),
            "conv2": partial(Convolution, out=16, kernel=5, seed=5 * seed + 1),
            "relu2": ReLU,
            "pool2": partial(MaxPool, kernel=2),
            "channels": partial(move, P=P_in, cuts=(0, 1, None, None)),
            "flatten": Flatten,
            "affine1": partial(GeneralLinear, out=120, P_w=P_w, P_y=P_out, seed=5 * seed + 2),
            "relu3": ReLU,
            "affine2": partial(GeneralLinear, out=84, P_w=P_w.transpose(), P_y=P_in, seed=5 * seed + 3),
            "relu4": ReLU,
            "affine3": partial(GeneralLinear, out=classes, P_w=P_w, P_y=P_out, seed=5 * seed + 4),
            "gather": partial(move, P=root, cuts=(0, 1)),
        }
        super().__init__(chain(X, makers))


def move(X: Space, P: Partition, cuts: Sequence[int | None]) -> Apply:
    """The repartition to ``P`` as a layer."""
    return Apply(Repartition(X, P, cuts))


def read_grid(X: Space, name: str, grid: Sequence[int] | None) -> tuple[int, ...]:
    """The grid as given, or the most square one over all ranks."""
    size = X.comm.size
    q = max(q for q in range(1, isqrt(size) + 1) if size % q == 0)
    read = whole_numbers(f"LeNet5: {name}", (size // q, q) if grid is None else grid)
    if len(read) != 2:
        raise ValueError(f"LeNet5: expected a grid (p, q) for {name}, got {read}")
    return read
