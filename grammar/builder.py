"""From the rules of `spu.lark` to the nodes of `tree.py`: one method for each named alternative.

A method gets the values of its alternative's symbols: tokens as the scanner made them, nodes, or lists of
nodes. What the grammar cannot say (a bound has one of two names, keywords follow positions) is checked here
and left in `faults`.
"""

from __future__ import annotations

from typing import Any

from spucc.diagnostics import did_you_mean
from spucc.grammar import tree
from spucc.grammar.expression_builder import ExpressionBuilder
from spucc.grammar.scanner import Token
from spucc.grammar.walk import deeper_than

TYPES = ("int", "real", "spin", "bit", "graph", "spd", "symmetric", "string", "bool")

# How deep the tree of one statement may be. Later stages walk trees by recursion; the bound is here for all.
MAX_DEPTH = 200

_ELSEWHERE = {
    "float": "write `real`", "double": "write `real`", "number": "write `real`", "boolean": "write `bool`",
    "str": "write `string`", "integer": "write `int`", "binary": "write `bit`", "vector": "write `real[n]`",
    "row_vector": "write `real[n]`", "array": "write the type of the entries: `real[n]`",
    "matrix": "write `real[n, m]`",
    "cov_matrix": "write `spd[n]`",
}  # fmt: skip


