"""Random programs, right in syntax but not in meaning, as trees and as text; and ways to break a text."""

from __future__ import annotations

import random
import string

from spucc.diagnostics import Span
from spucc.grammar import tree
from spucc.grammar.builder import TYPES
from spucc.grammar.scanner import KEYWORDS

NOWHERE = Span("generated", 1, 1, 1, 1)
NUMBERS = ["0", "3", "17", "1_000", "1.5", "2.", ".5", "2e-3", "1E+6", "1_0.2_5", "9223372036854775807"]
STRINGS = ["", "a.npy", 'say "so"', "back\\slash", "tab\there\nand a line", "größe # no comment"]
BINARY = ["+", "-", "*", "/", "@", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or"]


class Generator:
    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)

    # --- expressions ---

    def word(self) -> str:
        while True:
            size = self.r.choice([1, 1, 1, 3, 8, 25])
            word = self.r.choice(string.ascii_letters + "_") + "".join(
                self.r.choices(string.ascii_letters + string.digits + "_", k=size - 1)
            )
            if word not in KEYWORDS:
                return word

    def name(self) -> tree.Name:
        return tree.Name(NOWHERE, self.word())

    def number(self) -> tree.Number:
        text = self.r.choice(NUMBERS)
        plain = text.replace("_", "")
        return tree.Number(NOWHERE, text, int(plain) if plain.isdigit() else float(plain))

    def atom(self) -> tree.Expr:
        kind = self.r.randrange(8)
        if kind < 4:
            return self.name()
        if kind < 6:
            return self.number()
        if kind == 6:
            return tree.String(NOWHERE, self.r.choice(STRINGS))
        return self.r.choice(
            [tree.Boolean(NOWHERE, True), tree.Boolean(NOWHERE, False), tree.NoneLiteral(NOWHERE)]
        )

    def some(self, depth: int, least: int = 0, most: int = 4) -> tuple[tree.Expr, ...]:
        return tuple(self.expression(depth) for _ in range(self.r.randint(least, most)))

    def maybe(self, depth: int) -> tree.Expr | None:
        return self.expression(depth) if self.r.random() < 0.5 else None

    def expression(self, depth: int) -> tree.Expr:
        if depth <= 0 or self.r.random() < 0.15:
            return self.atom()
        below = depth - 1
        kind = self.r.randrange(12)
        if kind < 4:
            op = self.r.choice(BINARY)
            return tree.Binary(NOWHERE, op, self.expression(below), self.expression(below))
        if kind == 4:
            return tree.Unary(NOWHERE, self.r.choice(["-", "+", "not"]), self.expression(below))
        if kind == 5:
            parts = [self.expression(below) for _ in range(3)]
            return tree.IfElse(NOWHERE, *parts)
        if kind == 6:
            return self.call(below)
        if kind == 7:
            iterable, condition = self.expression(below), self.maybe(below)
            targets = tuple(self.word() for _ in range(self.r.randint(1, 3)))
            body = self.expression(below)
            return tree.Comprehension(NOWHERE, self.name(), body, targets, iterable, condition)
        if kind == 8:
            items = tuple(self.subscript(below) for _ in range(self.r.randint(1, 3)))
            return tree.Index(NOWHERE, self.expression(below), items)
        if kind == 9:
            return tree.Attribute(NOWHERE, self.expression(below), self.word())
        if kind == 10:
            return tree.Array(NOWHERE, self.some(below, 0, self.r.choice([3, 40])))
        return tree.Tuple(NOWHERE, self.some(below, 1))

    def subscript(self, depth: int) -> tree.Expr | tree.Slice:
        if self.r.random() < 0.5:
            return self.expression(depth)
        return tree.Slice(NOWHERE, self.maybe(depth), self.maybe(depth), self.maybe(depth))

    def call(self, depth: int) -> tree.Call:
        function = tree.Name(NOWHERE, "var") if self.r.random() < 0.1 else self.name()
        words = {self.word() for _ in range(self.r.randint(0, 2))}
        keywords = tuple(tree.Keyword(NOWHERE, w, self.expression(depth)) for w in sorted(words))
        return tree.Call(NOWHERE, function, self.some(depth), keywords)

    # --- statements ---

    def type(self) -> tree.Type:
        lower, upper, shape = self.maybe(1), self.maybe(1), self.some(1, 0, 2)
        return tree.Type(NOWHERE, self.r.choice(TYPES), lower, upper, shape)

    def names(self, least: int = 1) -> tuple[tree.Name, ...]:
        words = dict.fromkeys(self.word() for _ in range(self.r.randint(least, 4)))
        return tuple(tree.Name(NOWHERE, w) for w in words)

    def statement(self, depth: int) -> tree.Statement:
        size = self.r.randint(0, 4)
        kind = self.r.randrange(14 if depth > 0 else 12)
        match kind:
            case 0:
                return tree.Data(NOWHERE, self.name(), self.type(), self.maybe(size))
            case 1:
                return tree.Let(NOWHERE, self.name(), self.expression(size))
            case 2:
                distribution = self.call(size) if self.r.random() < 0.5 else None
                return tree.Var(NOWHERE, self.name(), self.type(), distribution)
            case 3:
                return tree.Param(NOWHERE, self.name(), self.type(), self.maybe(size))
            case 4:
                return tree.Function(NOWHERE, self.name(), self.names(0), self.expression(size))
            case 5 | 6:
                return tree.Tilde(NOWHERE, self.expression(size), self.call(size))
            case 7:
                return tree.EnergyTerm(NOWHERE, self.expression(size))
            case 8:
                return tree.Observe(NOWHERE, self.expression(size), self.expression(size))
            case 9:
                return tree.Temperature(NOWHERE, self.expression(size))
            case 10:
                if self.r.random() < 0.5:
                    return tree.Import(NOWHERE, tree.String(NOWHERE, self.r.choice(STRINGS)))
                return tree.Train(NOWHERE, self.names())
            case 11:
                return tree.Query(NOWHERE, self.name(), self.call(size))
            case 12:
                return tree.For(NOWHERE, self.names(), self.expression(size), self.block(depth - 1))
            case _:
                then = self.block(depth - 1)
                return tree.If(NOWHERE, self.expression(size), then, self.block(depth - 1, 0))

    def block(self, depth: int, least: int = 1) -> tuple[tree.Statement, ...]:
        return tuple(self.statement(depth) for _ in range(self.r.randint(least, 4)))

    def program(self) -> tree.Program:
        return tree.Program(NOWHERE, self.block(2, 0))


