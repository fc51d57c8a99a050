"""The container `.spuc`: a zip file of one text and of arrays in NumPy's `.npy` format.

Nothing in it is trusted. Before anything is unpacked the number, names, sizes and ratios of the members are checked; the
header of an array is matched against the few forms that are allowed, never evaluated; nothing is ever written to a path
that a file names. The bytes are the same for the same content: members stored, one date, one order.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Never

import numpy as np

from spucc.diagnostics import Span, fail

TEXT_NAMES = ("program.txt", "stage.txt")
ARRAYS = "arrays/"

MAX_MEMBERS = 100_000
MAX_TEXT = 1 << 28
MAX_BYTES = 1 << 33
MAX_RATIO = 100
"""Unpacked bytes to bytes of the file, above a floor of `FREE_BYTES`."""
FREE_BYTES = 1 << 24

_MEMBER = re.compile(r"arrays/([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.npy", re.ASCII)
_HEADER = re.compile(
    rb"\{'descr': '(<f8|<i8|<i4|<i2|\|i1)', 'fortran_order': False, 'shape': \((\d{1,12}(?:, \d{1,12})*,?)?\), \} *\n"
)
_BROKEN = (
    zipfile.BadZipFile,
    # of zipfile, for a compression or an encryption that it does not know
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    IndexError,
    KeyError,
)


def pack(name: str, text: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a container."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for member, data in [(name, text), *((f"{ARRAYS}{k}.npy", npy(a)) for k, a in arrays.items())]:
            info = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as `.npy`, whole numbers in the narrowest type that holds them."""
    if array.dtype.kind == "f":
        array = np.ascontiguousarray(array, dtype="<f8")
    else:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        width = next(w for w in (1, 2, 4, 8) if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1))
        array = np.ascontiguousarray(array, dtype=f"<i{width}")
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unpack(data: bytes, file: str) -> tuple[str, bytes, dict[str, bytes]]:
    """Name and bytes of the text, and the bytes of the arrays by name. E0607 for anything that a container may not hold."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
    except _BROKEN as error:
        _refuse(file, f"cannot be opened as a container: {error}")
    _admit(members, len(data), file)
    found: dict[str, bytes] = {}
    for info in members:
        try:
            with archive.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except _BROKEN as error:
            _refuse(file, f"member `{info.filename[:80]}` cannot be unpacked: {error}")
        if len(content) != info.file_size:
            _refuse(file, f"member `{info.filename[:80]}` is not as long as it says")
        found[info.filename] = content
    name = next(n for n in TEXT_NAMES if n in found)
    text = found.pop(name)
    return name, text, {n[len(ARRAYS) : -len(".npy")]: content for n, content in found.items()}


def _admit(members: list[zipfile.ZipInfo], size: int, file: str) -> None:
    """Everything that can be judged without unpacking."""
    if len(members) > MAX_MEMBERS:
        _refuse(file, f"has {len(members)} members; {MAX_MEMBERS} are allowed")
    names = [m.orig_filename for m in members]
    if len(set(names)) != len(names):
        twice = next(n for k, n in enumerate(names) if n in names[:k])
        _refuse(file, f"holds `{twice[:80]}` twice")
    texts = [n for n in names if n in TEXT_NAMES]
    if len(texts) != 1:
        _refuse(file, f"holds {len(texts)} texts; one of {' or '.join(TEXT_NAMES)} is wanted")
    for m in members:
        name = m.orig_filename
        if name not in TEXT_NAMES and not _MEMBER.fullmatch(name):
            _refuse(file, f"holds `{name[:80]!s}`, which is neither the text nor an array `arrays/NAME.npy`")
        if m.flag_bits & 1:
            _refuse(file, f"member `{name}` is encrypted")
        if m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(file, f"member `{name}` is packed in a way that is not allowed; stored and deflated are")
        if name in TEXT_NAMES and m.file_size > MAX_TEXT:
            _refuse(file, f"holds a text of {m.file_size} bytes; {MAX_TEXT} are allowed")
    total = sum(m.file_size for m in members)
    if total > min(MAX_BYTES, FREE_BYTES + MAX_RATIO * size):
        _refuse(file, f"of {size} bytes would unpack to {total}, which is more than is allowed")


def _refuse(file: str, what: str) -> Never:
    fail(
        "E0607",
        f"the file {what}",
        Span(file, 1, 1, 1, 1),
        help="a .spuc file is written by `spucc compile -o`; make it again",
    )


def array_of(content: bytes, name: str, file: str) -> np.ndarray:
    """The array in the bytes of a `.npy` member, as float64 or int64, read-only. E0613 unless header and size are right."""

    def refuse(what: str) -> Never:
        fail("E0613", f"the array `{name}` {what}", Span(f"{file}/{ARRAYS}{name}.npy", 1, 1, 1, 1))

    if content[:8] != b"\x93NUMPY\x01\x00" or len(content) < 10:
        refuse("is no .npy file of version 1.0")
    start = 10 + int.from_bytes(content[8:10], "little")
    match = _HEADER.fullmatch(content[10:start])
    if match is None:
        refuse("has a header that is not allowed: C order, and little-endian f8, i8, i4, i2 or i1, are")
    shape = tuple(int(n) for n in (match[2] or b"").replace(b",", b" ").split())
    dtype = np.dtype(match[1].decode())
    if len(shape) > 32 or math.prod(shape) * dtype.itemsize != len(content) - start:
        refuse(f"has {len(content) - start} bytes of data, which do not fit its shape {list(shape)}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    wide = np.ascontiguousarray(array, dtype=np.float64 if dtype.kind == "f" else np.int64).reshape(shape)
    wide.flags.writeable = False
    return wide
