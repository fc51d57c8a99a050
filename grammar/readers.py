"""Files to bytes and text: sizes are checked before memory is taken. The formats are in modules of their own."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spucc.diagnostics import fail
from spucc.free_memory import free_memory
from spucc.grammar.values import LARGEST_DATUM, Array

MOST_BYTES = 8 * LARGEST_DATUM
MOST_TEXT = 200_000_000
# Files of which nothing is asked before they are read.
SMALL = 1 << 20


def room(size: int, name: str) -> None:
    """Raises E0311 where reading a file would take more memory than is free."""
    free = free_memory() if size > SMALL else None
    if free is not None and size > free:
        fail(
            "E0311",
            f"`{name}` takes some {_shown(size)} of memory to read, and {_shown(free)} are free",
            help="a `.npy` or `.npz` file of the same numbers takes least",
        )


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            fail(
                "E0311",
                f"`{path.name}` is too large ({_shown(size)})",
                help=f"files of up to {_shown(MOST_BYTES)} are read",
            )
        room(2 * size, path.name)  # the bytes and the numbers
        raw = path.read_bytes()
    except OSError as error:
        fail("E0308", f"`{path.name}` cannot be read: {error.strerror or error}")
    return unpacked(raw, path.name) if path.suffix == ".gz" else raw


def unpacked(raw: bytes, name: str) -> bytes:
    """gzip, with a limit on what comes out."""
    out: list[bytes] = []
    total, asked = 0, SMALL
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
                if total > asked:  # as much again, to put the pieces together
                    room(total, name)
                    asked = 2 * total
                if not piece and not data and not machine.eof:
                    fail("E0310", f"`{name}` is cut short")
            data = machine.unused_data.lstrip(b"\0")
    except zlib.error as error:
        fail("E0310", f"`{name}` is not a gzip file: {error}")
    return b"".join(out)


def decoded(raw: bytes, name: str, costs: Mapping[bytes, int]) -> str:
    """The text of a file. `costs` says how many bytes its format takes while it is read for each time that a mark stands in
    it."""
    if len(raw) > MOST_TEXT:
        fail(
            "E0311",
            f"`{name}` is too large for a text file ({_shown(len(raw))})",
            help=f"text of up to {_shown(MOST_TEXT)} is read; use `.npz` or `.npy`",
        )
    if len(raw) > SMALL:
        room(2 * len(raw) + sum(cost * raw.count(mark) for mark, cost in costs.items()), name)
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
