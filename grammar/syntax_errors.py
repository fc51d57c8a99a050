"""Naming a syntax error."""

from __future__ import annotations

from dataclasses import dataclass

from spucc.diagnostics import Diagnostic, Span
from spucc.grammar.scanner import Token


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known where the parser stopped: the symbols of the statement so far, and the tokens around."""

    symbols: tuple[str, ...]
    first: str
    last: Token
    token: Token
    file: str
    expected: tuple[str, ...]


def name(situation: Situation) -> Diagnostic:
    token = situation.token
    span = Span(situation.file, token[2], token[3], token[2], token[3] + max(len(token[1].strip()), 1))
    return Diagnostic("E0101", f"unexpected `{token[1]}`", span, help=" ".join(situation.expected))
