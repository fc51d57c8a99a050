"""A polynomial potential of degree at most 4, ready for the kernels, and whether it is bounded below.

V(x) = constant + b·x + ½ xᵀQx + Σ_i J4_i x_i⁴ + Σ_t c_t Π x[index_t]        (J2_i = Q_ii / 2; physics §3)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.diagnostics import fail
from spucc.energy import Energy, Monomials

DENSE_SHARE = 0.05
"""A Q with at least this share of its entries is multiplied as a dense matrix."""


@dataclass(frozen=True, eq=False)
class Potential:
    """V as in the module's docstring: `linear` [n], symmetric `quadratic` [n, n], `quartic` [n], `others`
    (terms of degree 3 and 4 that are no fourth power of one unit)."""

    linear: FloatArray
    quadratic: sparse.csr_array
    quartic: FloatArray
    others: tuple[Monomials, ...] = ()

    @property
    def n(self) -> int:
        return int(self.linear.size)

    @cached_property
    def dense(self) -> NDArray[np.float32] | None:
        """Q's off-diagonal part as float32 where a matrix product is quicker than row sums, else None."""
        if self.n < 64 or self.quadratic.nnz < DENSE_SHARE * self.n**2:
            return None
        q = np.ascontiguousarray(self.quadratic.toarray(), dtype=np.float32)
        np.fill_diagonal(q, 0.0)
        return q

    @cached_property
    def rows(self) -> tuple[NDArray[np.int32], NDArray[np.int32], FloatArray]:
        """Q's off-diagonal part in compressed rows; empty rows where `dense` holds it."""
        if self.dense is not None:
            return np.zeros(self.n + 1, np.int32), np.zeros(0, np.int32), np.zeros(0)
        q = sparse.coo_array(self.quadratic)
        off = q.row != q.col
        part = sparse.csr_array(
            sparse.coo_array((q.data[off], (q.row[off], q.col[off])), shape=self.quadratic.shape)
        )
        pointers, columns = part.indptr.astype(np.int32), part.indices.astype(np.int32)
        return pointers, columns, np.asarray(part.data, dtype=np.float64)

    @cached_property
    def diagonal(self) -> FloatArray:
        return frozen(self.quadratic.diagonal())

    @cached_property
    def slopes(self) -> tuple[NDArray[np.int32], NDArray[np.int32], FloatArray]:
        """∂(others)/∂x_i as terms in compressed rows: row pointers [n + 1], factors [terms, 3] (n stands for
        the number 1), coefficients [terms]."""
        site, factor, coefficient = [np.zeros(0, np.int64)], [np.zeros((0, 3), np.int64)], [np.zeros(0)]
        for terms in self.others:
            for k in range(terms.degree):
                rest = np.delete(terms.index, k, axis=1)
                pad = np.full((rest.shape[0], 3 - rest.shape[1]), self.n)
                site.append(terms.index[:, k])
                factor.append(np.concatenate([rest, pad], axis=1))
                coefficient.append(terms.coefficient)
        at = np.concatenate(site)
        order = np.argsort(at, kind="stable")
        starts = np.searchsorted(at[order], np.arange(self.n + 1)).astype(np.int32)
        return starts, np.concatenate(factor)[order].astype(np.int32), np.concatenate(coefficient)[order]

    def energy(self, x: FloatArray) -> FloatArray:
        """V at x [..., n], without the constant."""
        flat = np.asarray(x, dtype=np.float64).reshape(-1, self.n)
        value = flat @ self.linear + flat**4 @ self.quartic
        value += 0.5 * np.einsum("ki,ki->k", (self.quadratic @ flat.T).T, flat)
        for terms in self.others:
            value = value + np.prod(flat[:, terms.index], axis=2) @ terms.coefficient
        return np.asarray(value.reshape(np.shape(x)[:-1]))

    def mixed(self, other: Potential, share: float) -> Potential:
        """(1 − share)·V + share·other, for a protocol that leads from one to the other."""
        blend = [Monomials(t.index, frozen(t.coefficient * (1 - share))) for t in self.others]
        blend += [Monomials(t.index, frozen(t.coefficient * share)) for t in other.others]
        return Potential(
            frozen((1 - share) * self.linear + share * other.linear),
            sparse.csr_array((1 - share) * self.quadratic + share * other.quadratic),
            frozen((1 - share) * self.quartic + share * other.quartic),
            tuple(t for t in blend if t.coefficient.any()),
        )


def potential_of(energy: Energy) -> Potential:
    """The potential of an energy over real variables (its temperature is not in it).

    Raises E0551 for a potential that is not bounded below, naming a direction, and E0552 for spins or bits,
    or a degree above 4, which units of this kind do not have.
    """
    _, spin, bit = energy.domains
    if spin.size or bit.size:
        first = int(min([*spin[:1], *bit[:1]]))
        fail(
            "E0552",
            f"`{energy.label(first)}` takes two values only, but nonlinear units are real",
            help="compile spins for a p-bit target such as `ideal-spin`",
        )
    quartic = np.zeros(energy.n)
    others = []
    for terms in energy.higher:
        if terms.degree > 4:
            title = f"a term of degree {terms.degree} is beyond nonlinear units"
            fail("E0552", title, help="they have degrees up to 4")
        pure = (terms.index == terms.index[:, :1]).all(axis=1) & (terms.degree == 4)
        np.add.at(quartic, terms.index[pure, 0], terms.coefficient[pure])
        if not pure.all():
            others.append(Monomials(frozen(terms.index[~pure], np.int64), frozen(terms.coefficient[~pure])))
    potential = Potential(energy.linear, energy.quadratic.tocsr(), frozen(quartic), tuple(others))
    check_bounded(potential, energy)
    return potential


