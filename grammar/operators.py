"""Operators and `a if c else b` to values: chains without recursion, branches only where they are taken."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, Span, SpuccError, fail
from spucc.grammar import tree
from spucc.grammar.arithmetic import COMPARISONS, binary, negated
from spucc.grammar.broadcasting import as_poly, batch_of, broadcast, full, numeric
from spucc.grammar.context import Collector, Context
from spucc.grammar.evaluate import evaluate, located, truths
from spucc.grammar.indexing import transposed
from spucc.grammar.matmul import matmul
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    Batch,
    Const,
    Random,
    SparseConst,
    Value,
    describe,
    number_of,
)


def unary(ctx: Context, node: tree.Unary) -> Value:
    value = evaluate(ctx, node.operand)
    if node.op == "not":
        truth = truths(value, node.operand.span)
        return Const(~truth.array, truth.batch)
    if node.op == "-":
        return negated(value, node.span)
    return value if isinstance(value, SparseConst) else numeric(value, node.span)


def chain(ctx: Context, node: tree.Binary) -> Value:
    """A chain `a + b + …` is walked from its innermost operand, so that its length does not cost stack."""
    chain: list[tree.Binary] = []
    inner: tree.Expr = node
    while isinstance(inner, tree.Binary) and inner.op not in ("and", "or"):
        chain.append(inner)
        inner = inner.left
    if not chain:
        return _logical(ctx, node)
    collector = Collector()
    value = collector.attempt(evaluate, ctx, inner)
    for step in reversed(chain):
        right = collector.attempt(evaluate, ctx, step.right)
        if value is not None:
            value = None if right is None else collector.attempt(_apply, ctx, step, value, right)
    collector.done()
    assert value is not None
    return value


def _apply(ctx: Context, node: tree.Binary, left: Value, right: Value) -> Value:
    try:
        if node.op == "@" and isinstance(left, Const) and isinstance(right, Const):
            turns = 1 if ctx.batch is None else ctx.batch.size
            ctx.multiply(node, turns, *left.shape, *right.shape[1:])
        return _applied(node, left, right)
    except SpuccError as error:
        raise located(error, node.span) from None


def _applied(node: tree.Binary, left: Value, right: Value) -> Value:
    if node.op == "@":
        return matmul(left, right, node.span)
    labels: tuple[Label, ...] = ()
    if left.shape != right.shape and node.op not in COMPARISONS:
        labels = (Label(node.left.span, describe(left)), Label(node.right.span, describe(right)))
    return binary(node.op, left, right, node.span, labels)


def _logical(ctx: Context, node: tree.Binary) -> Value:
    """`and`, `or`: the right side is looked at only where the left does not decide."""
    left = truths(evaluate(ctx, node.left), node.left.span)
    decided = ~left.array if node.op == "and" else left.array
    if left.shape != ():
        right = truths(evaluate(ctx, node.right), node.right.span)
        operator = np.logical_and if node.op == "and" else np.logical_or
        broadcast(left.shape, right.shape, node.span)
        return Const(np.asarray(operator(left.array, right.array)), batch_of(left, right))
    if left.batch is None:
        return left if bool(decided) else truths(evaluate(ctx, node.right), node.right.span)
    return _branches(ctx, decided, left, None, node.right, node.span)


def _branches(
    ctx: Context, mask: Any, first: Value | None, a: tree.Expr | None, b: tree.Expr, span: Span
) -> Value:
    """Where `mask`, the value `first` or of `a`; elsewhere the value of `b`. Each is evaluated only where it
    is used."""
    assert ctx.batch is not None
    outer = ctx.batch
    parts: list[tuple[IntArray, Const | Random]] = []
    for chosen, node in ((mask, a), (~mask, b)):
        rows: IntArray = np.flatnonzero(chosen).astype(np.int64)
        if rows.size == 0:
            continue
        if node is None:
            assert isinstance(first, Const)
            parts.append((rows, Const(first.array[rows], Batch(rows.size, outer, rows))))
            continue
        branch = Batch(rows.size, outer, rows)
        with ctx.inside(branch):
            parts.append((rows, numeric(evaluate(ctx, node), node.span)))
    if not parts:
        return Const(np.zeros((0,)), outer)
    shape = parts[0][1].shape
    for _, value in parts:
        shape = broadcast(shape, value.shape, span)
    order = np.empty(outer.size, dtype=np.int64)
    order[np.concatenate([rows for rows, _ in parts])] = np.arange(outer.size)
    if all(isinstance(v, Const) for _, v in parts):
        arrays = [
            np.broadcast_to(v.array.reshape(full(v.batch, v.shape)), (rows.size, *shape))
            for rows, v in parts
            if isinstance(v, Const)
        ]
        return Const(np.concatenate(arrays)[order], outer)
    pieces = []
    for rows, v in parts:
        branch = v.batch if v.batch is not None else Batch(rows.size, outer, rows)
        pieces.append(as_poly(v, shape, branch))
    width = number_of(shape)
    positions = (order[:, None] * width + np.arange(width)).ravel()
    return Random(joined(pieces).take(positions), shape, outer)


def if_else(ctx: Context, node: tree.IfElse) -> Value:
    condition = truths(evaluate(ctx, node.condition), node.condition.span)
    if condition.shape != ():
        fail(
            "E0206",
            f"a condition must be one truth value, found {describe(condition)}",
            node.condition.span,
            help="`where(condition, a, b)` chooses entry by entry",
        )
    if condition.batch is None:
        return evaluate(ctx, node.then if bool(condition.array) else node.otherwise)
    return _branches(ctx, condition.array, None, node.then, node.otherwise, node.span)


def attribute(ctx: Context, node: tree.Attribute) -> Value:
    value = evaluate(ctx, node.value)
    if node.name != "T":
        fail("E0209", f"unknown attribute `.{node.name}`", node.span, help="only `.T`, the transpose, exists")
    if isinstance(value, SparseConst):
        return SparseConst(value.matrix.T.tocsr(), None, value.facts)
    return transposed(numeric(value, node.span))
