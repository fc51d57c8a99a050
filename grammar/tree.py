"""The syntax tree: what `spu.lark` parses to, with the span of every node.

Nodes are frozen and compare by content without their spans, so that `parse(format(tree)) == tree`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from spucc.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Node:
    span: Span = field(compare=False, repr=False)


# --- expressions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal. `text` is as written; `value` is an int when written without point or exponent."""

    text: str
    value: int | float


@dataclass(frozen=True, slots=True)
class String(Node):
    value: str


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    value: bool


@dataclass(frozen=True, slots=True)
class NoneLiteral(Node):
    """`None`, which stands only inside an index: a new axis."""


@dataclass(frozen=True, slots=True)
class Name(Node):
    id: str


@dataclass(frozen=True, slots=True)
class Array(Node):
    """`[1, 2, 3]`"""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    """`(a, b)`: joint layers on the left of `~`, shapes in `zeros((2, 3))`, targets."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-x`, `+x`, `not x`"""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Node):
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


@dataclass(frozen=True, slots=True)
class IfElse(Node):
    """`a if c else b`"""

    then: Expr
    condition: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    """`axis=0` in a call"""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`f(a, b, axis=0)`; functions, kernels and graphs are called by name"""

    function: Name
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...] = ()


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """`sum(expr for i in range(N) if c)`; `function` is the reduction: `sum prod min max mean`."""

    function: Name
    body: Expr
    targets: tuple[str, ...]
    iterable: Expr
    condition: Expr | None = None


@dataclass(frozen=True, slots=True)
class Slice(Node):
    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`x[i, :, None]`"""

    value: Expr
    items: tuple[Expr | Slice, ...]


@dataclass(frozen=True, slots=True)
class Attribute(Node):
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


@dataclass(frozen=True, slots=True)
class Type(Node):
    """`real<lower=0>[N, 3]`; `name` is one of int real spin bit graph spd symmetric string bool."""

    name: str
    lower: Expr | None = None
    upper: Expr | None = None
    shape: tuple[Expr, ...] = ()


# --- statements ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Data(Node):
    name: Name
    type: Type
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Let(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Var(Node):
    """`var x: real[N] ~ normal(0, 1)`; the distribution is None when there is none."""

    name: Name
    type: Type
    distribution: Call | None


@dataclass(frozen=True, slots=True)
class Param(Node):
    name: Name
    type: Type
    value: Expr | None


@dataclass(frozen=True, slots=True)
class Function(Node):
    """`fn name(a, b) = expr`"""

    name: Name
    params: tuple[Name, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Tilde(Node):
    """`x[1:] ~ normal(phi * x[:-1], sigma)`; the left side is a `Tuple` for joint layers."""

    left: Expr
    distribution: Call


@dataclass(frozen=True, slots=True)
class EnergyTerm(Node):
    """`energy expr`"""

    value: Expr


@dataclass(frozen=True, slots=True)
class Observe(Node):
    """`observe x[3] = 1.2`"""

    target: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class Temperature(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for (i, j) in edges(G) { … }`"""

    targets: tuple[Name, ...]
    iterable: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If(Node):
    """`if c { … } else { … }`; `else if` nests in `otherwise`."""

    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    else_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Import(Node):
    path: String


@dataclass(frozen=True, slots=True)
class Train(Node):
    """`train NAME, NAME …`: the params that training may change."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Query(Node):
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


@dataclass(frozen=True, slots=True)
class Program(Node):
    """A whole file. `comments` are kept for the formatter: line, column, text with `#`, alone on its line."""

    statements: tuple[Statement, ...]
    comments: tuple[tuple[int, int, str, bool], ...] = field(default=(), compare=False, repr=False)