def check_bounded(potential: Potential, energy: Energy) -> None:
    """Raises E0551 when V falls without bound along a direction that is found.

    Certain where every term above degree 2 is a fourth power: a unit with J4 < 0 falls, and among the units
    without a quartic term the quadratic part has to be positive definite. With mixed terms of degree 4, the
    axes, pairs and a local search of the leading form on the sphere are tried.
    """
    values = [potential.linear, potential.quadratic.data, potential.quartic]
    values += [t.coefficient for t in potential.others]
    if not all(np.isfinite(v).all() for v in values):
        fail("E0551", "a coefficient of the energy is infinite or undefined", help="give finite couplings")
    falling = np.flatnonzero(potential.quartic < 0)
    if falling.size:
        i = int(falling[0])
        fail(
            "E0551",
            f"the energy falls without bound along `{energy.label(i)}`: its fourth power has the factor "
            f"{potential.quartic[i]:g}",
            help="a quartic term needs a positive factor: `double_well(J2, J4)` with J4 > 0",
        )
    leading = [t for t in potential.others if t.degree == 4]
    cubic = [t for t in potential.others if t.degree == 3]
    held = potential.quartic > 0
    for terms in cubic:
        loose = ~held[terms.index].all(axis=1)
        if loose.any() and not leading:
            units = dict.fromkeys(int(k) for k in terms.index[loose][0] if not held[k])
            names = ", ".join(f"`{energy.label(k)}`" for k in units)
            fail(
                "E0551",
                f"nothing keeps the energy from falling without bound along {names}: a term of degree 3 "
                "needs a fourth power of each of its variables above it",
                help="add a quartic term, `energy J4 * x**4` with J4 > 0",
            )
    if leading:
        direction = _descent_direction(potential)
        if direction is not None:
            _unbounded(energy, direction)
        return
    free = np.flatnonzero(~held)
    if free.size:
        _check_definite(potential.quadratic[free][:, free], free, energy)


def _check_definite(q: sparse.csr_array, free: IntArray, energy: Energy) -> None:
    """Raises E0551 with the direction of the least eigenvalue unless Q restricted to the units `free` is
    positive definite."""
    if free.size <= 2000:
        values, vectors = np.linalg.eigh(q.toarray())
        least, vector = values[0], vectors[:, 0]
    else:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        try:
            values, vectors = eigsh(q, k=1, which="SA", tol=1e-6, maxiter=5000)
            least, vector = values[0], vectors[:, 0]
        except ArpackNoConvergence:
            return
    if least <= 0:
        direction = np.zeros(energy.n)
        direction[free] = vector
        _unbounded(energy, direction)


def _descent_direction(potential: Potential) -> FloatArray | None:
    """A direction in which the form of degree 4 is negative, found by projected descent from 64 starts, or
    None."""
    n = potential.n
    rng = np.random.Generator(np.random.Philox(7))
    u = rng.normal(size=(64, n))
    leading = Potential(
        frozen(np.zeros(n)),
        sparse.csr_array((n, n)),
        potential.quartic,
        tuple(t for t in potential.others if t.degree == 4),
    )
    starts, factor, coefficient = leading.slopes
    sites = np.repeat(np.arange(n), np.diff(starts))
    for _ in range(200):
        u /= np.linalg.norm(u, axis=1)[:, None]
        wide = np.concatenate([u, np.ones((u.shape[0], 1))], axis=1)
        slope = 4 * potential.quartic * u**3
        term = coefficient * np.prod(wide[:, factor], axis=2)
        for row in range(u.shape[0]):
            slope[row] += np.bincount(sites, term[row], n)
        slope -= (slope * u).sum(axis=1)[:, None] * u
        size = np.linalg.norm(slope, axis=1)[:, None]
        u = u - 0.1 * slope / np.maximum(size, 1e-12)
    u /= np.linalg.norm(u, axis=1)[:, None]
    value = leading.energy(u)
    worst = int(np.argmin(value))
    return np.asarray(u[worst]) if value[worst] < -1e-9 * np.abs(coefficient).max() else None


def _unbounded(energy: Energy, direction: FloatArray) -> None:
    top = np.argsort(-np.abs(direction), kind="stable")[:3]
    scale = np.abs(direction).max()
    large = np.abs(direction) > 1e-3 * scale
    parts = [f"{direction[k] / scale:+.2g} {energy.label(int(k))}" for k in top if large[k]]
    more = ", …" if large.sum() > len(parts) else ""
    fail(
        "E0551",
        f"the energy falls without bound, or is flat, along {' '.join(parts)}{more}",
        help="hold that direction by a quartic term (`double_well`), a prior, or an observation",
    )
