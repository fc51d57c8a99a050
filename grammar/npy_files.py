"""NumPy's files: headers are checked before memory is taken, and nothing is ever unpickled."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from spucc.diagnostics import SpuccError, fail
from spucc.grammar.readers import MOST_BYTES, room
from spucc.grammar.values import LARGEST_DATUM, Array, number_of


def npy(raw: bytes, name: str) -> Array:
    """An `.npy` file; its header is read and checked first."""
    return _read_npy(io.BytesIO(raw), len(raw), name)


def _read_npy(stream: Any, available: int, name: str) -> Array:
    try:
        version = np.lib.format.read_magic(stream)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(stream)
    except Exception as error:
        fail("E0310", f"`{name}` is not a NumPy file: {str(error)[:200]}")
    if dtype.hasobject:
        fail(
            "E0312",
            f"`{name}` holds Python objects, which are never read: they could run any code",
            help="save it as an array of numbers",
        )
    if dtype.kind not in "biuf":
        fail("E0302", f"`{name}` holds {dtype}, not numbers")
    count = number_of(shape)
    if count > LARGEST_DATUM:
        fail("E0311", f"`{name}` holds {count:,} numbers, at most {LARGEST_DATUM:,} are read")
    if count * dtype.itemsize > available:
        fail("E0310", f"`{name}` is cut short: its header promises {count:,} numbers")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        fail("E0310", f"`{name}` is cut short")
    array = np.frombuffer(data, dtype=dtype)
    array = array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
    if dtype.kind == "f" and dtype.itemsize > 8:
        array = array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class Archive:
    """An `.npz` file; members are read when they are asked for."""

    def __init__(self, raw: bytes, name: str) -> None:
        self.name = name
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(raw))
            infos = self.zip.infolist()
        except Exception as error:
            fail("E0310", f"`{name}` is not an npz file: {str(error)[:200]}")
        self.members = {i.filename.removesuffix(".npy"): i for i in infos if i.filename.endswith(".npy")}

    def names(self) -> list[str]:
        return list(self.members)

    def read(self, key: str) -> Array:
        info = self.members[key]
        label = f"{self.name}:{key}"
        if info.file_size > MOST_BYTES:
            fail("E0311", f"`{label}` is too large ({info.file_size:,} bytes)")
        if info.flag_bits & 1:
            fail("E0310", f"`{label}` is encrypted")
        room(2 * info.file_size, label)
        try:
            with self.zip.open(info) as stream:
                return _read_npy(stream, info.file_size, label)
        except SpuccError:
            raise
        except Exception as error:  # a damaged archive: zipfile raises a dozen kinds, ValueError among them
            fail("E0310", f"`{label}` cannot be read: {str(error)[:200]}")
