"""`observe`: single entries become observed coordinates, combinations become substitutions."""

from __future__ import annotations

import numpy as np

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.diagnostics import Label, Span, fail
from spucc.energy import Domain, Variable
from spucc.grammar.context import Context, Fixed, VariableInfo
from spucc.grammar.linear import spread
from spucc.grammar.poly import Affine
from spucc.grammar.substitute import Substitution, constrained


def observations(
    ctx: Context, substitution: Substitution, constraints: list[Fixed], discrete: BoolArray
) -> tuple[IntArray, FloatArray]:
    """The observed coordinates, sorted, and their values."""
    index: list[IntArray] = []
    values: list[FloatArray] = []
    spans: list[Span] = []
    rest: list[Fixed] = []
    for c in constraints:
        single = _single(c.poly.affine)
        if single is None or substitution.gone[single[0]].any():
            rest.append(c)
            continue
        index.append(single[0])
        values.append(single[1])
        spans.append(c.span)
    at, value = _merged(ctx, index, values, spans)
    _check_domains(ctx, at, value, discrete, index, spans)
    constrained(substitution, rest, discrete, at, value)
    return at, value


def _single(a: Affine) -> tuple[IntArray, FloatArray] | None:
    """Coordinates and values where every row reads exactly one coordinate."""
    slots = a.linear.slots
    if slots is not None and len(slots) == 1:
        index, coefficient = slots[0][0], spread(slots[0][1], a.size)
    else:
        matrix = a.linear.csr()
        matrix.eliminate_zeros()
        if not (np.diff(matrix.indptr) == 1).all():
            return None
        index, coefficient = np.asarray(matrix.indices, dtype=np.int64), matrix.data
    if not np.all(coefficient):
        return None
    return index, -spread(a.offset, a.size) / coefficient + 0.0


def _merged(
    ctx: Context, index: list[IntArray], values: list[FloatArray], spans: list[Span]
) -> tuple[IntArray, FloatArray]:
    if not index:
        return frozen([], np.int64), frozen([])
    at, value = np.concatenate(index), np.concatenate(values)
    statement = np.repeat(np.arange(len(index)), [i.size for i in index])
    order = np.argsort(at, kind="stable")
    at, value, statement = at[order], value[order], statement[order]
    again = at[1:] == at[:-1]
    clash = np.flatnonzero(again & (value[1:] != value[:-1]))
    if clash.size:
        k = int(clash[0])
        fail(
            "E0415",
            f"{label(ctx, int(at[k]))} is observed twice, as {value[k]:g} and as {value[k + 1]:g}",
            spans[int(statement[k + 1])],
            labels=(Label(spans[int(statement[k])], "first observed here"),),
        )
    keep = np.append(True, ~again)[: at.size]  # nothing at all may be observed: `observe x[:0] = 1`
    return frozen(at[keep], np.int64), frozen(value[keep])


def _check_domains(
    ctx: Context,
    at: IntArray,
    value: FloatArray,
    discrete: BoolArray,
    index: list[IntArray],
    spans: list[Span],
) -> None:
    for k in np.flatnonzero(discrete[at]):
        owner = _owner(ctx, int(at[k]))
        allowed = (-1.0, 1.0) if owner.domain is Domain.SPIN else (0.0, 1.0)
        if value[k] not in allowed:
            fail(
                "E0424",
                f"{label(ctx, int(at[k]))} is {owner.domain.value} and cannot be observed as {value[k]:g}",
                next(s for s, i in zip(spans, index) if at[k] in i),
                help=f"its values are {allowed[0]:g} and {allowed[1]:g}",
            )


def _owner(ctx: Context, k: int) -> VariableInfo:
    return next(v for v in reversed(ctx.variables) if v.start <= k)


def label(ctx: Context, k: int) -> str:
    """The user's name of a coordinate."""
    v = _owner(ctx, k)
    return "`" + Variable(v.name, v.shape, v.domain, v.start).label(k - v.start) + "`"
