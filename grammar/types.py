"""Declared types: shapes, bounds, and whether a value has the type that it should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import frozen
from spucc.diagnostics import Span, fail
from spucc.grammar import tree
from spucc.grammar.broadcasting import constant
from spucc.grammar.checks import asymmetry, cholesky, descent, symmetrised
from spucc.grammar.context import Context
from spucc.grammar.evaluate import evaluate
from spucc.grammar.values import Array, Const, SparseConst, Value, describe, show_shape

_SQUARE = ("spd", "symmetric")


def shape_of(ctx: Context, type_: tree.Type) -> tuple[int, ...]:
    """The shape that a type declares."""
    sizes = tuple(dimension(ctx, d) for d in type_.shape)
    if type_.name in _SQUARE:
        if len(sizes) != 1:
            fail("E0226", f"`{type_.name}` takes one dimension: `{type_.name}[n]` is n × n", type_.span)
        return (sizes[0], sizes[0])
    if type_.name in ("graph", "string") and sizes:
        fail("E0226", f"`{type_.name}` has no dimensions", type_.span)
    return sizes


def dimension(ctx: Context, node: tree.Expr) -> int:
    c = constant(evaluate(ctx, node), node.span, "a dimension")
    if c.shape != () or c.array.dtype.kind not in "iu":
        fail("E0211", f"a dimension must be an integer, found {describe(c)}", node.span)
    n = int(c.array)
    if n < 0:
        fail("E0211", f"a dimension cannot be negative, found {n}", node.span)
    return n


@dataclass(frozen=True, slots=True)
class Source:
    """Where a datum came from, for messages."""

    name: str
    origin: str
    span: Span

    def fail(self, code: str, problem: str, help: str = "") -> None:
        where = f" (from {self.origin})" if self.origin else ""
        fail(code, f"the datum `{self.name}`{where} {problem}", self.span, help=help)

    def entry(self, at: int, shape: tuple[int, ...]) -> str:
        """The user's name of an entry."""
        if not shape:
            return f"`{self.name}`"
        return f"`{self.name}[{', '.join(str(int(k)) for k in np.unravel_index(at, shape))}]`"


def checked(ctx: Context, type_: tree.Type, value: Value, source: Source) -> Value:
    """The value with the declared scalar type; every entry is checked. Its shape is right already."""
    if isinstance(value, SparseConst):
        _check_matrix(type_, value, source)
        facts = frozenset(["symmetric"]) if type_.name in _SQUARE else frozenset[str]()
        return SparseConst(value.matrix, None, facts)
    assert isinstance(value, Const)
    array = _typed(type_, value.array, source)
    _check_bounds(ctx, type_, array, source)
    facts = frozenset[str]()
    if type_.name in _SQUARE:
        array = frozen(array)
        _check_matrix(type_, Const(array), source)
        array = frozen(symmetrised(array))
        facts = frozenset(["symmetric"])
        if type_.name == "spd":
            if array.size and cholesky(array) is None:
                low, direction = descent(array)
                at = int(np.argmax(np.abs(direction)))
                source.fail(
                    "E0307",
                    f"is not positive definite: its least eigenvalue is {low:.6g}, along a direction "
                    f"that is largest at index {at}",
                    help="for a singular or indefinite matrix declare `symmetric`",
                )
            facts = frozenset(["symmetric", "spd"])
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return Const(array, None, facts)


def _typed(type_: tree.Type, array: Array, source: Source) -> Array:
    name = type_.name
    if array.dtype.kind not in "biuf":
        source.fail("E0302", f"must be {name}, found {_kind(array)}")
    if array.dtype.kind == "u":
        array = array.astype(np.int64) if array.size == 0 or array.max() < 2**63 else array.astype(np.float64)
    if name == "bool":
        if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
            source.fail("E0302", "must be true or false")
        return array.astype(bool)
    if array.dtype.kind == "f":
        total = float(array.sum()) if array.size else 0.0
        if not np.isfinite(total):
            bad = np.flatnonzero(np.isnan(array).ravel())
            if bad.size:
                source.fail(
                    "E0305",
                    f"holds NaN at {source.entry(int(bad[0]), array.shape)}",
                    help="leave missing values out and give the indices of those that are there",
                )
    if name in ("int", "spin", "bit"):
        if array.dtype.kind == "f":
            with np.errstate(all="ignore"):
                whole = array == np.floor(array)
            bad = np.flatnonzero(~(whole & (np.abs(array) < 2.0**63)).ravel())
            if bad.size:
                at = int(bad[0])
                source.fail(
                    "E0302", f"must be {name}, but {source.entry(at, array.shape)} is {array.ravel()[at]:g}"
                )
        array = array.astype(np.int64)
        allowed = {"spin": (-1, 1), "bit": (0, 1)}.get(name)
        if allowed is not None:
            bad = np.flatnonzero(~np.isin(array, allowed).ravel())
            if bad.size:
                at = int(bad[0])
                source.fail(
                    "E0314",
                    f"must be {allowed[0]} or {allowed[1]}, but {source.entry(at, array.shape)} is "
                    f"{array.ravel()[at]}",
                    help=f"`{'2 * b - 1' if name == 'spin' else '(s + 1) / 2'}` turns "
                    f"{'bits into spins' if name == 'spin' else 'spins into bits'}",
                )
        return array
    return array if array.dtype == np.float64 else array.astype(np.float64)


def _kind(array: Array) -> str:
    return {"U": "text", "S": "text", "O": "objects", "c": "complex numbers"}.get(
        array.dtype.kind, str(array.dtype)
    )


def _check_bounds(ctx: Context, type_: tree.Type, array: Array, source: Source) -> None:
    for which, node in (("lower", type_.lower), ("upper", type_.upper)):
        if node is None:
            continue
        bound = constant(evaluate(ctx, node), node.span, "a bound")
        try:
            limit = np.broadcast_to(bound.array, array.shape)
        except ValueError:
            fail(
                "E0203",
                f"a bound of shape {show_shape(bound.shape)} for a datum of shape {show_shape(array.shape)}",
                node.span,
            )
        bad = np.flatnonzero(((array < limit) if which == "lower" else (array > limit)).ravel())
        if bad.size:
            at = int(bad[0])
            source.fail(
                "E0304",
                f"must be at {'least' if which == 'lower' else 'most'} {limit.ravel()[at]:g}, but "
                f"{source.entry(at, array.shape)} is {array.ravel()[at]:g}",
            )


def _check_matrix(type_: tree.Type, value: Const | SparseConst, source: Source) -> None:
    if type_.name not in _SQUARE:
        return
    entries = value.matrix.data if isinstance(value, SparseConst) else value.array
    finite = np.isfinite(entries)
    if not finite.all():
        at = int(np.flatnonzero(~finite.ravel())[0])
        where = "" if isinstance(value, SparseConst) else f" at {source.entry(at, value.shape)}"
        source.fail("E0305", f"holds an infinity or NaN{where}")
    found = asymmetry(value)
    if found is not None:
        i, j, a, b = found
        source.fail(
            "E0306",
            f"is not symmetric: `{source.name}[{i}, {j}]` is {a!r}, `{source.name}[{j}, {i}]` is {b!r}",
        )


def constant_type(ctx: Context, type_: tree.Type, value: Const, name: str) -> Const:
    """A `param`'s value checked like a datum."""
    found = checked(ctx, type_, value, Source(name, "", type_.span))
    assert isinstance(found, Const)
    return found
