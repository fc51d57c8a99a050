"""The arguments of a call: each evaluated and given to its parameter."""

from __future__ import annotations

from dataclasses import dataclass

from spucc.diagnostics import Span, did_you_mean, fail
from spucc.grammar import tree
from spucc.grammar.broadcasting import constant, numeric
from spucc.grammar.context import Context
from spucc.grammar.evaluate import evaluate_all
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Graph,
    Group,
    Random,
    Text,
    Value,
    describe,
)


@dataclass(eq=False)
class Arguments:
    """The arguments of a call, matched to the function's parameters."""

    ctx: Context
    node: tree.Call
    values: dict[str, Value]
    spans: dict[str, Span]

    @property
    def span(self) -> Span:
        return self.node.span

    @property
    def name(self) -> str:
        return self.node.function.id

    def has(self, key: str) -> bool:
        return key in self.values

    def numeric(self, key: str) -> Const | Random:
        return numeric(self.values[key], self.spans[key])

    def const(self, key: str) -> Const:
        return constant(self.values[key], self.spans[key], f"the argument `{key}` of `{self.name}`")

    def fixed(self, key: str) -> Const:
        """A constant that is the same in all turns of a loop."""
        c = self.const(key)
        if c.batch is not None:
            raise CannotBatchError(f"`{self.name}` of something that varies over the loop", self.span)
        return c

    def whole(self, key: str) -> int:
        c = self.fixed(key)
        if c.shape != () or c.array.dtype.kind not in "iu":
            fail(
                "E0211",
                f"the argument `{key}` of `{self.name}` must be an integer, found {describe(c)}",
                self.spans[key],
            )
        return int(c.array)

    def number(self, key: str) -> float:
        c = self.fixed(key)
        if c.shape != ():
            fail(
                "E0206",
                f"the argument `{key}` of `{self.name}` must be one number, found {describe(c)}",
                self.spans[key],
            )
        return float(c.array)

    def graph(self, key: str = "G") -> Graph:
        value = self.values[key]
        if not isinstance(value, Graph):
            fail("E0206", f"`{self.name}` takes a graph, found {describe(value)}", self.spans[key])
        return value

    def text(self, key: str) -> str:
        value = self.values[key]
        if not isinstance(value, Text):
            fail(
                "E0206",
                f"the argument `{key}` of `{self.name}` must be a string, found {describe(value)}",
                self.spans[key],
            )
        return value.value

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes named by `axis=`, all without it."""
        if not self.has("axis"):
            return tuple(range(rank))
        value = self.values["axis"]
        listed = (
            [int(constant(v, self.spans["axis"], "an axis").array) for v in value.items]
            if isinstance(value, Group)
            else [self.whole("axis")]
        )
        for a in listed:
            if not -rank <= a < rank:
                fail("E0207", f"axis {a} is out of range for an array with {rank} axes", self.spans["axis"])
        return tuple(sorted({a % rank for a in listed}))

    def axis(self, rank: int, default: int = 0) -> int:
        if not self.has("axis"):
            return default
        a = self.whole("axis")
        if not -rank <= a < rank:
            fail("E0207", f"axis {a} is out of range for an array with {rank} axes", self.spans["axis"])
        return a % rank


def match(ctx: Context, node: tree.Call, params: tuple[str, ...], required: int) -> Arguments:
    """Evaluate the arguments of a call and give each to its parameter."""
    name = node.function.id
    star = next((p for p in params if p.startswith("*")), None)
    many = star is not None
    plain = tuple(p for p in params if p != star)
    ahead = params[: params.index(star)] if star is not None else params
    signature = f"{name}({', '.join(p if k < required else p + '=…' for k, p in enumerate(params))})"
    if len(node.args) > len(plain) and not many:
        fail(
            "E0205",
            f"`{name}` takes at most {len(plain)} arguments, found {len(node.args)}",
            node.span,
            help=f"`{signature}`",
        )
    nodes: dict[str, tree.Expr] = dict(zip(ahead, node.args))
    for keyword in node.keywords:
        if keyword.name not in plain:
            fail(
                "E0205",
                f"`{name}` has no argument `{keyword.name}`",
                keyword.span,
                help=did_you_mean(keyword.name, plain) or f"`{signature}`",
            )
        if keyword.name in nodes:
            fail("E0205", f"`{name}` is given `{keyword.name}` twice", keyword.span)
        nodes[keyword.name] = keyword.value
    missing = [p for p in params[:required] if p not in nodes and p != star]
    if missing:
        fail(
            "E0205",
            f"`{name}` needs {' and '.join(f'`{m}`' for m in missing)}",
            node.span,
            help=f"`{signature}`",
        )
    rest = tuple(node.args[len(ahead) :]) if many else ()
    found = evaluate_all(ctx, (*nodes.values(), *rest))
    values = dict(zip(nodes, found))
    spans = {key: n.span for key, n in nodes.items()}
    if star is not None:
        values[star] = Group(tuple(found[len(nodes) :]))
        spans[star] = node.span
    return Arguments(ctx, node, values, spans)
