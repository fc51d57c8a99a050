"""`Law`: a statement `left ~ distribution(…)` while it is turned into energy, and what all distributions share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.diagnostics import Label, Span, fail
from spucc.energy import Domain
from spucc.grammar import tree
from spucc.grammar.arguments import Arguments
from spucc.grammar.arithmetic import binary
from spucc.grammar.broadcasting import broadcast, full, quoted
from spucc.grammar.context import Added, AddedBlock, Context
from spucc.grammar.linear import distinct
from spucc.grammar.poly import Poly
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Random,
    SparseConst,
    describe,
    show_shape,
)


@dataclass(eq=False)
class Law:
    """A statement `left ~ name(…)` while it is turned into energy."""

    ctx: Context
    node: tree.Tilde
    args: Arguments
    left: Const | Random

    @property
    def span(self) -> Span:
        return self.node.span

    @property
    def name(self) -> str:
        return self.node.distribution.function.id

    def add(self, poly: Poly, psd: bool = False) -> None:
        self.ctx.effects.append(Added(poly, self.span, psd))

    def scale(self, key: str) -> Const:
        """A scale: constant, positive; infinite is flat."""
        value = self.args.numeric(key)
        if isinstance(value, Random):
            fail(
                "E0406",
                f"the scale `{key}` of `{self.name}` depends on the random variable "
                f"{quoted(value.poly.names)}",
                self.args.spans[key],
                notes=("a scale that varies makes the energy something other than a polynomial",),
                help="give the scale as data and compile once for each value, or fix it at its estimate",
            )
        if not np.all(value.array > 0):
            at = int(np.flatnonzero(~(value.array > 0).ravel())[0])
            where = f" (entry {at})" if value.shape else ""
            fail(
                "E0411",
                f"the scale `{key}` of `{self.name}` must be positive, found "
                f"{float(value.array.ravel()[at]):g}{where}",
                self.args.spans[key],
            )
        return value

    def residual(self, key: str = "mu") -> Random:
        """left − mean, with the shape of the left side."""
        mean = self.args.numeric(key)
        shape = broadcast(
            self.left.shape, mean.shape, self.span,
            (Label(self.node.left.span, describe(self.left)), Label(self.args.spans[key], describe(mean))),
        )  # fmt: skip
        if shape != self.left.shape:
            shape_mismatch(self, key, mean.shape)
        value = binary("-", self.left, mean, self.span) if not _is_zero(mean) else self.left
        return as_random(value if isinstance(value, Random | Const) else self.left)


def _is_zero(v: Const | Random) -> bool:
    return (
        isinstance(v, Const)
        and v.array.size == 1
        and v.batch is None
        and float(v.array.reshape(-1)[0]) == 0.0
    )


def shape_mismatch(law: Law, key: str, shape: tuple[int, ...]) -> None:
    fail(
        "E0221",
        f"`{key}` of `{law.name}` has the shape {show_shape(shape)}, the left side "
        f"{show_shape(law.left.shape)}",
        law.args.spans[key],
        help="the left side says how many numbers there are; the arguments may be single numbers or have "
        "its shape",
    )


def as_random(v: Const | Random) -> Random:
    if isinstance(v, Random):
        return v
    size = int(v.array.size)
    flat = v.array.reshape(-1).astype(np.float64)
    return Random(Poly.constant(flat, size), v.shape, v.batch)


def unrolled(r: Random) -> Random:
    """The turns of the loop as a leading axis."""
    return r if r.batch is None else Random(r.poly, full(r.batch, r.shape))


def plain(poly: Poly) -> IntArray | None:
    """The coordinates that a polynomial reads, one an entry and no two the same; None if it is not of this
    kind."""
    slots = poly.affine.linear.slots
    if poly.terms or slots is None or len(slots) != 1:
        return None
    index, c = slots[0]
    offset = poly.affine.offset
    if (
        not (isinstance(c, float) and c == 1.0)
        or np.any(offset)
        or not distinct(index, poly.affine.linear.width)
    ):
        return None
    return index


def square_sum(poly: Poly, weight: float | FloatArray) -> Poly:
    """½ · weight · poly², entry by entry."""
    return poly.times(poly).scaled(weight * 0.5)


def require_real(law: Law) -> None:
    """A continuous law on spins or bits is a mistake."""
    if not isinstance(law.left, Random):
        return
    if plain(law.left.poly) is None:
        return
    for name in law.left.poly.names:
        domain = law.ctx.domain_of(name)
        if domain is not Domain.REAL:
            fail(
                "E0417",
                f"`{law.name}` is a law of real numbers, but `{name}` is {domain.value}",
                law.span,
                help="for spins: `ising`; for bits: `boltzmann`, `bernoulli_logit`; or an `energy` statement",
            )


def require_domain(law: Law, domain: Domain, left: Const | Random | None = None) -> None:
    left = law.left if left is None else left
    if isinstance(left, Const):
        allowed = (-1, 1) if domain is Domain.SPIN else (0, 1)
        if not np.isin(left.array, allowed).all():
            fail(
                "E0417",
                f"`{law.name}` is a law of {domain.value}s: the values are {allowed[0]} and {allowed[1]}",
                law.node.left.span,
            )
        return
    for name in left.poly.names:
        found = law.ctx.domain_of(name)
        if found is not domain:
            fail(
                "E0417",
                f"`{law.name}` is a law of {domain.value}s, but `{name}` is {found.value}",
                law.span,
                help=f"declare it as `var {name}: {domain.value}[…]`",
            )


def vector(law: Law, least: int = 1) -> Random:
    """The left side as vectors along its last axis."""
    r = as_random(law.left)
    if not r.shape:
        fail(
            "E0221",
            f"`{law.name}` is a law of a vector; the left side is a single number",
            law.node.left.span,
        )
    if r.shape[-1] < least:
        fail(
            "E0221",
            f"`{law.name}` needs at least {least} entries, the left side has {r.shape[-1]}",
            law.node.left.span,
        )
    return unrolled(r)


def along_last(r: Random, at: IntArray) -> Poly:
    """Entries `at` of the last axis, for every vector."""
    n = r.shape[-1]
    rows = r.poly.size // n if n else 0
    flat = (np.arange(rows, dtype=np.int64)[:, None] * n + at).ravel() if rows != 1 else at
    return r.poly.take(flat)


def single_weight(law: Law) -> float:
    """1 / sigma² for a scale that is one number."""
    sigma = law.scale("sigma")
    if sigma.batch is not None:
        raise CannotBatchError(f"`{law.name}` with a scale that varies over the loop", law.span)
    if sigma.shape != ():
        fail(
            "E0206",
            f"`sigma` of `{law.name}` must be one number, found {describe(sigma)}",
            law.args.spans["sigma"],
        )
    with np.errstate(all="ignore"):
        weight = float(1.0 / np.square(float(sigma.array)))
    if not np.isfinite(weight):
        fail(
            "E0411",
            "`sigma` is so small that its inverse square is not a finite number",
            law.args.spans["sigma"],
        )
    return weight


def add_quadratic(law: Law, r: Random, matrix: Const | SparseConst, factor: float, psd: bool) -> None:
    """½ · factor · rᵀ M r for every vector along the last axis; M is symmetric."""
    n = r.shape[-1]
    repeats = r.poly.size // n if n else 0
    certified = psd and "spd" in matrix.facts
    if isinstance(matrix, SparseConst):
        from scipy import sparse

        upper = sparse.coo_array(sparse.triu(matrix.matrix))
        i, j = (np.asarray(c, dtype=np.int64) for c in upper.coords)
        on = i == j
        squares, i, j, cross = i[on], i[~on], j[~on], np.asarray(upper.data[~on])
        self_part = along_last(r, squares)
        law.add(square_sum(self_part, factor * np.tile(upper.data[on], repeats)), psd)
        pairs = along_last(r, i).times(along_last(r, j)).scaled(factor * np.tile(cross, repeats))
        law.add(pairs, psd)
        return
    at = plain(r.poly) if repeats == 1 else None
    array = frozen(matrix.array) if factor == 1.0 else frozen(matrix.array * factor)
    if at is not None:
        law.ctx.effects.append(AddedBlock(at, None, array, law.span, psd, certified))
        return
    from spucc.grammar.matmul import matmul

    rows = Random(r.poly, (repeats, n))
    image = matmul(rows, Const(array), law.span)
    assert isinstance(image, Random)
    law.add(r.poly.times(image.poly).scaled(0.5), psd)


def symmetric_matrix(law: Law, key: str, n: int, sparse_ok: bool = True) -> Const | SparseConst:
    """A symmetric n × n constant."""
    from spucc.grammar.checks import asymmetry

    value = law.args.values[key]
    if isinstance(value, Random):
        fail(
            "E0406",
            f"`{key}` of `{law.name}` depends on the random variable {quoted(value.poly.names)}",
            law.args.spans[key],
            help="the coefficients of a law are constants",
        )
    if not (isinstance(value, SparseConst) and sparse_ok):
        value = law.args.fixed(key)
    if value.shape != (n, n):
        fail(
            "E0221",
            f"`{key}` of `{law.name}` must be {n} × {n} for a left side with {n} entries, found "
            f"{describe(value)}",
            law.args.spans[key],
        )
    if "symmetric" not in value.facts:
        found = asymmetry(value)
        if found is not None:
            i, j, a, b = found
            fail(
                "E0412",
                f"`{key}` of `{law.name}` is not symmetric: entry [{i}, {j}] is {a:g}, entry [{j}, {i}] is "
                f"{b:g}",
                law.args.spans[key],
                help="`0.5 * (A + A.T)` is the symmetric part",
            )
    if isinstance(value, Const) and not np.isfinite(value.array).all():
        fail("E0421", f"`{key}` of `{law.name}` is not finite", law.args.spans[key])
    return value
