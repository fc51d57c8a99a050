"""The lines of a text form: writing them with indentation, reading them with the place at fault.

A text is lines. `#` outside a string starts a comment; blank lines mean nothing. A line is an entry `key = value`, opens a
block `key … {`, closes one `}`, or is a row of a table. `docs/ir.md` is the grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Never

import numpy as np

from spucc.device import Device
from spucc.diagnostics import Span, did_you_mean, fail
from spucc.energy import Energy

VERSION = 1
MAGIC = "spucc-ir"

# Rows of a table beyond which its comments (names, units) are left out and its columns are not aligned.
COMMENTED = 1000

# Possessive, so that no text can make them backtrack.
_CONTENT = re.compile(r'(?:[^"#]++|"(?:[^"\\]++|\\.)*+(?:"|$))*+')
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"[^\s"]*+|\S++')
_COMMENT = re.compile(r"#[^\n]*")


class Writer:
    """Collects the lines and, apart, the arrays that are larger than `limit` entries (None: all in the text)."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.lines: list[str] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.sections: list[tuple[str, int, int]] = []
        self.shared: list[tuple[str, Any]] = []
        self.energy: Energy | None = None
        self.device: Device | None = None
        self.cells: Sequence[str] | None = None
        self.rows: Sequence[str] | None = None
        self.labels: Sequence[str] | None = None
        self.number: int | None = None
        """Which of several blocks at one key the next one is."""
        self._path: list[str] = []
        self._names: dict[int, list[str]] = {}

    def line(self, text: str) -> None:
        self.lines.append("  " * len(self._path) + text)

    @contextmanager
    def block(self, head: str, name: str) -> Iterator[None]:
        """A block `head {` … `}`, whose arrays are called `name.…`; the names in comments are those of outside again
        when it ends."""
        kept = self.energy, self.cells
        self.line(f"{head} {{")
        if self.number is not None:
            name, self.number = f"{name}.{self.number}", None
        self._path.append(name)
        yield
        self._path.pop()
        self.line("}")
        self.energy, self.cells = kept

    def member(self, name: str) -> str:
        """What an array `name` of the current block is called in the container."""
        return ".".join([*self._path, name])

    def keep(self, name: str, array: np.ndarray) -> str:
        """Put an array that is too long for the text aside; the name of its member."""
        self.arrays[self.member(name)] = array
        return self.member(name)

    def names(self) -> Sequence[str] | None:
        """The user's names of the coordinates that numbers refer to here; None where there are too many to show."""
        energy = self.energy
        if energy is None or energy.n > COMMENTED:
            return None
        if id(energy) not in self._names:
            self._names[id(energy)] = list(energy.labels())
        return self._names[id(energy)]


