"""Expressions to values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from spucc.diagnostics import Span, SpuccError
from spucc.grammar import tree
from spucc.grammar.broadcasting import constant
from spucc.grammar.context import Collector, Context
from spucc.grammar.values import (
    Const,
    Value,
)


def evaluate(ctx: Context, node: tree.Expr) -> Value:
    """The value of an expression in the current scope and loop."""
    ctx.step(node)
    value = _by_node()[type(node)](ctx, node)
    if type(node) is not tree.Name:
        ctx.weigh(node, value)
    return value


def evaluate_all(ctx: Context, nodes: tuple[tree.Expr, ...]) -> list[Value]:
    """Several expressions; the errors of all are raised together."""
    if len(nodes) == 1:
        return [evaluate(ctx, nodes[0])]
    values: list[Value] = []
    collector = Collector()
    for node in nodes:
        value = collector.attempt(evaluate, ctx, node)
        if value is not None:
            values.append(value)
    collector.done()
    return values


def located(error: SpuccError, span: Span) -> SpuccError:
    """The same error, pointing at `span` where it pointed nowhere."""
    from dataclasses import replace

    return SpuccError([d if d.span is not None else replace(d, span=span) for d in error.diagnostics])


def truths(value: Value, span: Span) -> Const:
    """A constant as truth values."""
    c = constant(value, span, "a condition")
    return Const(c.array.astype(bool), c.batch)


@cache
def _by_node() -> dict[type, Callable[[Context, Any], Value]]:
    """What each kind of node is evaluated by; these modules evaluate in their turn."""
    from spucc.grammar import functions, literals, loops, operators, subscripts

    return {
        tree.Number: literals.number,
        tree.String: literals.string,
        tree.Boolean: literals.boolean,
        tree.NoneLiteral: literals.none,
        tree.Name: literals.name,
        tree.Array: literals.array,
        tree.Tuple: literals.tuple_,
        tree.Unary: operators.unary,
        tree.Binary: operators.chain,
        tree.IfElse: operators.if_else,
        tree.Call: functions.call,
        tree.Comprehension: loops.comprehension,
        tree.Index: subscripts.index,
        tree.Attribute: operators.attribute,
    }
