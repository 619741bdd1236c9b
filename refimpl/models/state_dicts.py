"""State dicts: the weights that another program has stored, as NumPy arrays by the names that it gives them.

Nothing of torch is needed for a mapping of arrays (one of NumPy's ``.npz`` files is one); a ``.pt`` file is read by torch, and
only as numbers: what would run code when it is read is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ..arrays import HostArray, is_array, to_host

StateDict = Mapping[str, Any]


def read_state(source: StateDict | str | Path) -> dict[str, HostArray]:
    """The arrays of a state dict, or of the ``.pt`` file that holds one; what is no array is left out.

    Raises RuntimeError where a file needs torch and it is not installed, and ValueError where there is no state dict.
    """
    if not isinstance(source, Mapping | str | Path):
        raise ValueError(f"read_state: expected a dict of arrays by name, or a file, got {type(source).__name__}")
    state = source if isinstance(source, Mapping) else _loaded(Path(source))
    if not isinstance(state, Mapping):
        raise ValueError(f"read_state: expected a dict of arrays by name in {source}, got {type(state).__name__}")
    return {name: to_host(array) for name, array in state.items() if is_array(array)}


def _loaded(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise RuntimeError(f"read_state: torch reads {path}; install it, or give the arrays by name") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        remedy = "where you trust it, load it yourself by torch.load(.., weights_only=False), and give the dict"
        raise ValueError(f"read_state: {path} holds more than numbers, and could run code; {remedy}") from None