class Builder(ExpressionBuilder):
    # --- programs and blocks ---

    def program(self, items: list[tree.Statement]) -> tuple[tree.Statement, ...]:
        return tuple(items)

    def program_last(self, items: list[tree.Statement], last: tree.Statement) -> tuple[tree.Statement, ...]:
        return tuple(self.items_statement(items, last, None))

    def items_none(self) -> list[tree.Statement]:
        return []

    def items_sep(self, items: list[tree.Statement], _sep: Token) -> list[tree.Statement]:
        return items

    def items_statement(
        self, items: list[tree.Statement], statement: tree.Statement, _sep: Token | None
    ) -> list[tree.Statement]:
        """Take a statement in, unless it is too deep: nothing later could even compare it."""
        if deeper_than(statement, MAX_DEPTH):
            title = f"this is nested too deeply: more than {MAX_DEPTH} levels"
            help = "break it into several `let` or `energy` lines, or write the sum of an array with `sum`"
            self.fault("E0108", title, statement.span, help)
        else:
            items.append(statement)
        return items

    def block(
        self, _open: Token, items: list[tree.Statement], close: Token
    ) -> tuple[list[tree.Statement], Token]:
        return items, close

    def block_last(
        self, _open: Token, items: list[tree.Statement], last: tree.Statement, close: Token
    ) -> tuple[list[tree.Statement], Token]:
        return self.items_statement(items, last, None), close

    # --- statements ---

    def data(self, word: Token, name: Token, _colon: Token, type: tree.Type, *default: Any) -> tree.Data:
        value = default[1] if default else None
        return tree.Data(self.over(word, value or type), self.name(name), type, value)

    def let(self, word: Token, name: Token, _equals: Token, value: tree.Expr) -> tree.Let:
        return tree.Let(self.over(word, value), self.name(name), value)

    def var(self, word: Token, name: Token, _colon: Token, type: tree.Type, *tilde: Any) -> tree.Var:
        distribution = tilde[1] if tilde else None
        return tree.Var(self.over(word, distribution or type), self.name(name), type, distribution)

    def param(self, word: Token, name: Token, _colon: Token, type: tree.Type, *start: Any) -> tree.Param:
        value = start[1] if start else None
        return tree.Param(self.over(word, value or type), self.name(name), type, value)

    def function_bare(self, word: Token, name: Token, *rest: Any) -> tree.Function:
        return self.function(word, name, rest[0], [], *rest[1:])

    def function(
        self, word: Token, name: Token, _open: Token, params: list[tree.Name], *rest: Any
    ) -> tree.Function:
        seen: set[str] = set()
        for param in params:
            if param.id in seen:
                self.fault(
                    "E0137", f"`{param.id}` is a parameter already", param.span, "give each its own name"
                )
            seen.add(param.id)
        return tree.Function(self.over(word, rest[-1]), self.name(name), tuple(params), rest[-1])

    function_comma = function

    def tilde(self, left: tree.Expr, _tilde: Token, distribution: tree.Call) -> tree.Tilde:
        return tree.Tilde(self.over(left, distribution), left, distribution)

    def energy(self, word: Token, value: tree.Expr) -> tree.EnergyTerm:
        return tree.EnergyTerm(self.over(word, value), value)

    def observe(self, word: Token, target: tree.Expr, _equals: Token, value: tree.Expr) -> tree.Observe:
        return tree.Observe(self.over(word, value), target, value)

    def temperature(self, word: Token, value: tree.Expr) -> tree.Temperature:
        return tree.Temperature(self.over(word, value), value)

    def for_(
        self,
        word: Token,
        targets: list[tree.Name],
        _in: Token,
        iterable: tree.Expr,
        block: tuple[list[tree.Statement], Token],
    ) -> tree.For:
        body, close = block
        return tree.For(self.over(word, close), tuple(targets), iterable, tuple(body))

    def if_(self, word: Token, condition: tree.Expr, block: tuple[list[tree.Statement], Token]) -> tree.If:
        body, close = block
        return tree.If(self.over(word, close), condition, tuple(body), ())

    def if_else(
        self,
        word: Token,
        condition: tree.Expr,
        block: tuple[list[tree.Statement], Token],
        other: Token,
        otherwise: tuple[list[tree.Statement], Token],
    ) -> tree.If:
        body, close = otherwise
        return tree.If(self.over(word, close), condition, tuple(block[0]), tuple(body), self.at(other))

    def if_elif(
        self,
        word: Token,
        condition: tree.Expr,
        block: tuple[list[tree.Statement], Token],
        other: Token,
        chained: tree.If,
    ) -> tree.If:
        return tree.If(self.over(word, chained), condition, tuple(block[0]), (chained,), self.at(other))

    def import_(self, word: Token, path: Token) -> tree.Import:
        return tree.Import(self.over(word, path), self.string(path))

    def train(self, word: Token, names: list[tree.Name]) -> tree.Train:
        return tree.Train(self.over(word, names[-1]), tuple(names))

    def query(self, word: Token, name: Token, _equals: Token, call: tree.Call) -> tree.Query:
        return tree.Query(self.over(word, call), self.name(name), call)

    # --- types ---

    def type(self, name: Token, end: Token | None = None, **fields: Any) -> tree.Type:
        if name[1] not in TYPES:
            help = _ELSEWHERE.get(name[1]) or did_you_mean(name[1], TYPES)
            self.fault(
                "E0128", f"there is no type `{name[1]}`", self.at(name), help or "types: " + ", ".join(TYPES)
            )
        return tree.Type(self.over(name, end or name), name[1], **fields)

    def type_shape(self, name: Token, shape: tuple[list[tree.Expr], Token]) -> tree.Type:
        return self.type(name, shape[1], shape=tuple(shape[0]))

    def type_bounds(self, name: Token, bounds: tuple[list[tuple[Token, tree.Expr]], Token]) -> tree.Type:
        return self.type(name, bounds[1], **self._bounds(bounds[0]))

    def type_bounds_shape(
        self,
        name: Token,
        bounds: tuple[list[tuple[Token, tree.Expr]], Token],
        shape: tuple[list[tree.Expr], Token],
    ) -> tree.Type:
        return self.type(name, shape[1], shape=tuple(shape[0]), **self._bounds(bounds[0]))

    def bound(self, name: Token, _equals: Token, value: tree.Expr) -> tuple[Token, tree.Expr]:
        return name, value

    def _bounds(self, bounds: list[tuple[Token, tree.Expr]]) -> dict[str, tree.Expr]:
        found: dict[str, tree.Expr] = {}
        for name, value in bounds:
            if name[1] not in ("lower", "upper"):
                self.fault(
                    "E0121", f"there is no bound `{name[1]}`", self.at(name), "bounds: `<lower=0, upper=1>`"
                )
            elif name[1] in found:
                self.fault("E0121", f"`{name[1]}` is given twice", self.at(name), "remove one of the two")
            else:
                found[name[1]] = value
        return found
