"""State dicts: the weights that another program has stored, as NumPy arrays by the names that it gives them.

Nothing of torch is needed for a mapping of arrays (one of NumPy's ``.npz`` files, opened, is one). A ``.pt`` file is read by
torch (``weights_only=True``), as numbers and names only: what could run code is refused. neuraloperator stores functions and
classes in every state dict, as options; torch >= 2.5 reads the harmless ones of ``NAMED`` as names, into classes that do
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np

from ..arrays import HostArray, is_array, to_host
from ..layers import Layer

StateDict = Mapping[str, Any]
NAMED = {
    "torch._C._nn": ("gelu",),
    "torch.nn.functional": ("relu", "silu", "tanh"),
    "neuralop.layers.spectral_convolution": ("SpectralConv",),
}
NUMBERS_ALONE = 'torch.save({k: v for k, v in model.state_dict().items() if k != "_metadata"}, ..)'


class State(NamedTuple):
    """What is read: where from, as errors name it, the arrays by name, and the options that neuraloperator stores with them."""

    source: str
    arrays: dict[str, HostArray]
    options: Mapping[str, Any]


def read_state(source: StateDict | str | Path, called: str = "the state dict") -> State:
    """A state dict, ``called`` so in errors, or that in a ``.pt`` file. What is no array is left out, but for the options.

    Raises ValueError where there is no state dict of finite numbers, or a file is not whole; OSError where the system cannot
    read a file, and RuntimeError where it needs torch and that is not installed.
    """
    if not isinstance(source, Mapping | str | Path):
        raise ValueError(f"read_state: expected a dict of arrays by name, or a file, got {type(source).__name__}")
    state, name = (source, called) if isinstance(source, Mapping) else (loaded(Path(source)), str(source))
    if not isinstance(state, Mapping):
        raise ValueError(f"read_state: expected a dict of arrays by name in {name}, got {type(state).__name__}")
    other = [key for key in state if not isinstance(key, str)]
    if other:
        raise ValueError(f"read_state: expected a dict of arrays by name in {name}, got the key {other[0]!r}")
    arrays = {key: finite(f"{key} in {name}", value) for key, value in state.items() if is_array(value)}
    if not arrays:
        got = f"only {', '.join(list(state)[:3])}; is one of them that dict?" if state else "an empty one"
        raise ValueError(f"read_state: expected a dict of arrays by name in {name}, got {got}")
    options = state.get("_metadata")
    return State(name, arrays, options if isinstance(options, Mapping) else {})


def finite(name: str, array: Any) -> HostArray:
    """The array as NumPy's. ValueError where that has no such type, or a number is infinite or none."""
    try:
        numbers = to_host(array)
    except (TypeError, RuntimeError):  # torch's words for a type or a layout that NumPy has not
        remedy = "store it in another, as by model.float()"
        raise ValueError(f"read_state: {name}: NumPy has no {getattr(array, 'dtype', 'such type')}; {remedy}") from None
    if numbers.dtype.kind not in "biufc":
        raise ValueError(f"read_state: {name}: expected numbers, got {numbers.dtype}")
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"read_state: {name}: expected finite numbers, got {np.sum(~np.isfinite(numbers))} infinite or NaN"
        )
    return numbers


def loaded(path: Path) -> Any:
    """What torch.load makes of a file, without running anything that the file says."""
    if path.suffix == ".npz":
        raise ValueError(f'read_state: {path} is a file of NumPy: give numpy.load("{path}") in its place')
    try:
        import torch
    except ImportError:
        raise RuntimeError(f"read_state: torch reads {path}; install it, or give the arrays by name") from None
    allowed: Callable = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    old = "" if hasattr(torch.serialization, "safe_globals") else "take torch >= 2.5, or "
    stand_ins = [type(name, (), {"__module__": module}) for module, names in NAMED.items() for name in names]
    try:
        with path.open("rb") as file, allowed(stand_ins):
            if is_zipfile(file) and ZipFile(file).testzip():
                raise BadZipFile  # torch does not compare the checksums
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, OSError too, but only what the system refuses names the file
        if isinstance(error, OSError) and error.filename:
            raise
        named = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"is no state dict of torch.save, or not whole ({type(error).__name__}): copy or store it again"
        if named:
            problem = f"names {named[1]}, which could run code; {old}store numbers alone: {NUMBERS_ALONE}"
        raise ValueError(f"read_state: {path} {problem}") from None


def fitted(model: Layer, weights: dict[str, HostArray], source: str) -> dict[str, HostArray]:
    """``weights``. ValueError where they are not what ``model`` owns, in its shapes and types."""
    who, spaces = f"{type(model).__name__} from {source}", model.parameter_spaces | model.statistics_spaces
    for problem, names in {"is missing": set(spaces) - set(weights), "is too much": set(weights) - set(spaces)}.items():
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise ValueError(f"{who}: {min(names)} {problem}{more}; give the model the options of what was stored")
    for name, X in spaces.items():
        w = weights[name]
        if w.shape != X.shape or w.dtype != X.dtype:
            remedy = (
                "the space the dtype" if (w.shape, w.dtype.kind) == (X.shape, X.dtype.kind) else "the model the options"
            )
            expected, got = f"{X.dtype}{list(X.shape)}", f"{w.dtype}{list(w.shape)}"
            raise ValueError(f"{who}: {name}: expected {expected}, got {got}; give {remedy} of what was stored")
    return weights
