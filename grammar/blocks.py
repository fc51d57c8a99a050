"""`for` and `if`: a body run once for all turns, or turn by turn where shapes differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, fail
from spucc.grammar import tree
from spucc.grammar.context import Context
from spucc.grammar.declarations import declare
from spucc.grammar.evaluate import evaluate, truths
from spucc.grammar.loops import turns
from spucc.grammar.statements import run_all
from spucc.grammar.values import (
    Batch,
    CannotBatchError,
    Const,
    Random,
    Value,
    describe,
)

# Turns of loops that have to be taken one by one.
MOST_TURNS = 20_000


def for_(ctx: Context, node: tree.For) -> None:
    names = tuple(t.id for t in node.targets)
    gathered: tuple[list[Any], ...] = (ctx.effects, ctx.diagnostics, ctx.declared)
    marks, added = [len(g) for g in gathered], ctx.memory.effects
    try:
        _loop_at_once(ctx, node, names)
    except CannotBatchError as reason:
        if ctx.batch is not None:
            raise
        if ctx.halted:
            return
        for some, mark in zip(gathered, marks):
            del some[mark:]
        ctx.memory.effects = added
        _loop_by_turns(ctx, node, names, reason)


def _loop_at_once(ctx: Context, node: tree.For, names: tuple[str, ...]) -> None:
    batch, columns = turns(ctx, node.iterable, names, node.span)
    with ctx.inside(batch):
        for target, value in zip(node.targets, columns):
            declare(ctx, target, value, "index", describe(value))
        if batch.size:
            run_all(ctx, node.body)


def _loop_by_turns(ctx: Context, node: tree.For, names: tuple[str, ...], reason: CannotBatchError) -> None:
    """The body once for each turn, for what has a different shape in each."""
    batch, columns = turns(ctx, node.iterable, names, node.span)
    before = len(ctx.diagnostics)
    ctx.turns += batch.size
    if ctx.turns > MOST_TURNS:
        fail(
            "E0228",
            f"a loop whose body has another shape in each turn ({reason.reason}) may take at most "
            f"{MOST_TURNS:,} turns",
            node.span,
            labels=(Label(reason.span, "because of this"),) if reason.span else (),
            help="write the varying part with a mask or an index array of one shape",
        )
    for turn in range(batch.size):
        with ctx.inside(None):
            for target, value in zip(node.targets, columns):
                _bind_turn(ctx, target, value, turn)
            run_all(ctx, node.body)
        if len(ctx.diagnostics) > before:
            return


def _bind_turn(ctx: Context, target: tree.Name, value: Value, turn: int) -> None:
    if isinstance(value, Const):
        single: Value = Const(np.asarray(value.array[turn]))
    else:
        assert isinstance(value, Random)
        width = value.poly.size // max(value.batch.size, 1) if value.batch is not None else value.poly.size
        rows: IntArray = np.arange(turn * width, (turn + 1) * width, dtype=np.int64)
        single = Random(value.poly.take(rows), value.shape)
    ctx.declare(target, single)


def if_(ctx: Context, node: tree.If) -> None:
    condition = truths(evaluate(ctx, node.condition), node.condition.span)
    if condition.shape != ():
        fail(
            "E0206", f"a condition must be one truth value, found {describe(condition)}", node.condition.span
        )
    if condition.batch is None:
        body = node.then if bool(condition.array) else node.otherwise
        with ctx.inside(ctx.batch):
            run_all(ctx, body)
        return
    outer = ctx.batch
    for mask, body in ((condition.array, node.then), (~condition.array, node.otherwise)):
        rows: IntArray = np.flatnonzero(mask).astype(np.int64)
        if rows.size and body:
            with ctx.inside(Batch(rows.size, outer, rows)):
                run_all(ctx, body)
