"""Naming a syntax error: by the example in `syntax_errors.toml` that stops the parser in the same situation.

A situation is the token that does not fit and the symbols of the statement before it, with every complete
expression folded to one symbol. Nothing here is read, and no example parsed, before the first error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from spucc.diagnostics import Diagnostic, Label, Span
from spucc.grammar.scanner import KEYWORDS, Token

# How much of a statement is looked at before the token that does not fit.
_LONGEST = 4

_EXPRESSIONS = frozenset(
    """expr or_test and_test not_test comparison arith term factor power postfix atom call callee args arg
    exprs subscripts subscript names targets type NAME NUMBER STRING true false None""".split()
)
_INFIX = frozenset(["ADD", "MUL", "**", "and", "or", ".", ","])
_PREFIX = frozenset(["ADD", "not"])
_OPENER = {")": "(", "]": "["}
_CLASSES = frozenset(["NAME", "NUMBER", "STRING", "SEP"])
_SHOWN = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "SEP": "the end of the line",
    "$END": "the end",
}
_SHOWN |= {"CMP": "a comparison", "ADD": "`+`", "MUL": "`*`", "LBOUND": "bounds", "RBOUND": "`>`"}
_NOT_CONTINUING = frozenset(
    [")", "]", "}", "NAME", "NUMBER", "STRING", "true", "false", "None", "SEP", "ERROR"]
)

Key = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known where the parser stopped: the symbols of the statement so far, and the tokens around."""

    symbols: tuple[str, ...]
    first: str
    name: str
    last: Token
    token: Token
    opened: Token | None
    file: str
    expected: tuple[str, ...]

    @property
    def found(self) -> str:
        """The token that does not fit, by its kind where the text does not matter."""
        kind, text, _, _ = self.token
        if kind == "$END":
            return "SEP"
        return kind if kind in _CLASSES else text

    @property
    def after(self) -> str:
        """The token before, in the same way."""
        kind, text, _, _ = self.last
        return kind if kind in _CLASSES else text

    def keys(self, context: tuple[str, ...]) -> list[Key]:
        """Under what this situation is looked up, the most telling first."""
        keys: list[Key] = [(self.first, (), self.found)]
        for size in range(min(_LONGEST, len(context)), -1, -1):
            tail = context[len(context) - size :]
            keys += [("after " + self.after, tail, self.found), ("", tail, self.found)]
        return keys


def name(situation: Situation, probe: Callable[[str], Situation]) -> Diagnostic:
    """The diagnostic of a situation. `probe` gives the situation in which an example stops."""
    context = fold(situation.symbols)
    if situation.token[0] == "CMP" and context[-3:] == ("x", "CMP", "x"):
        return _chained(situation)
    unclosed = _unclosed(situation)
    if unclosed is not None:
        return unclosed
    dangling = _dangling(situation)
    if dangling is not None:
        return dangling
    known = index(probe)
    for key in situation.keys(fold(situation.symbols, comparisons=True)):
        entry = known.get(key)
        if entry is not None:
            return _filled(entry, situation)
    if situation.token[1] in KEYWORDS and "NAME" in situation.expected:
        title = f"`{situation.token[1]}` is a keyword and cannot be a name"
        return Diagnostic("E0109", title, _place(situation.token, situation), help="choose another name")
    return _plain(situation)


def fold(symbols: tuple[str, ...], comparisons: bool = False) -> tuple[str, ...]:
    """The symbols of a statement after its beginning `^`, with complete expressions as `x`.

    Lists fold to their last item. Comparisons are folded only if asked for: a chain of them is an error of
    its own.
    """
    infix = _INFIX | {"CMP"} if comparisons else _INFIX
    out = ["^"]
    for symbol in symbols:
        if symbol in ("shape", "bounds"):
            continue
        out.append("x" if symbol in _EXPRESSIONS else symbol)
        if symbol in _OPENER and _OPENER[symbol] in out:
            while out.pop() != _OPENER[symbol]:
                pass
            if out[-2:] == ["fn", "x"]:
                out.append(symbol)  # the parameters are there: what follows is no longer their place
                continue
            if out[-1] == "x":
                out.pop()
            out.append("x")
        while out[-1] == "x":
            if out[-5:-1] == ["x", "if", "x", "else"]:
                del out[-4:]
            elif len(out) > 2 and out[-3] == "x" and out[-2] in infix:
                del out[-2:]
            elif out[-2] in _PREFIX and out[-3] != "x":
                del out[-2]
            else:
                break
    return tuple(out)


