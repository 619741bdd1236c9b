"""VTK's XML files with raw binary data, for ParaView: a file of cells for each moment, and a collection with their times.

Layout       A header names each array with the place of its bytes behind the header: uint64 length, then the numbers, x the
             fastest index but for the components.
Reference    VTK file formats, https://docs.vtk.org.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .checks import check_empty
from .files import whole_or_absent

TYPES = {"float32": "Float32", "float64": "Float64", "uint8": "UInt8"}
GHOSTS, HIDDEN = "vtkGhostType", 32  # the array by which a cell is not shown


def image_file(counts: Sequence[int], spacing: Sequence[float], fields: dict[str, np.ndarray]) -> bytes:
    """Fields (components, nx, ny[, nz]) in float32 of equal boxes."""
    extent = " ".join(f"0 {n}" for n in counts)
    tags, blocks = _arrays({name: np.asarray(values, np.float32) for name, values in fields.items()})
    size = f'Origin="0 0 0" Spacing="{" ".join(map(repr, spacing))}"'
    piece = f'<Piece Extent="{extent}"><CellData>{"".join(tags)}</CellData></Piece>'
    return _file("ImageData", f'WholeExtent="{extent}" {size}', piece, blocks)


def structured_file(points: np.ndarray, fields: dict[str, np.ndarray], hidden: np.ndarray) -> bytes:
    """Fields (components, nx, ny, nz) in float32 of cells between ``points`` (3, nx+1, ny+1, nz+1); ``hidden`` (nx, ny, nz)."""
    extent = " ".join(f"0 {n - 1}" for n in points.shape[1:])
    arrays: dict[str, np.ndarray] = {name: np.asarray(values, np.float32) for name, values in fields.items()}
    arrays[GHOSTS] = np.where(hidden, HIDDEN, 0).astype(np.uint8)[None]
    tags, blocks = _arrays(arrays | {"points": np.asarray(points, np.float32)})
    piece = f'<Piece Extent="{extent}"><CellData>{"".join(tags[:-1])}</CellData><Points>{tags[-1]}</Points></Piece>'
    return _file("StructuredGrid", f'WholeExtent="{extent}"', piece, blocks)


def write_collection(folder: Path, times: Iterable[float], files: Iterable[tuple[str, bytes]]) -> Path:
    """Write the ``files`` (name, content), one for each time in s, and the collection, whose path is returned. OSError where
    the folder has something in it, or the disk is full."""
    check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for time, (name, content) in zip(times, files, strict=True):
        with whole_or_absent(folder / name):
            (folder / name).write_bytes(content)
        entries.append(f'<DataSet timestep="{float(time)!r}" file="{name}"/>')
    collection = folder / "run.pvd"
    collection.write_text(f'<VTKFile type="Collection"><Collection>{"".join(entries)}</Collection></VTKFile>\n')
    return collection


def _arrays(arrays: dict[str, np.ndarray]) -> tuple[list[str], list[bytes]]:
    """(the header's tags, the bytes)."""
    tags, blocks, offset = [], [], 0
    for name, values in arrays.items():
        numbers = np.ascontiguousarray(values.T, values.dtype.newbyteorder("<"))
        tags.append(
            f'<DataArray type="{TYPES[values.dtype.name]}" Name="{name}" NumberOfComponents="{len(values)}" '
            f'format="appended" offset="{offset}"/>'
        )
        blocks.append(np.uint64(numbers.nbytes).tobytes() + numbers.tobytes())
        offset += len(blocks[-1])
    return tags, blocks


def _file(kind: str, whole: str, piece: str, blocks: list[bytes]) -> bytes:
    head = (
        f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
        f'<{kind} {whole}>{piece}</{kind}><AppendedData encoding="raw">_'
    )
    return head.encode() + b"".join(blocks) + b"</AppendedData></VTKFile>\n"
