"""The syntax tree: what `spu.lark` parses to, with the span of every node.

Nodes are frozen and compare by content without their spans, so that `parse(format(tree)) == tree`. They are
structures of msgspec because a program of a megabyte has a million of them: one is made in a tenth of the time
of a dataclass, and the garbage collector need not look at what cannot hold itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from spucc.diagnostics import Span

# Fields that say where and how something was written, not what it means.
_ASIDE = frozenset(["span", "else_span", "comments"])


class Node(msgspec.Struct, frozen=True, eq=False, gc=False):
    span: Span

    def content(self) -> tuple[Any, ...]:
        """What the node says, without where it says it."""
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in _ASIDE)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Node) and self.content() == other.content()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), self.content()))


# --- expressions --------------------------------------------------------------------------------------------


class Number(Node, frozen=True, eq=False, gc=False):
    """A literal. `text` is as written; `value` is an int when written without point or exponent."""

    text: str
    value: int | float


class String(Node, frozen=True, eq=False, gc=False):
    value: str


class Boolean(Node, frozen=True, eq=False, gc=False):
    value: bool


class NoneLiteral(Node, frozen=True, eq=False, gc=False):
    """`None`, which stands only inside an index: a new axis."""


class Name(Node, frozen=True, eq=False, gc=False):
    id: str


class Array(Node, frozen=True, eq=False, gc=False):
    """`[1, 2, 3]`"""

    items: tuple[Expr, ...]


class Tuple(Node, frozen=True, eq=False, gc=False):
    """`(a, b)`: joint layers on the left of `~`, shapes in `zeros((2, 3))`, targets."""

    items: tuple[Expr, ...]


class Unary(Node, frozen=True, eq=False, gc=False):
    """`-x`, `+x`, `not x`"""

    op: str
    operand: Expr


class Binary(Node, frozen=True, eq=False, gc=False):
    """`+ - * / @ **`, comparisons `< <= > >= == !=`, `and or`"""

    op: str
    left: Expr
    right: Expr

    def __eq__(self, other: object) -> bool:
        """By content, along the chain `a + b + …` without recursion: it may be long."""
        one: object = self
        while type(one) is Binary and type(other) is Binary:
            if one.op != other.op or one.right != other.right:
                return False
            one, other = one.left, other.left
        return one == other

    def __hash__(self) -> int:
        return hash((self.op, self.right))


class IfElse(Node, frozen=True, eq=False, gc=False):
    """`a if c else b`"""

    then: Expr
    condition: Expr
    otherwise: Expr


class Keyword(Node, frozen=True, eq=False, gc=False):
    """`axis=0` in a call"""

    name: str
    value: Expr


class Call(Node, frozen=True, eq=False, gc=False):
    """`f(a, b, axis=0)`; functions, kernels and graphs are called by name"""

    function: Name
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...] = ()


class Comprehension(Node, frozen=True, eq=False, gc=False):
    """`sum(expr for i in range(N) if c)`; `function` is the reduction: `sum prod min max mean`."""

    function: Name
    body: Expr
    targets: tuple[str, ...]
    iterable: Expr
    condition: Expr | None = None


class Slice(Node, frozen=True, eq=False, gc=False):
    start: Expr | None
    stop: Expr | None
    step: Expr | None


class Index(Node, frozen=True, eq=False, gc=False):
    """`x[i, :, None]`"""

    value: Expr
    items: tuple[Expr | Slice, ...]


class Attribute(Node, frozen=True, eq=False, gc=False):
    """`A.T`"""

    value: Expr
    name: str


Expr = (
    Number
    | String
    | Boolean
    | NoneLiteral
    | Name
    | Array
    | Tuple
    | Unary
    | Binary
    | IfElse
    | Call
    | Comprehension
    | Index
    | Attribute
)

# --- types --------------------------------------------------------------------------------------------------


class Type(Node, frozen=True, eq=False, gc=False):
    """`real<lower=0>[N, 3]`; `name` is one of int real spin bit graph spd symmetric string bool."""

    name: str
    lower: Expr | None = None
    upper: Expr | None = None
    shape: tuple[Expr, ...] = ()


# --- statements ---------------------------------------------------------------------------------------------


class Data(Node, frozen=True, eq=False, gc=False):
    name: Name
    type: Type
    default: Expr | None


class Let(Node, frozen=True, eq=False, gc=False):
    name: Name
    value: Expr


class Var(Node, frozen=True, eq=False, gc=False):
    """`var x: real[N] ~ normal(0, 1)`; the distribution is None when there is none."""

    name: Name
    type: Type
    distribution: Call | None


class Param(Node, frozen=True, eq=False, gc=False):
    name: Name
    type: Type
    value: Expr | None


class Function(Node, frozen=True, eq=False, gc=False):
    """`fn name(a, b) = expr`"""

    name: Name
    params: tuple[Name, ...]
    body: Expr


class Tilde(Node, frozen=True, eq=False, gc=False):
    """`x[1:] ~ normal(phi * x[:-1], sigma)`; the left side is a `Tuple` for joint layers."""

    left: Expr
    distribution: Call


class EnergyTerm(Node, frozen=True, eq=False, gc=False):
    """`energy expr`"""

    value: Expr


class Observe(Node, frozen=True, eq=False, gc=False):
    """`observe x[3] = 1.2`"""

    target: Expr
    value: Expr


class Temperature(Node, frozen=True, eq=False, gc=False):
    value: Expr


class For(Node, frozen=True, eq=False, gc=False):
    """`for (i, j) in edges(G) { … }`"""

    targets: tuple[Name, ...]
    iterable: Expr
    body: tuple[Statement, ...]


class If(Node, frozen=True, eq=False, gc=False):
    """`if c { … } else { … }`; `else if` nests in `otherwise`."""

    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    else_span: Span | None = None


class Import(Node, frozen=True, eq=False, gc=False):
    path: String


class Train(Node, frozen=True, eq=False, gc=False):
    """`train NAME, NAME …`: the params that training may change."""

    names: tuple[Name, ...]


class Query(Node, frozen=True, eq=False, gc=False):
    """`query m = mean(x)`"""

    name: Name
    call: Call


Statement = (
    Data
    | Let
    | Var
    | Param
    | Function
    | Tilde
    | EnergyTerm
    | Observe
    | Temperature
    | For
    | If
    | Import
    | Train
    | Query
)


class Program(Node, frozen=True, eq=False, gc=False):
    """A whole file. `comments` are kept for the formatter: line, column, text with `#`, alone on its line."""

    statements: tuple[Statement, ...]
    comments: tuple[tuple[int, int, str, bool], ...] = ()
