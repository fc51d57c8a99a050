"""Files to bytes and text: sizes are checked before memory is taken. The formats are in modules of their own."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.values import LARGEST_DATUM, Array

MOST_BYTES = 8 * LARGEST_DATUM
MOST_TEXT = 200_000_000


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            fail("E0311", f"`{path.name}` is too large ({path.stat().st_size:,} bytes)")
        raw = path.read_bytes()
    except OSError as error:
        fail("E0308", f"`{path.name}` cannot be read: {error.strerror or error}")
    return unpacked(raw, path.name) if path.suffix == ".gz" else raw


def unpacked(raw: bytes, name: str) -> bytes:
    """gzip, with a limit on what comes out."""
    out: list[bytes] = []
    total = 0
    data = raw
    try:
        while data:
            machine = zlib.decompressobj(wbits=31)
            while not machine.eof:
                piece = machine.decompress(data, 1 << 22)
                data = machine.unconsumed_tail
                total += len(piece)
                out.append(piece)
                if total > MOST_BYTES:
                    fail("E0311", f"`{name}` is too large once unpacked")
                if not piece and not data and not machine.eof:
                    fail("E0310", f"`{name}` is cut short")
            data = machine.unused_data.lstrip(b"\0")
    except zlib.error as error:
        fail("E0310", f"`{name}` is not a gzip file: {error}")
    return b"".join(out)


def decoded(raw: bytes, name: str) -> str:
    if len(raw) > MOST_TEXT:
        fail(
            "E0311",
            f"`{name}` is too large for a text file ({len(raw):,} bytes)",
            help="use `.npz` or `.npy`",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail("E0310", f"`{name}` is not UTF-8 text (byte {error.start})")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(words: list[str], name: str) -> Array:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        bad = next(w for w in words if not is_number(w))
        fail("E0310", f"`{name}` holds `{bad[:40]}` where a number should be")
