"""Statements that declare: `let`, `var`, `param`, `fn`, `data`, `import`, `query`, `train`."""

from __future__ import annotations

import numpy as np

from spucc.diagnostics import Label, did_you_mean, fail
from spucc.energy import Domain
from spucc.grammar import tree
from spucc.grammar.binding import bind
from spucc.grammar.broadcasting import broadcast, constant
from spucc.grammar.context import Context, Declared
from spucc.grammar.distributions import tilde
from spucc.grammar.evaluate import evaluate
from spucc.grammar.functions import BUILTINS, load_all
from spucc.grammar.imports import run_import
from spucc.grammar.poly import Poly
from spucc.grammar.queries import prepare
from spucc.grammar.types import constant_type, shape_of
from spucc.grammar.values import (
    Const,
    Poison,
    Random,
    Value,
    check_size,
    describe,
    number_of,
    show_shape,
)

# Random coordinates of a program.
MOST_COORDINATES = 5_000_000


def top_level(ctx: Context, node: tree.Node, what: str) -> None:
    if ctx.scope.parent is not None:
        fail(
            "E0219",
            f"{what} cannot stand inside a block",
            node.span,
            help="declare it before the loop, with an axis for the turns (`if` may choose its size or "
            "its law)",
        )


def declare(ctx: Context, name: tree.Name, value: Value, kind: str, type_: str) -> None:
    ctx.declare(name, value)
    ctx.declared.append(Declared(name.id, kind, type_, value.shape, name.span, value))


def let(ctx: Context, node: tree.Let) -> None:
    value = evaluate(ctx, node.value)
    declare(ctx, node.name, value, "let", describe(value))


def var(ctx: Context, node: tree.Var) -> None:
    top_level(ctx, node, "a random variable")
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
    size = number_of(shape)
    if ctx.width + size > MOST_COORDINATES:
        fail("E0217", f"more than {MOST_COORDINATES:,} random coordinates", node.span)
    info = ctx.add_variable(node.name.id, shape, domains[node.type.name], node.name.span)
    poly = Poly.variable(info.name, info.start, size)
    declare(ctx, node.name, Random(poly, shape), "var", node.type.name + (show_shape(shape) if shape else ""))
    if node.distribution is not None:
        tilde(ctx, tree.Tilde(node.span, node.name, node.distribution))


def param(ctx: Context, node: tree.Param) -> None:
    top_level(ctx, node, "a param")
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
    declare(ctx, node.name, checked, "param", node.type.name + (show_shape(shape) if shape else ""))


def function(ctx: Context, node: tree.Function) -> None:
    top_level(ctx, node, "a function")
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


def train(ctx: Context, node: tree.Train) -> None:
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


def query(ctx: Context, node: tree.Query) -> None:
    top_level(ctx, node, "a query")
    prepare(ctx, node)


def data(ctx: Context, node: tree.Data) -> None:
    top_level(ctx, node, "data")
    bind(ctx, node)


def import_(ctx: Context, node: tree.Import) -> None:
    top_level(ctx, node, "an import")
    run_import(ctx, node)
