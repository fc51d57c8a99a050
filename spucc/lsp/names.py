"""What every name in a program refers to, from its syntax tree alone, so that it is known also where the program has errors.

A name is visible from its declaration to the end of its block; loops, comprehensions and functions have blocks of their own.
Functions and queries have name spaces of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spucc.diagnostics import Span
from spucc.grammar import tree
from spucc.grammar.scanner import Scanner, Token
from spucc.grammar.walk import children


@dataclass(eq=False, slots=True)
class Symbol:
    """A declared name: `kind` is data, let, var, param, index, parameter, fn or query; `node` its declaration."""

    name: str
    kind: str
    span: Span
    node: tree.Node
    uses: list[Span] = field(default_factory=list)
    until: tuple[int, int] | None = None  # line and column where its block ends; None: the end of the file

    def places(self) -> list[Span]:
        """The declaration and every use."""
        return [self.span, *self.uses]

    def visible(self, line: int, column: int) -> bool:
        """Whether a statement at a place can use the name."""
        after = (line, column) >= (self.span.end_line, self.span.end_column)
        return after and (self.until is None or (line, column) <= self.until)


@dataclass(eq=False)
class Names:
    """All symbols of a text; `unknown` are uses of names that are not declared in it."""

    symbols: list[Symbol] = field(default_factory=list)
    unknown: list[tree.Name] = field(default_factory=list)

    def at(self, line: int, column: int) -> Symbol | None:
        """The symbol whose declaration or use covers a place."""
        return next((s for s in self.symbols for span in s.places() if covers(span, line, column)), None)


def covers(span: Span, line: int, column: int) -> bool:
    """Whether a place (from 1) lies in a span or right behind it, where the caret stands after a word."""
    return (span.line, span.column) <= (line, column) <= (span.end_line, span.end_column)


def resolve(program: tree.Program, text: str) -> Names:
    """The symbols of a program with their uses."""
    walker = _Walker(text, program.span.file)
    walker.statements(program.statements)
    return walker.found


class _Walker:
    def __init__(self, text: str, file: str) -> None:
        self.found = Names()
        self.scopes: list[dict[str, Symbol]] = [{}]
        self.functions: dict[str, Symbol] = {}
        self.file = file
        self.text = text
        self._words: list[Token] | None = None

    def declare(self, name: tree.Name, kind: str, node: tree.Node) -> Symbol:
        symbol = Symbol(name.id, kind, name.span, node)
        self.found.symbols.append(symbol)
        if kind == "fn":
            self.functions[name.id] = symbol
        elif kind != "query":
            self.scopes[-1].setdefault(name.id, symbol)
        return symbol

    def use(self, name: tree.Name, function: bool = False) -> None:
        symbol = self.functions.get(name.id) if function else None
        for scope in reversed(self.scopes):
            symbol = symbol or scope.get(name.id)
        if symbol is None:
            self.found.unknown.append(name)
        else:
            symbol.uses.append(name.span)

    def block(self, end: Span) -> None:
        """Leave a block: its names are visible no further."""
        for symbol in self.scopes.pop().values():
            symbol.until = (end.end_line, end.end_column)

    def statements(self, body: Sequence[tree.Statement]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: tree.Statement) -> None:
        match node:
            case tree.Data():
                self.dimensions(node)
                self.maybe(node.type.lower, node.type.upper, node.default)
                self.declare(node.name, "data", node)
            case tree.Let():
                self.expression(node.value)
                self.declare(node.name, "let", node)
            case tree.Var():
                self.expression(node.type)
                self.declare(node.name, "var", node)
                self.maybe(node.distribution)
            case tree.Param():
                self.expression(node.type)
                self.maybe(node.value)
                self.declare(node.name, "param", node)
            case tree.Function():
                symbol = self.declare(node.name, "fn", node)
                outer = self.scopes
                self.scopes = [outer[0], {}]
                for p in node.params:
                    self.declare(p, "parameter", node)
                self.expression(node.body)
                self.block(node.span)
                self.scopes = outer
                assert symbol.kind == "fn"
            case tree.For():
                self.expression(node.iterable)
                self.scopes.append({})
                for target in node.targets:
                    self.declare(target, "index", node)
                self.statements(node.body)
                self.block(node.span)
            case tree.If():
                self.expression(node.condition)
                for body in (node.then, node.otherwise):
                    self.scopes.append({})
                    self.statements(body)
                    self.block(body[-1].span if body else node.span)
            case tree.Query():
                self.declare(node.name, "query", node)
                self.arguments(node.call)
            case tree.Train():
                for name in node.names:
                    self.use(name)
            case tree.Import():
                pass
            case tree.Tilde():
                self.expression(node.left)
                self.arguments(node.distribution)
            case _:
                for child in children(node):
                    self.expression(child)

    def dimensions(self, node: tree.Data) -> None:
        """A name that is not known and stands alone as a dimension of a datum is declared by it."""
        for d in node.type.shape:
            if isinstance(d, tree.Name) and not any(d.id in scope for scope in self.scopes):
                self.declare(d, "data", d)
            else:
                self.expression(d)

    def maybe(self, *nodes: tree.Node | None) -> None:
        for node in nodes:
            if node is not None:
                self.expression(node)

    def arguments(self, call: tree.Call) -> None:
        for child in children(call):
            if child is not call.function:
                self.expression(child)

    def expression(self, node: tree.Node) -> None:
        stack = [node]
        while stack:
            node = stack.pop()
            if isinstance(node, tree.Name):
                self.use(node)
            elif isinstance(node, tree.Call):
                self.use(node.function, function=True)
                stack.extend(child for child in children(node) if child is not node.function)
            elif isinstance(node, tree.Comprehension):
                self.comprehension(node)
            else:
                stack.extend(children(node))

    def comprehension(self, node: tree.Comprehension) -> None:
        self.use(node.function, function=True)
        self.expression(node.iterable)
        self.scopes.append({})
        for name in self.targets(node):
            self.declare(name, "index", node)
        self.expression(node.body)
        self.maybe(node.condition)
        self.block(node.span)

    def targets(self, node: tree.Comprehension) -> list[tree.Name]:
        """The tree keeps a comprehension's targets as words; their places are those between body and list."""
        if self._words is None:
            self._words = [t for t in Scanner(self.text, self.file).tokens() if t[0] == "NAME"]
        begin = (node.body.span.end_line, node.body.span.end_column)
        stop = (node.iterable.span.line, node.iterable.span.column)
        return [
            tree.Name(Span(self.file, line, column, line, column + len(word)), word)
            for _, word, line, column in self._words
            if begin <= (line, column) < stop and word in node.targets
        ]
