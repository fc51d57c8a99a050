"""The functions of the language: how a call finds its function and its arguments theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Never

import numpy as np

from spucc.diagnostics import Label, Span, SpuccError, did_you_mean, fail
from spucc.grammar import tree
from spucc.grammar.arithmetic import (
    batch_of,
    constant,
    numeric,
)
from spucc.grammar.context import Context, Scope
from spucc.grammar.evaluate import evaluate, evaluate_all, located
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Graph,
    Group,
    Random,
    Range,
    Text,
    Value,
    describe,
)

# Calls of the user's functions in one program; what doubles at each call reaches it at once.
MOST_CALLS = 100_000
DEEPEST_CALLS = 100


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


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language. `params` are its parameters; those after `required` may be left out; a last
    one that starts with `*` takes any number."""

    run: Callable[[Arguments], Value]
    params: tuple[str, ...]
    required: int
    text: str = ""


BUILTINS: dict[str, Builtin] = {}


def builtin(names: str, params: str, required: int | None = None) -> Callable[..., Any]:
    """Register a function under one or several names."""

    def register(run: Callable[[Arguments], Value]) -> Callable[[Arguments], Value]:
        listed = tuple(params.split())
        for name in names.split():
            BUILTINS[name] = Builtin(
                run, listed, len(listed) if required is None else required, run.__doc__ or ""
            )
        return run

    return register


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


def call(ctx: Context, node: tree.Call) -> Value:
    """The value of `f(a, b)`."""
    name = node.function.id
    if name in ctx.functions:
        return expand(ctx, node, ctx.functions[name])
    known = BUILTINS.get(name)
    if known is None:
        load_all()
        known = BUILTINS.get(name)
    if known is None:
        _unknown(ctx, node)
    arguments = match(ctx, node, known.params, known.required)
    try:
        return known.run(arguments)
    except SpuccError as error:
        raise located(error, node.span) from None


def load_all() -> None:
    """Register what lives in modules that most programs do not need."""
    import spucc.grammar.array_making
    import spucc.grammar.array_shapes
    import spucc.grammar.elementwise
    import spucc.grammar.files
    import spucc.grammar.graphs
    import spucc.grammar.kernels
    import spucc.grammar.linear_algebra  # noqa: F401


def _unknown(ctx: Context, node: tree.Call) -> Never:
    from spucc.grammar.distributions import DISTRIBUTIONS

    name = node.function.id
    if name in DISTRIBUTIONS:
        fail(
            "E0220",
            f"`{name}` is a distribution: it stands on the right of `~`",
            node.function.span,
            help=f"`x ~ {name}(…)`",
        )
    if name in (
        "sample",
        "mean",
        "cov",
        "std",
        "var",
        "corr",
        "quantile",
        "expectation",
        "argmin",
        "logz",
        "inverse",
        "solve",
        "trajectory",
    ):
        fail("E0220", f"`{name}` is a query", node.function.span, help=f"`query answer = {name}(…)`")
    if name == "range":
        fail("E0220", "`range` stands only after `in`", node.function.span, help="`arange(n)` is an array")
    fail(
        "E0204",
        f"unknown function `{name}`",
        node.function.span,
        help=did_you_mean(name, [*BUILTINS, *ctx.functions]),
    )


def expand(ctx: Context, node: tree.Call, function: tree.Function) -> Value:
    """A call of a `fn`: its body with the arguments for its parameters."""
    name = function.name.id
    if name in ctx.active:
        path = " → ".join([*ctx.active[ctx.active.index(name) :], name])
        fail(
            "E0214",
            f"`{name}` calls itself ({path})",
            node.span,
            labels=(Label(function.span, "defined here"),),
            help="functions are expanded, so they cannot recurse",
        )
    ctx.calls += 1
    if ctx.calls > MOST_CALLS or len(ctx.active) >= DEEPEST_CALLS:
        fail(
            "E0214",
            f"the functions of this program expand to more than {MOST_CALLS:,} calls or nest deeper than "
            f"{DEEPEST_CALLS}",
            node.span,
        )
    params = tuple(p.id for p in function.params)
    arguments = match(ctx, node, params, len(params))
    scope = ctx.scope
    while scope.parent is not None:
        scope = scope.parent
    inner = Scope(scope)
    for p in function.params:
        inner.names[p.id] = (arguments.values[p.id], p.span)
    ctx.active.append(name)
    try:
        with ctx.inside(ctx.batch, inner):
            return evaluate(ctx, function.body)
    finally:
        ctx.active.pop()


def range_call(ctx: Context, node: tree.Call) -> Range:
    """`range(stop)`, `range(start, stop)`, `range(start, stop, step)`"""
    if not 1 <= len(node.args) <= 3 or node.keywords:
        fail(
            "E0205", "`range` takes one, two or three integers", node.span, help="`range(start, stop, step)`"
        )
    ends = []
    for value, arg in zip(evaluate_all(ctx, node.args), node.args):
        c = constant(value, arg.span, "the end of a range")
        if c.shape != () or c.array.dtype.kind not in "iu":
            fail("E0211", f"`range` counts with integers, found {describe(c)}", arg.span)
        ends.append(c)
    step = 1
    if len(ends) == 3:
        if ends[2].batch is not None:
            raise CannotBatchError("a range with a step that varies", node.span)
        step = int(ends.pop().array)
        if step == 0:
            fail("E0211", "the step of a range cannot be 0", node.args[2].span)
    zero = Const(np.asarray(0, dtype=np.int64))
    start, stop = (zero, ends[0]) if len(ends) == 1 else (ends[0], ends[1])
    return Range(start.array, stop.array, step, batch_of(start, stop))
