"""Diagnostics are data: a code, a title in the user's words, labelled spans and the way out.

Whoever finds a fault makes a `Diagnostic`; whoever must stop raises `SpuccError` with all that were found. The two
renderers, one for a terminal and one for JSON, are the only places that turn them into text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Never

import msgspec


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """A stretch of a text file. Lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def to(self, other: Span) -> Span:
        """The stretch from the start of this span to the end of `other`."""
        return Span(self.file, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True, slots=True)
class Label:
    """A further place that a diagnostic points at, with what is to be seen there."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault. `code` is stable (`E0203`, `W0101`), `title` one sentence, `help` the way out if there is one."""

    code: str
    title: str
    span: Span | None = None
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""

    @property
    def is_error(self) -> bool:
        return self.code.startswith("E")


class SpuccError(Exception):
    """Raised when compilation or a run cannot go on. Carries every diagnostic that was found."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]) -> None:
        found = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        if not found:
            raise ValueError("a SpuccError needs at least one diagnostic")
        self.diagnostics: tuple[Diagnostic, ...] = found
        super().__init__("; ".join(f"{d.code}: {d.title}" for d in found))

    @property
    def exit_code(self) -> int:
        """2 for options that make no sense, 3 when the target or the link failed (E05xx, E07xx), else 1."""
        first = next((d for d in self.diagnostics if d.is_error), self.diagnostics[0])
        if first.code in USAGE:
            return 2
        return 3 if first.code[:3] in ("E05", "E07") else 1


USAGE = ("E0594", "E0726", "E0741", "E0746")
"""Errors of how a run was asked for: numbers of draws and chains, intervals, rates."""


def fail(code: str, title: str, span: Span | None = None, **fields: Any) -> Never:
    """Raise a `SpuccError` with one diagnostic."""
    raise SpuccError(Diagnostic(code, title, span, **fields))


# Names that one is compared with: a generated program has a hundred thousand.
_COMPARED = 300


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A help text that offers the nearest of the known names, or the empty string."""
    near = get_close_matches(name, sorted(set(islice(known, _COMPARED))), n=3, cutoff=0.6)
    if not near:
        return ""
    return "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"


# How much of an overlong source line is shown around the part at fault.
_WINDOW = 100


def _excerpt(span: Span, text: str, mark: str, note: str) -> list[str]:
    """The source line of a span with the span underlined; long lines are cut around it."""
    line = _line(text, span.line)
    if line is None or "\0" in line:  # not there, or no text at all
        return [f"  --> {span}"]
    begin = max(span.column - 1, 0)
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    end = max(end, begin + 1)
    left = max(0, begin - _WINDOW // 2) if len(line) > _WINDOW else 0
    shown = line[left : left + _WINDOW].replace("\t", " ")
    prefix = "…" if left else ""
    suffix = "…" if left + _WINDOW < len(line) else ""
    width = max(1, min(end, left + _WINDOW) - begin)
    gutter = " " * len(str(span.line))
    rows = [f"{gutter}--> {span}", f"{gutter} |", f"{span.line} | {prefix}{shown}{suffix}"]
    underline = " " * (begin - left + len(prefix)) + mark * width
    rows.append(f"{gutter} | {underline}{' ' + note if note else ''}")
    return rows


def _line(text: str, number: int) -> str | None:
    """Line `number` (from 1) of a text without splitting all of it."""
    start = 0
    for _ in range(number - 1):
        start = text.find("\n", start) + 1
        if start == 0:
            return None
    stop = text.find("\n", start)
    return text[start : len(text) if stop < 0 else stop].rstrip("\r")


def render(diagnostics: Sequence[Diagnostic], sources: Mapping[str, str] | None = None) -> str:
    """Diagnostics as plain text for a terminal: title, source line underlined, notes, help."""
    texts = sources or {}
    blocks = []
    for d in diagnostics:
        rows = [f"{'error' if d.is_error else 'warning'}[{d.code}]: {d.title}"]
        if d.span is not None:
            rows += _excerpt(d.span, texts.get(d.span.file, ""), "^", d.label)
        for extra in d.labels:
            rows += _excerpt(extra.span, texts.get(extra.span.file, ""), "-", extra.text)
        rows += [f"note: {note}" for note in d.notes]
        if d.help:
            rows.append(f"help: {d.help}")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def to_json(diagnostics: Sequence[Diagnostic]) -> list[dict[str, Any]]:
    """Diagnostics as plain data for an editor or a script."""

    def place(span: Span) -> dict[str, Any]:
        return {
            "file": span.file,
            "line": span.line,
            "column": span.column,
            "end_line": span.end_line,
            "end_column": span.end_column,
        }

    return [
        {
            "code": d.code,
            "severity": "error" if d.is_error else "warning",
            "title": d.title,
            "span": place(d.span) if d.span else None,
            "label": d.label,
            "labels": [{"span": place(extra.span), "text": extra.text} for extra in d.labels],
            "notes": list(d.notes),
            "help": d.help,
        }
        for d in diagnostics
    ]
