"""Values that are one word of a line: numbers, names, strings, places in a source text, shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Generic, TypeVar

import numpy as np

from spucc.arrays import frozen
from spucc.diagnostics import Span
from spucc.ir.text import Reader, Writer, from_ranges, quote, ranges, unquote

T = TypeVar("T")


@dataclass(frozen=True)
class Atom(Generic[T]):
    """How one value is a word: `format` and `parse`, which raises ValueError. `what` is what the user is told to write."""

    what: str
    format: Callable[[T], str]
    parse: Callable[[str], T]

    def write(self, out: Writer, key: str, value: T) -> None:
        out.line(f"{key} = {self.format(value)}")

    def read(self, src: Reader, key: str) -> T:
        raw = src.entry(key)
        return self.of(src, key, raw)

    def of(self, src: Reader, key: str, raw: str) -> T:
        """The value of a word. Raises E0618 for one that this is not."""
        try:
            return self.parse(raw)
        except ValueError:
            src.fault("E0618", f"`{key}` cannot be `{raw[:60]}`", help=f"write {self.what}")


_INT = re.compile(r"-?\d{1,19}", re.ASCII)
_FLOAT = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)", re.ASCII)
_SPAN = re.compile(r'("(?:[^"\\]++|\\.)*+"):(\d{1,9}):(\d{1,9})-(\d{1,9}):(\d{1,9})', re.ASCII)
_SHAPE = re.compile(r"scalar|\d{1,12}(?:x\d{1,12}){0,31}", re.ASCII)


def _int(word: str) -> int:
    if not _INT.fullmatch(word) or not -(2**63) <= int(word) < 2**63:
        raise ValueError
    return int(word)


def _float(word: str) -> float:
    if len(word) > 400 or not _FLOAT.fullmatch(word):
        raise ValueError
    return float(word)


def _bool(word: str) -> bool:
    if word not in ("true", "false"):
        raise ValueError
    return word == "true"


def _print_span(span: Span | None) -> str:
    if span is None:
        return "-"
    return f"{quote(span.file)}:{span.line}:{span.column}-{span.end_line}:{span.end_column}"


def _span(word: str) -> Span | None:
    if word == "-":
        return None
    match = _SPAN.fullmatch(word)
    if match is None:
        raise ValueError
    return Span(unquote(match[1]), *(int(match[k]) for k in range(2, 6)))


def _shape(word: str) -> tuple[int, ...]:
    if not _SHAPE.fullmatch(word):
        raise ValueError
    return () if word == "scalar" else tuple(int(n) for n in word.split("x"))


def _certain_span(word: str) -> Span:
    found = _span(word)
    if found is None:
        raise ValueError
    return found


INT = Atom[int]("a whole number", lambda v: str(int(v)), _int)
FLOAT = Atom[float]("a number such as 1.5 or 2e-12, inf or nan", lambda v: repr(float(v)), _float)
BOOL = Atom[bool]("true or false", lambda v: "true" if v else "false", _bool)
STRING = Atom[str]('text in quotation marks, "…"', quote, unquote)
SPAN = Atom[Span]('a place "file":line:column-line:column', _print_span, _certain_span)
MAYBE_SPAN = Atom["Span | None"]('a place "file":line:column-line:column, or -', _print_span, _span)
SHAPE = Atom["tuple[int, ...]"](
    "a shape such as 3x4, or scalar", lambda v: "x".join(map(str, v)) or "scalar", _shape
)


def word_of(kind: type[Enum]) -> Atom[Any]:
    """The members of an enumeration by a word each: a StrEnum's value, an IntEnum's name in small letters."""
    by_word = {(m.name.lower() if isinstance(m, IntEnum) else str(m.value)): m for m in kind}
    words = {m: w for w, m in by_word.items()}

    def parse(word: str) -> Any:
        if word not in by_word:
            raise ValueError
        return by_word[word]

    return Atom(f"one of {', '.join(by_word)}", lambda v: words[v], parse)


@dataclass(frozen=True)
class RangesAtom(Atom[Any]):
    """Whole numbers as one word, `0..3,7`, `-` for none of them; `all` stands for None where that is a value."""

    def of(self, src: Reader, key: str, raw: str) -> Any:
        if raw == "all" and self.parse("all") is None:
            return None
        try:
            return frozen(from_ranges([] if raw == "-" else raw.split(","), src.claim), np.int64)
        except ValueError:
            src.fault("E0618", f"`{key}` cannot be `{raw[:60]}`", help=f"write {self.what}")


def _print_ranges(index: Any) -> str:
    return "all" if index is None else ",".join(ranges(index)) or "-"


RANGES = RangesAtom("whole numbers such as 0..3,7 or -", _print_ranges, lambda word: word)
MAYBE_RANGES = RangesAtom("whole numbers such as 0..3,7 or -, or all", _print_ranges, lambda word: None)
