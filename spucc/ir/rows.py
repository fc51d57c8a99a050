"""Rows of numbers as lines, and back, exactly: word by word, and by the thousand where there are many.

A JSON encoder prints the shortest decimal of a float as `repr` does, but for its exponents, and takes a tenth of the time;
rows of JSON arrays are rows of a table but for the brackets. What it cannot print or read alike goes the slow way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import msgspec
import numpy as np

from spucc.ir.text import Reader
from spucc.stages import Role


class Kind(Enum):
    """What the numbers of a column are."""

    FLOAT = "float"
    INT = "int"
    CODE = "code"
    """Integer codes, or the values themselves on a continuous bank: the column's head says which."""
    ROLE = "role"


_ROLES = {int(r): r.name.lower() for r in Role}
_ROLE_CODES = {name: code for code, name in _ROLES.items()}
_WANTED = {
    Kind.FLOAT: "write a number such as 1.5 or 2e-12 (float)",
    Kind.INT: "write a whole number (int)",
    Kind.ROLE: f"write a role: {', '.join(_ROLES.values())}",
}

# Rows and characters that are treated at once: enough to be quick, and too few for the garbage collector to start on them.
_ROWS, _CHARACTERS = 1 << 9, 1 << 14


def to_words(array: np.ndarray, kind: Kind) -> list[str]:
    """The entries of a 1-D array, exactly."""
    values = array.tolist()
    if kind is Kind.ROLE:
        return [_ROLES.get(v, str(v)) for v in values]
    return list(map(repr, values))


def from_words(words: Sequence[str], kind: Kind) -> np.ndarray:
    """The 1-D array of `to_words`. Raises ValueError or OverflowError for words that are no such numbers."""
    if kind is Kind.ROLE:
        return np.array([_ROLE_CODES[w] if w in _ROLE_CODES else int(w) for w in words], dtype=np.int64)
    if kind is Kind.INT:
        return np.array(list(map(int, words)), dtype=np.int64)
    return np.array(list(map(float, words)), dtype=np.float64)


def print_rows(columns: Sequence[tuple[np.ndarray, Kind]]) -> str:
    """The lines of a table: one word of each 1-D column, a space between."""
    parts = []
    for k in range(0, len(columns[0][0]), _ROWS):
        items = [_items(array[k : k + _ROWS], kind) for array, kind in columns]
        encoded = msgspec.json.encode(list(zip(*items)))
        parts.append(encoded[2:-2].replace(b"],[", b"\n").replace(b",", b" "))
    return b"\n".join(parts).decode()


def _items(array: np.ndarray, kind: Kind) -> list[Any]:
    """The entries as an encoder of JSON prints them to the words of `to_words`."""
    items: list[Any] = array.tolist()
    if array.dtype.kind == "f":
        size = np.abs(array)
        # Exponents of two or three digits after a minus, and no exponent: there JSON's words are those of `repr`.
        alike = ((size >= 1e-4) & (size < 1e16)) | ((size < 9e-11) & (size > 0)) | (size == 0)
        for k in np.flatnonzero(~alike).tolist():
            items[k] = msgspec.Raw(repr(items[k]).encode())
    elif kind is Kind.ROLE:
        return [msgspec.Raw(word.encode()) for word in to_words(array, kind)]
    return items


def read_rows(src: Reader, heads: Sequence[str], kinds: Sequence[Kind]) -> list[np.ndarray]:
    """The columns of the rows up to the end of the block."""
    first = src.mark()
    body = src.body()
    found = _read_at_once(body, kinds)
    if found is not None:
        return found
    rows = [line.split() for line in body.split("\n")]
    filled = [row for row in rows if row]
    if all(len(row) == len(heads) for row in filled) and body.isascii() and "_" not in body:
        try:
            return [from_words([row[k] for row in filled], kind) for k, kind in enumerate(kinds)]
        except (ValueError, OverflowError):
            pass
    for k, row in enumerate(rows):
        _judge(src, first, k, row, heads, kinds)
    src.fault("E0609", "the rows of this table cannot be read")


def _read_at_once(body: str, kinds: Sequence[Kind]) -> list[np.ndarray] | None:
    """The columns of rows as `print_rows` writes them; None for anything else, right or wrong."""
    text = body.rstrip(" \n")
    # A role is no word of JSON, whose whole numbers know no -0; and its own punctuation is none of a table's.
    if not text or Kind.ROLE in kinds or any(mark in body for mark in (",", "[", "]", "-0\n", "-0 ")):
        return None
    row: Any = tuple[tuple(int if kind is Kind.INT else float for kind in kinds)]  # type: ignore[misc]
    decoder: Any = msgspec.json.Decoder(list[row])
    types = [np.int64 if kind is Kind.INT else np.float64 for kind in kinds]
    parts: list[list[np.ndarray]] = []
    try:
        for piece in _pieces(text):
            rows = decoder.decode("[[" + piece.replace("\n", "],[").replace(" ", ",") + "]]")
            parts.append([np.array(column, dtype=t) for column, t in zip(zip(*rows), types)])
    except (msgspec.MsgspecError, OverflowError):
        return None
    return [np.concatenate(column) for column in zip(*parts)]


def _pieces(text: str) -> Iterator[str]:
    """Whole lines, many at a time."""
    at = 0
    while at < len(text):
        stop = text.find("\n", at + _CHARACTERS)
        stop = len(text) if stop < 0 else stop
        yield text[at:stop]
        at = stop + 1


def _judge(
    src: Reader, first: tuple[int, int], k: int, row: list[str], heads: Sequence[str], kinds: Sequence[Kind]
) -> None:
    """Raise the fault of row `k`, if it has one."""
    if row and len(row) != len(heads):
        src.goto(first, k)
        src.fault(
            "E0609",
            f"this row has {len(row)} words, but there are {len(heads)} columns",
            help=" ".join(heads)[:80],
        )
    for head, kind, word in zip(heads, kinds, row):
        try:
            from_words([word], kind)
            if word.isascii() and "_" not in word:
                continue
        except (ValueError, OverflowError):
            pass
        src.goto(first, k)
        src.fault("E0618", f"`{head[:40]}` cannot be `{word[:60]}`", help=_WANTED[kind])