def program(seed: int) -> tree.Program:
    return Generator(seed).program()


PIECES = [
    *"()[]{}<>=~,;:.+-*/@#\"'\\^%&|!?$\n\t ", "**", "==", "<=", ":=", "//", "\r\n", "\0", "é", "“",
    "\ufeff", "\u2028",
    *(f" {word} " for word in sorted(KEYWORDS)), " x ", " 3 ", " 1.2.3 ",
    "<lower=", "normal(0, 1)", "else {", "} else",
]  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """A text with a few pieces cut, doubled, moved, put in or broken off."""
    r = random.Random(seed)
    for _ in range(r.choice([1, 1, 1, 2, 5])):
        begin = r.randint(0, len(text))
        end = min(len(text), begin + r.choice([1, 1, 2, 5, 20, 100]))
        match r.randrange(6):
            case 0:
                text = text[:begin] + text[end:]
            case 1:
                text = text[:end] + text[begin:end] + text[end:]
            case 2:
                place = r.randint(0, len(text))
                text = text[:place] + text[begin:end] + text[place:]
            case 3 | 4:
                text = text[:begin] + r.choice(PIECES) + text[begin:]
            case _:
                text = text[:begin]
    return text


def commented(text: str, seed: int) -> str:
    """A text with comments behind and between its lines, and blank lines."""
    r = random.Random(seed)
    lines = []
    for i, line in enumerate(text.split("\n")):
        if r.random() < 0.2:
            lines += r.choice(
                [[""], ["", "", ""], [f"# above {i}"], [f"  # {i} above", ""], ["", f"#above {i}"]]
            )
        lines.append(f"{line} # behind {i}" if r.random() < 0.2 else line)
    return r.choice(["\n", "\r\n"]).join(lines)
