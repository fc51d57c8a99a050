"""The functions of the language, and those of the program: what a call stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Never

import numpy as np

from spucc.diagnostics import Label, SpuccError, did_you_mean, fail
from spucc.grammar import tree
from spucc.grammar.arguments import Arguments, match
from spucc.grammar.broadcasting import batch_of, constant
from spucc.grammar.context import Context, Scope
from spucc.grammar.evaluate import evaluate, evaluate_all, located
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Range,
    Value,
    describe,
)

# Calls of the user's functions in one program; what doubles at each call reaches it at once.
MOST_CALLS = 100_000
DEEPEST_CALLS = 100


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
