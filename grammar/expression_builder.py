"""The half of the builder that makes expressions and lists of them, and says where everything stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import force_setattr

from spucc.diagnostics import Diagnostic, Span
from spucc.grammar import tree
from spucc.grammar.scanner import Token

_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_LARGEST = 2**63 - 1

Piece = Token | tree.Node


class ExpressionBuilder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Diagnostic] = []

    # --- places ---

    def at(self, token: Token) -> Span:
        _, text, line, column = token
        return Span(self.file, line, column, line, column + len(text))

    def over(self, first: Piece, last: Piece) -> Span:
        begin = first.span if isinstance(first, tree.Node) else self.at(first)
        end = last.span if isinstance(last, tree.Node) else self.at(last)
        return Span(self.file, begin.line, begin.column, end.end_line, end.end_column)

    def fault(self, code: str, title: str, span: Span, help: str = "") -> None:
        self.faults.append(Diagnostic(code, title, span, help=help))

    # --- lists ---

    def list_one(self, item: Any) -> list[Any]:
        return [item]

    def list_more(self, items: list[Any], _comma: Token, item: Any) -> list[Any]:
        items.append(self.name(item) if type(item) is tuple and item[0] == "NAME" else item)
        return items

    def names_one(self, name: Token) -> list[tree.Name]:
        return [self.name(name)]

    def targets(self, names: list[tree.Name]) -> list[tree.Name]:
        return names

    def targets_round(self, _open: Token, names: list[tree.Name], *_rest: Token) -> list[tree.Name]:
        return names

    def bracketed(self, _open: Token, items: list[Any], *rest: Token) -> tuple[list[Any], Token]:
        """What stands in brackets, with the closing one for the sake of its place."""
        return items, rest[-1]

    # --- expressions ---

    def if_else_value(
        self, then: tree.Expr, _if: Token, condition: tree.Expr, _else: Token, otherwise: tree.Expr
    ) -> tree.IfElse:
        return tree.IfElse(self.over(then, otherwise), then, condition, otherwise)

    def binary(self, left: tree.Expr, op: Token, right: tree.Expr) -> tree.Binary:
        begin, end = left.span, right.span
        span = Span(self.file, begin.line, begin.column, end.end_line, end.end_column)
        return tree.Binary(span, op[1], left, right)

    def unary(self, op: Token, operand: tree.Expr) -> tree.Unary:
        return tree.Unary(self.over(op, operand), op[1], operand)

    def index(
        self, value: tree.Expr, _open: Token, items: list[tree.Expr | tree.Slice], close: Token
    ) -> tree.Index:
        begin = value.span
        span = Span(self.file, begin.line, begin.column, close[2], close[3] + 1)
        return tree.Index(span, value, tuple(items))

    def index_comma(
        self,
        value: tree.Expr,
        opener: Token,
        items: list[tree.Expr | tree.Slice],
        _comma: Token,
        close: Token,
    ) -> tree.Index:
        return self.index(value, opener, items, close)

    def attribute(self, value: tree.Expr, _dot: Token, name: Token) -> tree.Attribute:
        return tree.Attribute(self.over(value, name), value, name[1])

    def name(self, token: Token) -> tree.Name:
        _, text, line, column = token
        return tree.Name(Span(self.file, line, column, line, column + len(text)), text)

    def number(self, token: Token) -> tree.Number:
        _, text, line, column = token
        span = Span(self.file, line, column, line, column + len(text))
        value: int | float
        if text.isdigit() and len(text) < 19:
            return tree.Number(span, text, int(text))
        plain = text.replace("_", "")
        value = float(plain)
        if value == float("inf"):
            self.fault("E0107", "this number is too large", span, "the largest is about 1.8e308")
        elif plain.isdigit() and len(plain) < 4000:
            value = int(plain)
            if value > _LARGEST:
                help = "integers end at 2**63 - 1; with a decimal point it is a real number"
                self.fault("E0107", "this integer is too large", span, help)
        return tree.Number(span, text, value)

    def string(self, token: Token) -> tree.String:
        text = token[1][1:-1]
        if "\\" not in text:
            return tree.String(self.at(token), text)

        def unescaped(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                column = token[3] + 1 + match.start()
                place = Span(self.file, token[2], column, token[2], column + 2)
                self.fault("E0132", f"`\\{match[1]}` is no escape", place, "a backslash itself is `\\\\`")
            return _ESCAPES.get(match[1], match[1])

        return tree.String(self.at(token), re.sub(r"\\(.)", unescaped, text))

    def true(self, token: Token) -> tree.Boolean:
        return tree.Boolean(self.at(token), True)

    def false(self, token: Token) -> tree.Boolean:
        return tree.Boolean(self.at(token), False)

    def none(self, token: Token) -> tree.NoneLiteral:
        return tree.NoneLiteral(self.at(token))

    def parentheses(self, opener: Token, inner: tree.Expr, close: Token) -> tree.Expr:
        """No node of their own, but the span of what they hold grows over them."""
        force_setattr(inner, "span", Span(self.file, opener[2], opener[3], close[2], close[3] + 1))
        return inner

    def tuple_one(self, opener: Token, item: tree.Expr, _comma: Token, close: Token) -> tree.Tuple:
        return tree.Tuple(self.over(opener, close), (item,))

    def tuple_(
        self, opener: Token, item: tree.Expr, _comma: Token, more: list[tree.Expr], *rest: Token
    ) -> tree.Tuple:
        return tree.Tuple(self.over(opener, rest[-1]), (item, *more))

    tuple_comma = tuple_

    def array_empty(self, opener: Token, close: Token) -> tree.Array:
        return tree.Array(self.over(opener, close), ())

    def array(self, opener: Token, items: list[tree.Expr], *rest: Token) -> tree.Array:
        return tree.Array(self.over(opener, rest[-1]), tuple(items))

    array_comma = array

    def comprehension(
        self, function: tree.Name, _open: Token, body: tree.Expr, *rest: Any
    ) -> tree.Comprehension:
        _, targets, _, iterable, close = rest
        return self._comprehension(function, body, targets, iterable, None, close)

    def comprehension_if(
        self, function: tree.Name, _open: Token, body: tree.Expr, *rest: Any
    ) -> tree.Comprehension:
        _, targets, _, iterable, _, condition, close = rest
        return self._comprehension(function, body, targets, iterable, condition, close)

    def _comprehension(
        self,
        function: tree.Name,
        body: tree.Expr,
        targets: list[tree.Name],
        iterable: tree.Expr,
        condition: tree.Expr | None,
        close: Token,
    ) -> tree.Comprehension:
        names = tuple(target.id for target in targets)
        return tree.Comprehension(self.over(function, close), function, body, names, iterable, condition)

    def call_empty(self, function: tree.Name, _open: Token, close: Token) -> tree.Call:
        return tree.Call(self.over(function, close), function, ())

    def call(
        self, function: tree.Name, _open: Token, args: list[tree.Expr | tree.Keyword], *rest: Token
    ) -> tree.Call:
        begin, close = function.span, rest[-1]
        span = Span(self.file, begin.line, begin.column, close[2], close[3] + 1)
        for arg in args:
            if type(arg) is tree.Keyword:
                positions, keywords = self._arguments(args)
                return tree.Call(span, function, positions, keywords)
        return tree.Call(span, function, cast(tuple[tree.Expr, ...], tuple(args)))

    call_comma = call

    def keyword(self, name: Token, _equals: Token, value: tree.Expr) -> tree.Keyword:
        return tree.Keyword(self.over(name, value), name[1], value)

    def _arguments(
        self, args: Sequence[tree.Expr | tree.Keyword]
    ) -> tuple[tuple[tree.Expr, ...], tuple[tree.Keyword, ...]]:
        positions: list[tree.Expr] = []
        keywords: list[tree.Keyword] = []
        for arg in args:
            if isinstance(arg, tree.Keyword):
                if any(k.name == arg.name for k in keywords):
                    self.fault("E0126", f"`{arg.name}` is given twice", arg.span, "remove one of the two")
                keywords.append(arg)
            else:
                if keywords:
                    help = f"put it before `{keywords[0].name}=`, or give it a name too"
                    self.fault("E0126", "a position follows a named argument", arg.span, help)
                positions.append(arg)
        return tuple(positions), tuple(keywords)

    def slice(self, *parts: Any) -> tree.Slice:
        """`start:stop:step` with any of the three absent; the colons are tokens, the rest nodes."""
        found: list[tree.Expr | None] = [None, None, None]
        place = 0
        for part in parts:
            if type(part) is tuple:
                place += 1
            else:
                found[place] = part
        return tree.Slice(self.over(parts[0], parts[-1]), *found)
