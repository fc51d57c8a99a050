"""`query name = kind(expression)`: checked where it stands, written into the energy at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.diagnostics import Label, Span, did_you_mean, fail
from spucc.energy import Domain, Form, Product, Query, QueryKind
from spucc.grammar import tree
from spucc.grammar.arguments import Arguments, match
from spucc.grammar.broadcasting import const_flat, quoted
from spucc.grammar.checks import asymmetry, cholesky, symmetrised
from spucc.grammar.components import support
from spucc.grammar.context import Context
from spucc.grammar.linear import spread
from spucc.grammar.poly import Affine
from spucc.grammar.values import Const, Random, SparseConst, Value, describe

_LINEAR = ("sample", "mean", "cov", "std", "var", "corr", "quantile", "trajectory")
_PARAMS: dict[str, tuple[tuple[str, ...], int]] = {
    **dict.fromkeys(_LINEAR, (("x",), 1)),
    "expectation": (("x",), 1),
    "quantile": (("x", "q"), 2),
    "trajectory": (("x", "duration", "start"), 2),
    "argmin": ((), 0),
    "logz": ((), 0),
    "inverse": (("A",), 1),
    "solve": (("A", "b"), 2),
    "logdet": (("A",), 1),
}


@dataclass(eq=False)
class Asked:
    """A checked query that still waits for the final coordinates."""

    node: tree.Query
    kind: QueryKind
    value: Random | None = None
    levels: Const | None = None
    matrix: Const | SparseConst | None = None
    rhs: FloatArray | None = None
    duration: float | None = None
    start: FloatArray | None = None
    hidden: int | None = None  # the first coordinate of the variable that stands for a matrix query
    certified: bool = False

    @property
    def span(self) -> Span:
        return self.node.span


def prepare(ctx: Context, node: tree.Query) -> None:
    """Check a query and remember it."""
    kind = node.call.function.id
    if kind not in _PARAMS:
        fail(
            "E0204",
            f"unknown query `{kind}`",
            node.call.function.span,
            help=did_you_mean(kind, _PARAMS) or "one of " + ", ".join(_PARAMS),
        )
    other = ctx.queries.get(node.name.id)
    if other is not None:
        fail(
            "E0202",
            f"the query `{node.name.id}` is declared twice",
            node.name.span,
            labels=(Label(other.node.name.span, "first declared here"),),
        )
    args = match(ctx, node.call, *_PARAMS[kind])
    asked = Asked(node, QueryKind(kind))
    if args.has("x"):
        asked.value = _expression(args, kind)
    if kind == "quantile":
        asked.levels = _levels(args)
    if kind == "trajectory":
        _trajectory(ctx, args, asked)
    if args.has("A"):
        _matrix(ctx, args, asked)
    ctx.queries[node.name.id] = asked


def asked_of(ctx: Context) -> list[Asked]:
    return list(ctx.queries.values())


def _expression(args: Arguments, kind: str) -> Random:
    value = args.numeric("x")
    if isinstance(value, Const):
        fail("E0419", f"`{kind}` of a constant", args.spans["x"], help="a query asks about random variables")
    degree = max((len(t.factors) for t in value.poly.terms), default=1)
    if kind != "expectation" and degree > 1:
        fail(
            "E0419",
            f"`{kind}` takes an expression that is linear in {quoted(value.poly.names)}",
            args.spans["x"],
            help="`expectation` takes products of two",
        )
    if degree > 2:
        fail("E0419", "`expectation` takes an expression of degree at most 2", args.spans["x"])
    return value


def _levels(args: Arguments) -> Const:
    q = args.fixed("q")
    if len(q.shape) > 1 or not np.all((q.array >= 0) & (q.array <= 1)):
        fail("E0419", "the levels of `quantile` are probabilities between 0 and 1", args.spans["q"])
    return q


def _trajectory(ctx: Context, args: Arguments, asked: Asked) -> None:
    duration = args.number("duration")
    if not (duration > 0 and np.isfinite(duration)):
        fail("E0419", f"the duration must be positive and finite, found {duration:g}", args.spans["duration"])
    asked.duration = duration
    if args.has("start"):
        start = args.fixed("start")
        value = asked.value
        assert value is not None
        asked.start = (
            np.asarray(const_flat(start, value.shape, None) * np.ones(value.poly.size))
            if start.shape in ((), value.shape)
            else None
        )
        if asked.start is None:
            fail(
                "E0203",
                f"the start must have the shape of the expression, found {describe(start)}",
                args.spans["start"],
            )


def _matrix(ctx: Context, args: Arguments, asked: Asked) -> None:
    """A: constant, symmetric, positive definite."""
    value: Value = args.values["A"]
    if not isinstance(value, SparseConst):
        value = args.fixed("A")
    span = args.spans["A"]
    if len(value.shape) != 2 or value.shape[0] != value.shape[1] or not value.shape[0]:
        fail("E0203", f"`{args.name}` takes a square matrix, found {describe(value)}", span)
    if "symmetric" not in value.facts:
        found = asymmetry(value)
        if found is not None:
            i, j, a, c = found
            fail(
                "E0412",
                f"the matrix is not symmetric: entry [{i}, {j}] is {a:g}, entry [{j}, {i}] is {c:g}",
                span,
                help="the Gaussian that answers this has a symmetric precision",
            )
        if isinstance(value, Const):
            value = Const(symmetrised(np.asarray(value.array, dtype=np.float64)), None, value.facts)
    asked.certified = "spd" in value.facts
    if isinstance(value, Const) and not asked.certified:
        if cholesky(np.asarray(value.array, dtype=np.float64)) is None:
            fail(
                "E0412",
                "the matrix is not positive definite",
                span,
                help="the Gaussian that answers this has the matrix as its precision",
            )
        asked.certified = True
    asked.matrix = value
    n = value.shape[0]
    if args.has("b"):
        b = args.fixed("b")
        if b.shape != (n,):
            fail("E0203", f"the right side must have {n} entries, found {describe(b)}", args.spans["b"])
        if not np.isfinite(b.array).all():
            fail("E0421", "the right side must be finite", args.spans["b"])
        asked.rhs = np.asarray(b.array, dtype=np.float64)
    if asked.kind is not QueryKind.LOGDET:
        shape = (n,)
        name = asked.node.name.id
        hidden = f"{name}.{asked.kind.value}" if name in ctx.domains else name
        asked.hidden = ctx.add_variable(hidden, shape, Domain.REAL, asked.node.span).start
        ctx.stands_for[hidden] = name


def form_of(affine: Affine, shape: tuple[int, ...], width: int) -> Form:
    matrix = affine.linear.csr(width)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return Form(matrix, frozen(spread(affine.offset, affine.size)), shape)


def finished(asked: Asked, width: int, mapped: Callable[[Affine], Affine]) -> Query:
    """The query in the final coordinates; `mapped` takes affine forms there."""
    node = asked.node
    form: Form | None = None
    products: tuple[Product, ...] = ()
    if asked.value is not None:
        poly = asked.value.poly
        form = form_of(mapped(poly.affine), asked.value.shape, width)
        products = tuple(_product(t, poly.size, mapped, width) for t in poly.terms)
    matrix: sparse.csr_array | FloatArray | None = None
    if isinstance(asked.matrix, SparseConst):
        matrix = asked.matrix.matrix
    elif asked.matrix is not None:
        matrix = frozen(asked.matrix.array)
    if asked.hidden is not None:
        assert asked.matrix is not None
        n = asked.matrix.shape[0]
        from spucc.grammar.linear import Linear

        index = np.arange(asked.hidden, asked.hidden + n)
        form = form_of(
            mapped(Affine(Linear.coordinates(index, asked.hidden + n), 0.0, frozenset())), (n,), width
        )
    levels = None if asked.levels is None else frozen(asked.levels.array).reshape(asked.levels.shape)
    start = None
    if asked.start is not None:
        assert form is not None
        start = frozen(_state_at(form, asked.start, node.span))
    return Query(
        name=node.name.id,
        kind=asked.kind,
        form=form,
        products=products,
        levels=levels,
        matrix=matrix,
        rhs=None if asked.rhs is None else frozen(asked.rhs),
        duration=asked.duration,
        start=start,
        span=node.span,
    )


def _state_at(form: Form, value: FloatArray, span: Span) -> FloatArray:
    """The state of least norm in which a form has a value: coordinates that it does not read are 0."""
    from scipy.sparse.linalg import lsqr

    wanted = value - form.offset
    rows = form.matrix
    if (np.diff(rows.indptr) == 1).all() and support(rows).size == rows.shape[0]:
        state = np.zeros(rows.shape[1])
        state[rows.indices] = wanted / rows.data
        return state
    state = np.asarray(lsqr(rows, wanted, atol=1e-15, btol=1e-15, iter_lim=20 * sum(rows.shape))[0])
    if np.abs(rows @ state - wanted).max(initial=0.0) > 1e-8 * (1.0 + np.abs(wanted).max(initial=0.0)):
        fail("E0419", "no state gives the expression of this trajectory the value at its start", span)
    return state


def _product(term: Any, size: int, mapped: Callable[[Affine], Affine], width: int) -> Product:
    left, right = (form_of(mapped(f), (term.size,), width) for f in term.factors)
    rows = np.arange(term.size) if term.rows is None else term.rows
    weight = spread(term.weight, term.size)
    gather = sparse.csr_array(
        sparse.coo_array((weight, (rows, np.arange(term.size))), shape=(size, term.size))
    )
    return Product(left, right, gather)
