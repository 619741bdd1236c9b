"""Which array library holds a block: NumPy, CuPy, torch, or any other that follows the array-API standard.

Everything above this file asks three questions only: which functions belong to this block (``namespace``), what does it
look like to MPI (``to_wire``), and how does the answer get back (``from_wire``, a space's ``adopt``). What a function of the
standard cannot do, or NumPy does faster, is done on the host: to_host, NumPy, adopt, said and not implied.

GPU memory   An MPI that is built for it sends from a GPU and receives there. One that is not ends with a segmentation fault,
             and none tells beforehand: ``REFIMPL_GPU_MESSAGES=1`` says that it is. Blocks on a GPU are then packed, sent and
             added up there, as arrays of CuPy, which shares memory with torch. Else messages go through the host.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # a NumPy array, or a block of another library that follows the array-API standard
HostArray = np.ndarray  # an array in the host's memory, as MPI, files and the caller of ``gather`` have it


def namespace(x: Array) -> ModuleType:
    """The library of functions that belongs to ``x``. Costs microseconds: ask once per public entry."""
    if isinstance(x, np.ndarray):
        return np
    from array_api_compat import array_namespace

    return array_namespace(x)


def is_array(x: object) -> bool:
    """True for a block of any array library."""
    if isinstance(x, np.ndarray):
        return True
    from array_api_compat import is_array_api_obj

    return is_array_api_obj(x)


def library(of: Array | ModuleType) -> str:
    """``numpy``, ``torch``, ..: whose block this is, or whose namespace."""
    module = of.__name__ if isinstance(of, ModuleType) else type(of).__module__
    return module.removeprefix("array_api_compat.").partition(".")[0]


def dtype_name(x: Array) -> str:
    """``float64`` for NumPy's, CuPy's and torch's float64 alike."""
    return str(x.dtype).rsplit(".", 1)[-1]


def to_host(x: Array) -> np.ndarray:
    """``x`` (or a NumPy scalar) as a C-contiguous NumPy array, which MPI is handed; ``x`` itself where it is one already."""
    if isinstance(x, np.generic):
        return np.asarray(x)
    if not isinstance(x, np.ndarray):
        if hasattr(x, "get"):  # CuPy refuses an implicit copy from the device
            x = x.get()
        elif hasattr(x, "cpu"):  # torch
            x = x.detach().cpu().resolve_conj().resolve_neg().numpy()
        else:
            x = np.from_dlpack(x)
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def contiguous(x: Array) -> Array:
    """``x`` in C order, so that sums run in the same order whatever its memory; ``x`` itself where it is already."""
    if isinstance(x, np.ndarray):
        return x if x.flags.c_contiguous else np.ascontiguousarray(x)
    if hasattr(x, "contiguous"):  # torch
        return x.contiguous()
    return x.copy() if hasattr(x, "flags") and not x.flags.c_contiguous else x  # CuPy


def fresh(x: Array) -> Array:
    """A copy of ``x``, bit by bit."""
    return x.copy() if isinstance(x, np.ndarray) else namespace(x).asarray(x, copy=True)


def to_wire(x: Array) -> Array:
    """``x`` as MPI is handed it, C-contiguous: of CuPy where MPI reads the memory of its GPU, else of NumPy."""
    return to_host(x) if isinstance(x, np.ndarray) or (held := on_gpu(x)) is None else held


def on_gpu(x: Array) -> Array | None:
    """The array of CuPy with the memory of ``x``, where that is on a GPU from which MPI may send; else None."""
    name = library(x)
    if os.environ.get("REFIMPL_GPU_MESSAGES") != "1" or not (name == "cupy" or (name == "torch" and x.is_cuda)):
        return None
    import cupy

    return cupy.ascontiguousarray(x if name == "cupy" else cupy.from_dlpack(x.detach().resolve_conj().resolve_neg()))


def settle(*blocks: Array) -> None:
    """Wait until the GPUs have written ``blocks``: MPI does not know of work that a GPU has still to do."""
    for a in blocks:
        if not isinstance(a, np.ndarray):
            a.device.synchronize()


def from_wire(a: Array, xp: ModuleType = np, device: object = None) -> Array:
    """What ``to_wire`` or a message gave as a block of library ``xp``; its own memory, where the library can have that."""
    if not isinstance(a, np.ndarray | np.generic):
        return standard(xp).from_dlpack(a)
    if xp is np:
        return a
    plain = a.flags.c_contiguous and a.flags.writeable  # torch takes no other
    return standard(xp).asarray(a if plain else a.copy(), device=device)


@lru_cache
def standard(xp: ModuleType) -> ModuleType:
    """``xp`` with the functions as the standard has them: CuPy's own ``asarray`` knows no device."""
    try:
        return import_module(f"array_api_compat.{xp.__name__}")
    except ImportError:  # it is so already
        return xp
