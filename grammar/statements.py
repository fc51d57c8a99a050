"""What each statement does to the context."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from spucc.diagnostics import Diagnostic, Label, SpuccError, fail
from spucc.grammar import tree
from spucc.grammar.arithmetic import binary
from spucc.grammar.broadcasting import broadcast, constant, numeric, quoted
from spucc.grammar.context import Added, Context, Fixed
from spucc.grammar.distributions import tilde
from spucc.grammar.evaluate import evaluate, located
from spucc.grammar.laws import as_random, unrolled
from spucc.grammar.poly import Poly
from spucc.grammar.values import (
    Poison,
    PoisonedError,
    Random,
    describe,
    show_shape,
)

# Further errors are hardly read.
MAX_ERRORS = 100


def execute(ctx: Context, statement: tree.Statement) -> None:
    """Run one statement; what is wrong with it is noted and the names it would declare are poisoned."""
    outer, effects = ctx.memory.begin(), len(ctx.effects)
    try:
        ctx.step(statement, 10)
        _by_node()[type(statement)](ctx, statement)
        if not isinstance(statement, tree.For | tree.If | tree.Import):
            ctx.keep_effects(statement, effects)
    except SpuccError as error:
        ctx.diagnostics += located(error, statement.span).diagnostics
        _poison(ctx, statement)
    except PoisonedError:
        _poison(ctx, statement)
    except RecursionError:
        ctx.diagnostics += located(_too_deep(), statement.span).diagnostics
        _poison(ctx, statement)
    finally:
        ctx.memory.end(outer)


def _too_deep() -> SpuccError:
    return SpuccError(
        Diagnostic("E0222", "this statement is nested too deeply", help="name its parts with `let`")
    )


def _poison(ctx: Context, statement: tree.Statement) -> None:
    name = getattr(statement, "name", None)
    if isinstance(name, tree.Name) and not isinstance(statement, tree.Query | tree.Function):
        ctx.scope.names.setdefault(name.id, (Poison(), name.span))


def run_all(ctx: Context, statements: tuple[tree.Statement, ...]) -> None:
    for statement in statements:
        if ctx.halted or len(ctx.diagnostics) >= MAX_ERRORS:
            return
        execute(ctx, statement)


def _energy(ctx: Context, node: tree.EnergyTerm) -> None:
    value = numeric(evaluate(ctx, node.value), node.value.span, "an energy")
    if value.shape != ():
        fail(
            "E0212",
            f"an energy is one number, found {describe(value)}",
            node.value.span,
            help="`sum(…)` adds it up",
        )
    poly = as_random(value).poly
    if value.batch is None and ctx.batch is not None:
        poly = poly.scaled(float(ctx.batch.size))
    if not np.all(np.isfinite(np.asarray(poly.affine.offset))):
        fail("E0421", "this energy is infinite", node.value.span)
    ctx.effects.append(Added(poly, node.span, _is_sum_of_squares(poly)))


def _is_sum_of_squares(poly: Poly) -> bool:
    return all(
        len(t.factors) == 2 and t.factors[0] is t.factors[1] and bool(np.all(np.asarray(t.weight) >= 0))
        for t in poly.terms
    )


def _observe(ctx: Context, node: tree.Observe) -> None:
    target = numeric(evaluate(ctx, node.target), node.target.span, "a random variable")
    value = numeric(evaluate(ctx, node.value), node.value.span)
    if not isinstance(target, Random):
        fail(
            "E0416",
            "`observe` takes a random variable on the left",
            node.target.span,
            help="data on the left of `~` are observations too: `y ~ normal(f, sigma)`",
        )
    value = constant(value, node.value.span, "the observed value")
    if broadcast(target.shape, value.shape, node.span) != target.shape:
        fail(
            "E0203",
            f"the observed value has the shape {show_shape(value.shape)}, the left side "
            f"{show_shape(target.shape)}",
            node.value.span,
        )
    if not np.isfinite(value.array).all():
        fail("E0421", "an observed value must be finite", node.value.span)
    if not target.poly.is_linear:
        fail(
            "E0416",
            f"`observe` of an expression that is not linear in {quoted(target.poly.names)}",
            node.target.span,
            help="introduce a soft constraint: `expression ~ normal(value, small)`",
        )
    difference = binary("-", target, value, node.span)
    assert isinstance(difference, Random)
    ctx.effects.append(Fixed(unrolled(difference).poly, node.span))


def _temperature(ctx: Context, node: tree.Temperature) -> None:
    value = constant(evaluate(ctx, node.value), node.value.span, "the temperature")
    if ctx.batch is not None or value.shape != ():
        fail("E0422", "the temperature is one number for the whole program", node.span)
    t = float(value.array)
    if not (t > 0.0 and np.isfinite(t)):
        fail(
            "E0422",
            f"the temperature must be positive and finite, found {t:g}",
            node.value.span,
            help="the state of least energy, which zero temperature stands for, is the query `argmin()`"
            if t == 0
            else "",
        )
    if ctx.temperature is not None:
        fail(
            "E0422",
            "the temperature is given twice",
            node.span,
            labels=(Label(ctx.temperature[1], "first here"),),
        )
    ctx.temperature = (t, node.span)


@cache
def _by_node() -> dict[type, Callable[[Context, Any], None]]:
    """What each kind of statement is run by; blocks run statements in their turn."""
    from spucc.grammar import blocks, declarations

    return {
        tree.Data: declarations.data,
        tree.Let: declarations.let,
        tree.Var: declarations.var,
        tree.Param: declarations.param,
        tree.Function: declarations.function,
        tree.Tilde: tilde,
        tree.EnergyTerm: _energy,
        tree.Observe: _observe,
        tree.Temperature: _temperature,
        tree.For: blocks.for_,
        tree.If: blocks.if_,
        tree.Import: declarations.import_,
        tree.Train: declarations.train,
        tree.Query: declarations.query,
    }
