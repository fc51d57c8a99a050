"""Tables: csv, with or without a header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.readers import decoded, is_number
from spucc.grammar.values import Array

# What reading takes for each mark: see `decoded`.
COSTS = {b"\n": 100, b",": 20}


@dataclass(frozen=True, eq=False)
class Table:
    """A csv file: the header if there is one, and the lines below it."""

    name: str
    header: tuple[str, ...]
    first_line: int
    lines: list[str]


def _fields(line: str) -> list[str]:
    import csv

    return [f.strip() for f in next(csv.reader([line]), [])]


def table(raw: bytes, name: str) -> Table:
    """Split a csv file into header and lines."""
    lines = decoded(raw, name, COSTS).splitlines()
    start = next((k for k, line in enumerate(lines) if line.strip()), len(lines))
    if start == len(lines):
        fail("E0310", f"`{name}` is empty")
    first = _fields(lines[start])
    header = () if all(is_number(f) for f in first) else tuple(first)
    if len(set(header)) != len(header):
        fail("E0310", f"`{name}` has two columns of the same name")
    body = start + 1 if header else start
    return Table(name, header, body, lines[body:])


def numeric_table(t: Table, columns: tuple[int, ...] | None = None) -> Array:
    """The numbers of a table or of some of its columns, [rows, columns]."""
    lines = [line for line in t.lines if line.strip()]
    if not lines:
        return np.zeros((0, len(t.header) if columns is None else len(columns)))
    try:
        return np.atleast_2d(
            np.loadtxt(lines, delimiter=",", usecols=columns, ndmin=2, comments=None, quotechar='"')
        )
    except (ValueError, IndexError):
        pass
    width = len(t.header) or len(_fields(lines[0]))
    for number, line in enumerate(t.lines):
        if not line.strip():
            continue
        fields = _fields(line)
        where = f"line {number + t.first_line + 1} of `{t.name}`"
        if len(fields) != width:
            fail("E0310", f"{where} has {len(fields)} fields, expected {width}")
        for k in range(width) if columns is None else columns:
            if not is_number(fields[k]):
                column = f" in the column `{t.header[k]}`" if t.header else ""
                found = fields[k][:40] or "nothing"
                fail(
                    "E0310",
                    f"{where}: `{found}`{column} is not a number",
                    help="leave rows with missing values out"
                    if not fields[k] or fields[k] in ("NA", "?")
                    else "",
                )
    fail("E0310", f"`{t.name}` is not a table of numbers")
