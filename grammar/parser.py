"""Text to syntax tree: the LALR machine, and how it goes on after an error.

The table comes from `spu.lark`; the machine is here, thirty lines, rather than lark's, because it keeps
tokens as plain tuples, skips the long chains of one-symbol rules by memory, and can start afresh at the next
statement after an error.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from spucc.diagnostics import Diagnostic, Span, SpuccError
from spucc.grammar import source, syntax_errors, tree
from spucc.grammar.builder import MAX_DEPTH, Builder
from spucc.grammar.scanner import Scanner, Token
from spucc.grammar.table import END, Table, load

__all__ = ["MAX_DEPTH", "parse", "parse_or_raise"]

# Further errors are hardly read, and a binary file would bring millions.
MAX_ERRORS = 100

# A statement can begin in the states that know what to do with this token, and in no other.
_BEGINS = "let"

_STATEMENTS = frozenset(
    ["data", "let", "var", "param", "energy", "observe", "temperature", "train", "query", "import", "fn"]
)

table = cache(load)


def parse(text: str, file: str) -> tuple[tree.Program, list[Diagnostic]]:
    """The program that a text holds and all its syntax errors, in order; statements at fault are left out."""
    too_large = source.too_large(len(text), file)
    if too_large is not None:
        return tree.Program(Span(file, 1, 1, 1, 1), ()), [too_large]
    with _collector_paused(len(text)):
        return _Machine(table(), source.normalised(text), file).run()


def parse_or_raise(text: str, file: str) -> tree.Program:
    """The program that a text holds; a `SpuccError` with all syntax errors if there are any."""
    program, diagnostics = parse(text, file)
    if diagnostics:
        raise SpuccError(diagnostics)
    return program


@contextmanager
def _collector_paused(size: int) -> Iterator[None]:
    """A growing tree has no garbage; the collector would walk it again and again."""
    if size < 20_000 or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Machine:
    def __init__(self, table: Table, text: str, file: str) -> None:
        self.table = table
        self.file = file
        self.text = text
        self.scanner = Scanner(text, file)
        self.builder = Builder(file)
        self.states: list[int] = [table.start]
        self.values: list[Any] = []
        self.diagnostics: list[Diagnostic] = self.builder.faults
        self.last: Token = ("SEP", "", 1, 1)  # the token before the one at hand
        self._reductions = [
            (rule.origin, rule.size, getattr(self.builder, rule.action) if rule.action else None)
            for rule in table.rules
        ]
        self._chains = _chains(table)

    def run(self) -> tuple[tree.Program, list[Diagnostic]]:
        tokens = self.scanner.tokens()
        statements: tuple[tree.Statement, ...] = ()
        for token in tokens:
            if self.feed(token):
                self.last = token
                continue
            self.last = self.recover(token, tokens)
            if len(self.diagnostics) >= MAX_ERRORS:
                break
        else:
            statements = self.values[0]
        end = (END, "", self.last[2], self.last[3])
        span = Span(self.file, 1, 1, end[2], max(end[3], 1))
        found = sorted(self.diagnostics, key=lambda d: (d.span.line, d.span.column) if d.span else (0, 0))
        return tree.Program(span, statements, tuple(self.scanner.comments)), found

    def feed(self, token: Token) -> bool:
        """Take one token in, reducing what it completes. False, if no program goes on with it here."""
        kind = token[0]
        states, values = self.states, self.values
        actions, gotos = self.table.actions, self.table.gotos
        while True:
            state = states[-1]
            action = actions[state].get(kind)
            if action is None:
                return False
            if action >= 0:
                states.append(action)
                values.append(token)
                return True
            origin, size, method = self._reductions[-action - 1]
            if method is None:
                key = (states[-2], state, kind)
                after = self._chains.get(key)
                if after is None:
                    after = self._chains[key] = self._chain(key)
                states[-1] = after
                continue
            if size:
                made = method(*values[-size:])
                del states[-size:]
                values[-size:] = (made,)
            else:
                values.append(method())
            state = gotos[states[-1]][origin]
            states.append(state)
            if state == self.table.end:
                return True

    def _chain(self, key: tuple[int, int, str]) -> int:
        """Where a run of one-symbol rules ends that begins in a state, above another, before a token."""
        below, state, kind = key
        while True:
            action = self.table.actions[state].get(kind, 0)
            if action >= 0:
                return state
            origin, _, method = self._reductions[-action - 1]
            if method is not None:
                return state
            state = self.table.gotos[below][origin]

    def recover(self, token: Token, tokens: Iterator[Token]) -> Token:
        """Report a token that does not fit, drop its statement, and go to where the next one can begin.

        Gives back the last token that it took.
        """
        base = self._statement()
        first = self._first(base, token)
        self._report(token, base, first)
        if token[0] in _STATEMENTS and self.feed(("SEP", "", token[2], token[3])) and self.feed(token):
            return token  # only the end of the line was missing
        del self.states[base + 1 :]
        del self.values[base:]
        depth = 0
        seen = False  # whether a brace was met: only the first can open the block of this statement
        while True:
            kind = token[0]
            if kind == "{":
                if not seen and (
                    first in ("for", "if", "else") or (first != "fn" and self._ends_line(token))
                ):
                    for stand_in in ("if", "true", "{"):  # the block's own statements are still worth reading
                        self.feed((stand_in, stand_in, token[2], token[3]))
                    return token
                seen = True
                depth += 1
            elif kind == "}" and depth > 0:
                depth -= 1
            elif depth == 0 and kind in ("SEP", "}", END) and self.feed(token):
                return token
            elif kind == END:
                self.values[:] = [self.values[0] if self.values else ()]
                return token
            following = next(tokens, None)
            if following is None:
                return token
            token = following

    def _statement(self) -> int:
        """The place in the stack of states where the statement at hand began."""
        base = len(self.states) - 1
        blocks = 0  # those that are complete and belong to the statement
        while blocks or _BEGINS not in self.table.actions[self.states[base]]:
            blocks += {"}": 1, "{": -1}.get(self.table.symbols[self.states[base]], 0)
            base -= 1
        return base

    def _first(self, base: int, token: Token) -> str:
        """The text of the first token of the statement at hand."""
        if len(self.values) == base:
            return token[1]
        first = self.values[base]
        if isinstance(first, tree.Name):
            return first.id
        return str(first[1]) if type(first) is tuple else ""

    def _ends_line(self, token: Token) -> bool:
        """Whether nothing but a comment follows an opening brace on its line: then it opens a block."""
        begin = source.offset(self.text, token[2], token[3]) + 1
        stop = self.text.find("\n", begin)
        rest = self.text[begin : stop if stop >= 0 else len(self.text)].strip()
        return not rest or rest[0] == "#"

    def _report(self, token: Token, base: int, first: str) -> None:
        if token[0] == "ERROR":
            assert self.scanner.fault is not None
            self.diagnostics.append(self.scanner.fault)
            return
        self.diagnostics.append(syntax_errors.name(self.situation(token, base, first), probe))

    def situation(self, token: Token, base: int, first: str) -> syntax_errors.Situation:
        symbols = tuple(self.table.symbols[state] for state in self.states[base + 1 :])
        opened = self.scanner.innermost if token[0] != "ERROR" else None
        expected = tuple(self._expected())
        name = next((v[1] for v in self.values[base:] if type(v) is tuple and v[0] == "NAME"), "")
        return syntax_errors.Situation(symbols, first, name, self.last, token, opened, self.file, expected)

    def _expected(self) -> Iterator[str]:
        """The kinds of token with which the program could go on, each tried on a copy of the states."""
        for kind in sorted(self.table.actions[self.states[-1]]):
            states = list(self.states)
            while True:
                action = self.table.actions[states[-1]].get(kind)
                if action is None:
                    break
                if action >= 0:
                    yield kind
                    break
                rule = self.table.rules[-action - 1]
                if rule.size:
                    del states[-rule.size :]
                if rule.origin == "program":
                    yield kind
                    break
                states.append(self.table.gotos[states[-1]][rule.origin])


class _Stopped(Exception):
    """Where the parser of an example stopped."""

    def __init__(self, situation: syntax_errors.Situation) -> None:
        self.situation = situation


class _Probe(_Machine):
    """A parser that stops at the first error and says in which situation."""

    def _report(self, token: Token, base: int, first: str) -> None:
        raise _Stopped(self.situation(token, base, first))


def probe(example: str) -> syntax_errors.Situation:
    try:
        _Probe(table(), example, "").run()
    except _Stopped as stopped:
        return stopped.situation
    raise ValueError(f"an example of a syntax error parses: {example!r}")


@cache
def _known_chains() -> dict[tuple[int, int, str], int]:
    return {}


def _chains(_table: Table) -> dict[tuple[int, int, str], int]:
    """The memory of `_Machine._chain`, shared by all parses of the process."""
    return _known_chains()