@cache
def entries() -> list[dict[str, Any]]:
    text = (files("spucc.grammar") / "syntax_errors.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["error"])


_index: dict[Key, dict[str, Any]] = {}


def index(probe: Callable[[str], Situation]) -> dict[Key, dict[str, Any]]:
    """From situations to entries, made when the first error is to be named."""
    if not _index:
        for entry in entries():
            for example in entry["examples"]:
                _index.setdefault(key_of(entry, probe(example)), entry)
    return _index


def key_of(entry: dict[str, Any], situation: Situation) -> Key:
    if entry.get("first"):
        return (situation.first, (), situation.found)
    context = fold(situation.symbols, comparisons=True)
    tail = context[max(len(context) - entry.get("context", 2), 0) :]
    return ("after " + situation.after if entry.get("after") else "", tail, situation.found)


def _filled(entry: dict[str, Any], situation: Situation) -> Diagnostic:
    """An entry's diagnostic, with the tokens of the situation in its blanks."""
    blanks = {
        "{found}": _text(situation.token),
        "{last}": situation.last[1],
        "{first}": situation.first,
        "{name}": situation.name,
    }
    title, help = entry["title"], entry.get("help", "")
    for blank, text in blanks.items():
        title, help = title.replace(blank, text), help.replace(blank, text)
    at = situation.last if entry.get("at") == "last" and situation.last[1].strip() else situation.token
    return Diagnostic(entry["code"], title, _place(at, situation), help=help)


def _chained(situation: Situation) -> Diagnostic:
    place = _place(situation.token, situation)
    return Diagnostic("E0116", "comparisons do not chain", place, help="write `a < b and b < c`")


def _unclosed(situation: Situation) -> Diagnostic | None:
    """An open bracket is at fault where the file ends, or where a block begins or ends."""
    opened = situation.opened
    if opened is None or situation.token[1] not in ("", "~", ";", "}"):
        return None
    closer = {"(": ")", "[": "]", "<": ">"}[opened[1]]
    labels: tuple[Label, ...] = ()
    if situation.token[1] == "~" and situation.token[2] == opened[2]:
        labels = (Label(_place(situation.token, situation), f"`{closer}` is missing before this"),)
    title = f"this `{opened[1]}` is never closed"
    help = f"add the missing `{closer}`"
    return Diagnostic("E0102", title, _place(opened, situation), "opened here", labels, help=help)


def _dangling(situation: Situation) -> Diagnostic | None:
    """A line that promises to go on, with a keyword on the next."""
    last, token = situation.last, situation.token
    if token[2] == last[2] or last[0] in _NOT_CONTINUING or token[1] not in KEYWORDS or situation.opened:
        return None
    title = f"the line ends in `{last[1]}`, and the next does not go on with it"
    return Diagnostic("E0130", title, _place(last, situation), help="write the missing expression")


def _plain(situation: Situation) -> Diagnostic:
    """What no example names: what was found and what could stand instead."""
    title = f"{_described(situation.token)} does not fit here"
    expected = situation.expected
    if "NUMBER" in expected:
        wanted = ["an expression"]
    else:
        wanted = [
            _SHOWN.get(kind, f"`{kind}`") for kind in expected if kind != "$END" or "SEP" not in expected
        ]
    help = "expected " + " or ".join(wanted) if wanted and len(wanted) <= 5 else ""
    return Diagnostic("E0101", title, _place(situation.token, situation), help=help)


def _text(token: Token) -> str:
    return token[1] if token[1].strip() else "the end of the line"


def _described(token: Token) -> str:
    if token[1].strip():
        return f"`{token[1]}`" if len(token[1]) < 40 else "this"
    return "the end of the line" if token[1] else "the end of the file"


def _place(token: Token, situation: Situation) -> Span:
    """A token's span; the end of a line is shown just after what stands before it."""
    _, text, line, column = token
    if not text.strip():
        last = situation.last
        line, column = last[2], last[3] + len(last[1])
    return Span(situation.file, line, column, line, column + max(len(text.strip()), 1))
