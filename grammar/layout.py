"""Laying out text in lines of bounded width: Wadler's documents, with a loop in place of recursion.

A document is text, or one of the four forms below. A group stays on one line if it fits there; otherwise its
own breaks become newlines, while each group within it decides for itself. In a fill each break decides for
itself, as in prose.
"""

from __future__ import annotations

from dataclasses import dataclass

INDENT = 4


@dataclass(frozen=True, slots=True)
class Break:
    """`flat` on one line, a newline on several."""

    flat: str = " "
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Concat:
    parts: tuple[Doc, ...]


@dataclass(frozen=True, slots=True)
class Group:
    body: Doc


@dataclass(frozen=True, slots=True)
class Nest:
    """One level deeper."""

    body: Doc


@dataclass(frozen=True, slots=True)
class Fill:
    """Items with breaks between them, as many on a line as fit."""

    items: tuple[Doc, ...]


Doc = str | Break | Concat | Group | Nest | Fill


def concat(*parts: Doc) -> Concat:
    return Concat(parts)


def lay_out(doc: Doc, width: int, indent: int = 0) -> str:
    """The document as text, its first line already indented by somebody else."""
    out: list[str] = []
    column = indent
    stack: list[tuple[Doc, int, bool]] = [(doc, indent, False)]
    while stack:
        part, level, flat = stack.pop()
        if isinstance(part, str):
            out.append(part)
            column += len(part)
        elif isinstance(part, Break):
            if flat:
                out.append(part.flat)
                column += len(part.flat)
            else:
                out.append(part.broken + "\n" + " " * level)
                column = level
        elif isinstance(part, Concat):
            stack.extend((item, level, flat) for item in reversed(part.parts))
        elif isinstance(part, Nest):
            stack.append((part.body, level + INDENT, flat))
        elif isinstance(part, Group):
            stack.append((part.body, level, flat or _fits(part.body, width - column, stack)))
        else:
            _push_fill(part, level, flat, stack)
            continue
    return "".join(out)


def _push_fill(part: Fill, level: int, flat: bool, stack: list[tuple[Doc, int, bool]]) -> None:
    """A fill as groups: each item brings the break before it, and the two stay together if they fit."""
    for item in reversed(part.items[1:]):
        stack.append((Group(Concat((Break(), item))), level, flat))
    if part.items:
        stack.append((part.items[0], level, flat))


def _fits(doc: Doc, room: int, rest: list[tuple[Doc, int, bool]]) -> bool:
    """Whether a document on one line, with what follows up to the next possible break, is within the room."""
    todo: list[tuple[Doc, bool]] = [(doc, True)]
    below = len(rest)
    while room >= 0:
        if not todo:
            if below == 0:
                return True
            below -= 1
            part, _, flat = rest[below]
            todo.append((part, flat))
            continue
        part, flat = todo.pop()
        if isinstance(part, str):
            room -= len(part)
        elif isinstance(part, Break):
            if not flat:
                return True
            room -= len(part.flat)
        elif isinstance(part, Concat):
            todo.extend((item, flat) for item in reversed(part.parts))
        elif isinstance(part, Fill):
            for item in reversed(part.items[1:]):
                todo.append((item, flat))
                todo.append((Break(), flat))
            if part.items:
                todo.append((part.items[0], flat))
        else:
            todo.append((part.body, flat))
    return False
