"""What each statement does to the context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, SpuccError, did_you_mean, fail
from spucc.energy import Domain
from spucc.grammar import tree
from spucc.grammar.arithmetic import batch_of, binary, broadcast, constant, full, numeric, quoted
from spucc.grammar.context import Added, Context, Declared, Fixed, Scope
from spucc.grammar.distributions import tilde
from spucc.grammar.evaluate import evaluate, located, truths, turns
from spucc.grammar.functions import BUILTINS, load_all
from spucc.grammar.laws import as_random, unrolled
from spucc.grammar.poly import Poly
from spucc.grammar.types import constant_type, shape_of
from spucc.grammar.values import (
    Batch,
    CannotBatchError,
    Const,
    Poison,
    PoisonedError,
    Random,
    Value,
    check_size,
    describe,
    show_shape,
)

# Further errors are hardly read.
MAX_ERRORS = 100
# Turns of loops that have to be taken one by one.
MOST_TURNS = 20_000
# Random coordinates of a program.
MOST_COORDINATES = 50_000_000


def execute(ctx: Context, statement: tree.Statement) -> None:
    """Run one statement; what is wrong with it is noted and the names it would declare are poisoned."""
    try:
        ctx.step(statement, 10)
        _BY_NODE[type(statement)](ctx, statement)
    except SpuccError as error:
        ctx.diagnostics += located(error, statement.span).diagnostics
        _poison(ctx, statement)
    except PoisonedError:
        _poison(ctx, statement)
    except RecursionError:
        ctx.diagnostics += located(_too_deep(), statement.span).diagnostics
        _poison(ctx, statement)


def _too_deep() -> SpuccError:
    from spucc.diagnostics import Diagnostic

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


def _top_level(ctx: Context, node: tree.Node, what: str) -> None:
    if ctx.scope.parent is not None:
        fail(
            "E0219",
            f"{what} cannot stand inside a block",
            node.span,
            help="declare it before the loop, with an axis for the turns (`if` may choose its size or "
            "its law)",
        )


def _declare(ctx: Context, name: tree.Name, value: Value, kind: str, type_: str) -> None:
    ctx.declare(name, value)
    ctx.declared.append(Declared(name.id, kind, type_, value.shape, name.span, value))


def _let(ctx: Context, node: tree.Let) -> None:
    value = evaluate(ctx, node.value)
    _declare(ctx, node.name, value, "let", describe(value))


def _var(ctx: Context, node: tree.Var) -> None:
    _top_level(ctx, node, "a random variable")
    if ctx.scope.find(node.name.id) is not None:
        ctx.declare(node.name, Poison())
    domains = {"real": Domain.REAL, "spin": Domain.SPIN, "bit": Domain.BIT}
    if node.type.name not in domains:
        fail(
            "E0226",
            f"a random variable cannot be of the type `{node.type.name}`",
            node.type.span,
            help="random variables are `real`, `spin` or `bit`",
        )
    if node.type.lower is not None or node.type.upper is not None:
        fail(
            "E0405",
            f"the random variable `{node.name.id}` cannot have a bound: no resonator has a hard wall",
            node.type.span,
            help="leave the bound out; a prior well inside it, or a quartic energy, keeps the variable there",
        )
    shape = shape_of(ctx, node.type)
    check_size(shape, node.type.span)
    size = int(np.prod(shape, dtype=np.float64))
    if ctx.width + size > MOST_COORDINATES:
        fail("E0217", f"more than {MOST_COORDINATES:,} random coordinates", node.span)
    info = ctx.add_variable(node.name.id, shape, domains[node.type.name], node.name.span)
    poly = Poly.variable(info.name, info.start, size)
    _declare(
        ctx, node.name, Random(poly, shape), "var", node.type.name + (show_shape(shape) if shape else "")
    )
    if node.distribution is not None:
        tilde(ctx, tree.Tilde(node.span, node.name, node.distribution))


def _param(ctx: Context, node: tree.Param) -> None:
    _top_level(ctx, node, "a param")
    shape = shape_of(ctx, node.type)
    check_size(shape, node.type.span)
    if node.value is None:
        fail(
            "E0227",
            f"the param `{node.name.id}` has no value",
            node.span,
            help=f"`param {node.name.id}: … = 0`; training would start there",
        )
    value = constant(evaluate(ctx, node.value), node.value.span, "the value of a param")
    if broadcast(shape, value.shape, node.span) != shape:
        fail(
            "E0203",
            f"the value of `{node.name.id}` has the shape {show_shape(value.shape)}, declared is "
            f"{show_shape(shape)}",
            node.value.span,
        )
    array = np.broadcast_to(value.array, shape)
    checked = constant_type(ctx, node.type, Const(np.array(array)), node.name.id)
    _declare(ctx, node.name, checked, "param", node.type.name + (show_shape(shape) if shape else ""))


def _function(ctx: Context, node: tree.Function) -> None:
    _top_level(ctx, node, "a function")
    name = node.name.id
    load_all()
    if name in BUILTINS:
        fail("E0225", f"`{name}` is a function of the language", node.name.span, help="choose another name")
    if name in ctx.functions:
        fail(
            "E0202",
            f"the function `{name}` is declared twice",
            node.name.span,
            labels=(Label(ctx.functions[name].name.span, "first declared here"),),
        )
    seen: set[str] = set()
    for p in node.params:
        if p.id in seen:
            fail("E0202", f"the parameter `{p.id}` is declared twice", p.span)
        seen.add(p.id)
    ctx.functions[name] = node


def _tilde(ctx: Context, node: tree.Tilde) -> None:
    tilde(ctx, node)


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


# --- blocks ---


def _for(ctx: Context, node: tree.For) -> None:
    names = tuple(t.id for t in node.targets)
    gathered: tuple[list[Any], ...] = (ctx.effects, ctx.diagnostics, ctx.declared)
    marks = [len(g) for g in gathered]
    try:
        _loop_at_once(ctx, node, names)
    except CannotBatchError as reason:
        if ctx.batch is not None:
            raise
        if ctx.halted:
            return
        for some, mark in zip(gathered, marks):
            del some[mark:]
        _loop_by_turns(ctx, node, names, reason)


def _loop_at_once(ctx: Context, node: tree.For, names: tuple[str, ...]) -> None:
    batch, columns = turns(ctx, node.iterable, names, node.span)
    with ctx.inside(batch):
        for target, value in zip(node.targets, columns):
            _declare(ctx, target, value, "index", describe(value))
        if batch.size:
            _run_inside(ctx, node.body)


def _run_inside(ctx: Context, body: tuple[tree.Statement, ...]) -> None:
    run_all(ctx, body)


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


def _if(ctx: Context, node: tree.If) -> None:
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


def _train(ctx: Context, node: tree.Train) -> None:
    params = [d.name for d in ctx.declared if d.kind == "param"]
    for name in node.names:
        if name.id not in params:
            fail(
                "E0201",
                f"`{name.id}` is not a param",
                name.span,
                help=did_you_mean(name.id, params) or "declare it: `param W: real[n] = 0`",
            )
    fail(
        "E0410",
        "training is not served yet by any stage",
        node.span,
        help="remove `train`; the params keep the values they are given",
    )


def _query(ctx: Context, node: tree.Query) -> None:
    _top_level(ctx, node, "a query")
    from spucc.grammar.queries import prepare

    prepare(ctx, node)


def _data(ctx: Context, node: tree.Data) -> None:
    _top_level(ctx, node, "data")
    from spucc.grammar.binding import bind

    bind(ctx, node)


def _import(ctx: Context, node: tree.Import) -> None:
    _top_level(ctx, node, "an import")
    from spucc.grammar.imports import run_import

    run_import(ctx, node)


_BY_NODE: dict[type, Callable[[Context, Any], None]] = {
    tree.Data: _data,
    tree.Let: _let,
    tree.Var: _var,
    tree.Param: _param,
    tree.Function: _function,
    tree.Tilde: _tilde,
    tree.EnergyTerm: _energy,
    tree.Observe: _observe,
    tree.Temperature: _temperature,
    tree.For: _for,
    tree.If: _if,
    tree.Import: _import,
    tree.Train: _train,
    tree.Query: _query,
}

__all__ = ["Scope", "batch_of", "execute", "full", "run_all"]
