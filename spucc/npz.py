"""`.npz` files of others: nothing is unpickled, and no memory is taken before the headers have been held to the file."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

MOST_BYTES = 1 << 28
"""Unpacked bytes that `load_npz` takes, unless it is told otherwise."""


def npz_headers(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array. Raises ValueError for a header that is none, promises more than the member holds, or is
    of Python objects."""
    found = {}
    for info in archive.infolist():
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"`{info.filename}` is encrypted or compressed in an unknown way")
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"`{info.filename}` is of an unknown version")
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(member)
        if dtype.hasobject:
            raise ValueError(f"`{info.filename}` holds Python objects")
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"`{info.filename}` promises more than it holds")
        found[info.filename.removesuffix(".npy")] = (shape, dtype)
    return found


def load_npz(
    path: Path, names: frozenset[str] | None = None, most: int = MOST_BYTES
) -> dict[str, np.ndarray]:
    """The arrays (those of `names`). Raises ValueError as `npz_headers` does and for more than `most` unpacked bytes, and what
    `zipfile` raises for a file that is none."""
    with zipfile.ZipFile(path) as archive:
        wanted = [n for n in npz_headers(archive) if names is None or n in names]
        size = sum(i.file_size for i in archive.infolist() if i.filename.removesuffix(".npy") in wanted)
    if size > most:
        raise ValueError(f"it unpacks to {size} bytes, more than {most}")
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in wanted}