class Reader:
    """Reads lines one after the other. Every fault is raised with the line that it is on."""

    def __init__(
        self, text: str, file: str, arrays: Mapping[str, np.ndarray], size: int, contained: bool = False
    ) -> None:
        self.text = text
        self.file = file
        self.arrays = arrays
        self.used: set[str] = set()
        self.shared: dict[str, Any] = {}
        self.device: Device | None = None
        self.contained = contained
        self.start = 0
        """Where the current line starts."""
        self.number = 0
        """Its number, from 1."""
        self.end = 0
        """Where the line after the last one taken starts."""
        self._next = 0
        self._line: str | None = None
        self._path: list[str] = []
        # A small file must not be able to ask for much memory (`zeros 999999999`).
        self._allowance = (1 << 22) + 8 * size

    # --- lines

    def peek(self) -> str:
        """The next line that says something, without comment and surrounding space; empty at the end of the text."""
        while self._line is None:
            if self._next >= len(self.text):
                self.start = len(self.text)
                return ""
            stop = self.text.find("\n", self._next)
            stop = len(self.text) if stop < 0 else stop
            self.start, line = self._next, self.text[self._next : stop]
            self.number += 1
            self._next = stop + 1
            self._line = self._content(line) or None
        return self._line

    @staticmethod
    def _content(line: str) -> str:
        if "#" in line:
            match = _CONTENT.match(line)
            line = line[: match.end()] if match else line
        return line.strip()

    def take(self) -> str:
        line = self.peek()
        self._line, self.end = None, self._next
        return line

    def key(self) -> str:
        """The first word of the next line."""
        line = self.peek()
        return line.split(maxsplit=1)[0] if line else ""

    def entry(self, key: str) -> str:
        """The value of the next line `key = value`."""
        self.expect(key)
        head, equals, value = self.peek().partition("=")
        if not equals or head.strip() != key:
            self.fault("E0609", f"cannot read this line; `{key} = …` belongs here")
        self.take()
        return value.strip()

    def expect(self, key: str) -> None:
        """E0610 unless the next line begins with `key`; E0608 at the end of the text."""
        found = self.key()
        if found == key:
            return
        if not found:
            self.ended(f"`{key}`")
        self.fault(
            "E0610", f"`{key}` belongs here, but `{found[:40]}` was found", help=did_you_mean(found, [key])
        )

    def ended(self, wanted: str) -> Never:
        self.fault(
            "E0608",
            f"the text ends where {wanted} belongs",
            help="the file was cut off, or a closing `}` is missing",
        )

    def open(self, key: str) -> list[str]:
        """The words between `key` and `{` of the next line, which opens a block."""
        self.expect(key)
        line = self.peek()
        if not line.endswith("{"):
            self.fault("E0609", f"cannot read this line; `{key} … {{` belongs here")
        self.take()
        self._path.append(key)
        return line[:-1].split()[1:]

    def close(self) -> None:
        """The end of a block."""
        line = self.peek()
        if not line:
            self.ended("`}`")
        if line != "}":
            self.fault("E0610", f"`{self.key()[:40]}` does not belong in `{self.where}` at this place")
        self.take()
        self._path.pop()

    def literal(self) -> list[str]:
        """The following lines that begin with `|`, without that mark and one space."""
        rows = []
        while self.peek().startswith("|"):
            stop = self.text.find("\n", self.start)
            raw = self.text[self.start : len(self.text) if stop < 0 else stop].lstrip(" \t")
            rows.append(raw[2:] if raw.startswith("| ") else raw[1:])
            self._line = None
        return rows

    def body(self) -> str:
        """All text up to the line that closes the current block, comments left out; the block is closed."""
        begin = line = self._next
        while True:
            brace = self.text.find("}", line)
            if brace < 0:
                self._next = len(self.text)
                self.ended("`}`")
            line = max(self.text.rfind("\n", begin, brace) + 1, begin)
            if not self.text[line:brace].strip(" \t"):
                break
            line = self.text.find("\n", brace) + 1 or len(self.text)
        body = self.text[begin:line]
        self.number += body.count("\n")
        self._next = line
        self.close()
        return _COMMENT.sub("", body) if "#" in body else body

    def mark(self) -> tuple[int, int]:
        """The line after the current one, for `goto`."""
        return self._next, self.number + 1

    def here(self) -> tuple[int, int]:
        """The current line, for `goto`."""
        self.peek()
        return self.start, self.number

    def goto(self, mark: tuple[int, int], k: int) -> None:
        """Point at the k-th line from a mark, so that a fault names it."""
        self.start, self.number = mark[0], mark[1] + k
        for _ in range(k):
            self.start = self.text.find("\n", self.start) + 1

    # --- faults and limits

    @property
    def where(self) -> str:
        return " / ".join(self._path) or "the file"

    def span(self) -> Span:
        stop = self.text.find("\n", self.start)
        width = (len(self.text) if stop < 0 else stop) - self.start
        number = max(self.number, 1)
        return Span(self.file, number, 1, number, width + 1)

    def fault(self, code: str, title: str, **fields: Any) -> Never:
        """Raise a diagnostic at the current line that names the section; it quotes the line if it lies in a container."""
        stop = self.text.find("\n", self.start)
        line = self.text[self.start : len(self.text) if stop < 0 else stop].strip()
        notes: tuple[str, ...] = (f"in {self.where}",) if self._path else ()
        notes += (f"the line is `{line[:100]}`",) if line and self.contained else ()
        fail(code, title, self.span(), notes=(*notes, *fields.pop("notes", ())), **fields)

    def claim(self, entries: int) -> None:
        """E0618 when the text asks for more entries than a file of this size has reason to."""
        self._allowance -= entries
        if self._allowance < 0:
            self.fault("E0618", f"{entries} entries are more than a file of this size can speak of")

    def array(self, name: str) -> np.ndarray:
        """The array of a member of the container."""
        found = self.arrays.get(name)
        if found is None:
            near = (
                did_you_mean(name, self.arrays) or "the text alone is not enough: read the whole .spuc file"
            )
            self.fault("E0613", f"there is no array `{name[:80]}` beside this text", help=near)
        self.used.add(name)
        return found


def tokens(line: str) -> list[str]:
    """Words of a line; a string is one word with what is glued to its end."""
    return _TOKEN.findall(line)


def quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def unquote(token: str) -> str:
    """Raises ValueError for anything that is not one JSON string, and for half a surrogate pair."""
    if not (len(token) >= 2 and token[0] == token[-1] == '"'):
        raise ValueError("a string in quotation marks is wanted")
    text: str = json.loads(token)
    text.encode()
    return text


# --- rows of numbers ------------------------------------------------------------------------------------------------


def aligned(rows: Sequence[Sequence[str]], left: Callable[[int], bool] = lambda column: False) -> list[str]:
    """Rows of words as lines with columns one under the other, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = (w.ljust(n) if left(k) else w.rjust(n) for k, (w, n) in enumerate(zip(row, widths)))
        lines.append("  ".join(cells).rstrip())
    return lines


def ranges(index: np.ndarray) -> list[str]:
    """Integers with their runs shortened: 0 1 2 3 7 → `0..3`, `7`."""
    if index.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(index) != 1)
    first = index[np.concatenate([[0], breaks + 1])].tolist()
    last = index[np.concatenate([breaks, [index.size - 1]])].tolist()
    return [str(a) if a == b else f"{a}..{b}" for a, b in zip(first, last)]


_RANGE = re.compile(r"(-?\d{1,18})(?:\.\.(-?\d{1,18}))?", re.ASCII)


def from_ranges(words: Sequence[str], claim: Callable[[int], None]) -> np.ndarray:
    """The integers of `ranges`. Raises ValueError for a word that is none."""
    parts = []
    for word in words:
        match = _RANGE.fullmatch(word)
        if match is None:
            raise ValueError(f"`{word[:40]}` is no number and no range a..b")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise ValueError(f"the range `{word}` runs backwards")
        claim(last - first + 1)
        parts.append((first, last))
    if len(parts) == sum(b - a + 1 for a, b in parts):
        return np.array([a for a, _ in parts], dtype=np.int64)
    return np.concatenate([np.arange(a, b + 1, dtype=np.int64) for a, b in parts])
