"""Real variables beside spins and bits: where they are of degree 2, they are a Gaussian for every setting of these.

    E(x, s) = ½ xᵀ Q x + Σ_t c_t · Π_k s_tk · x_i x_j + (terms of degree ≤ 1 in x)

is bounded below if Q with what a setting adds to it is positive definite for all settings s. Sufficient: Q less the most that
the terms can take from its diagonal. Exact, one connected part of the reals at a time: all settings of its spins and bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.energy import Energy, Quadratic
from spucc.grammar.components import components
from spucc.grammar.dominance import dominant

# Largest matrix that is factored dense, and multiplications that all settings together may take.
DENSE = 4000
MOST_WORK = 3e10
# Terms of which all settings are looked at.
MOST_TERMS = 20_000
# Curvatures below this, on a unit diagonal, are negative beyond rounding.
FALLS = -1e-10


@dataclass(frozen=True, eq=False)
class Fall:
    """A direction over the coordinates `at` along which the energy falls where the coordinates `given` have `values`."""

    at: IntArray
    direction: FloatArray
    given: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Terms:
    """c · Π s_given · x_i x_j, one a row: i and j counted among the coordinates at hand, `given` filled up with −1."""

    i: IntArray
    j: IntArray
    c: FloatArray
    given: IntArray

    def take(self, rows: IntArray) -> _Terms:
        return _Terms(self.i[rows], self.j[rows], self.c[rows], self.given[rows])


def proved(energy: Energy, free: BoolArray, among: IntArray) -> bool | Fall:
    """Whether the quadratic part over `among` is seen to be positive definite for every setting, or how it falls for one.

    No monomial of `energy` holds an observed coordinate; `free` marks its real ones.
    """
    quadratic = energy.quadratic.restrict(among)
    terms = _terms(energy, free, among)
    bits = np.zeros(energy.n + 1, dtype=bool)
    bits[energy.domains[2]] = bits[-1] = True
    if definite(_least(quadratic, terms, bits)):
        return True
    return 0 < terms.i.size <= MOST_TERMS and _by_parts(quadratic, terms, among, bits)


def definite(q: Quadratic) -> bool:
    """Whether a quadratic form is seen to be positive definite."""
    if dominant(q, np.ones(q.n, dtype=bool)):
        return True
    if q.n > DENSE:
        return False
    try:
        np.linalg.cholesky(q.toarray())
    except np.linalg.LinAlgError:
        return False
    return True


def _terms(energy: Energy, free: BoolArray, among: IntArray) -> _Terms:
    """The monomials with two factors among some real coordinates, the others spins and bits."""
    position = np.full(energy.n, -1)
    position[among] = np.arange(among.size)
    width = max((m.degree - 2 for m in energy.higher), default=0)
    found = [
        _Terms(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty((0, width), np.int64))
    ]
    for m in energy.higher:
        inside = position[m.index] >= 0
        rows = (inside.sum(axis=1) == 2) & (free[m.index].sum(axis=1) == 2)
        order = np.argsort(~inside[rows], axis=1, kind="stable")
        at = np.take_along_axis(m.index[rows], order, axis=1)
        given = np.pad(at[:, 2:], ((0, 0), (0, width - at.shape[1] + 2)), constant_values=-1)
        found.append(_Terms(position[at[:, 0]], position[at[:, 1]], m.coefficient[rows], given))
    i, j, c, given = (np.concatenate([getattr(t, key) for t in found]) for key in ("i", "j", "c", "given"))
    return _Terms(i, j, c, given)


def _least(q: Quadratic, terms: _Terms, bits: BoolArray) -> Quadratic:
    """Q less the most that the terms can take away: |c x_i x_j| ≤ ½ |c| (r x_i² + x_j² / r); bits take nothing from a square
    with c > 0."""
    if not terms.i.size:
        return q
    harmless = (terms.i == terms.j) & (terms.c > 0) & bits[terms.given].all(axis=1)
    c = np.where(harmless, 0.0, np.abs(terms.c))
    root = np.sqrt(np.maximum(q.diagonal(), 1e-300))
    r = root[terms.i] / root[terms.j]
    taken = np.bincount(terms.i, c * r, q.n) + np.bincount(terms.j, c / r, q.n)
    return Quadratic(sparse.csr_array(q.sparse - sparse.diags_array(taken)), q.blocks)


def _by_parts(q: Quadratic, terms: _Terms, among: IntArray, bits: BoolArray) -> bool | Fall:
    """Every connected part for every setting of the spins and bits in its terms; False where that is too much work."""
    ends = (np.append(terms.i, terms.j), np.append(terms.j, terms.i))
    tied = sparse.coo_array((np.ones(ends[0].size), ends), shape=(q.n, q.n))
    label = components(sparse.csr_array(abs(q.pattern()) + tied))
    roots = np.unique(label[terms.i])
    alone = np.flatnonzero(~np.isin(label, roots))
    if alone.size and not definite(q.restrict(alone)):
        return False
    work = 0.0
    for root in roots:
        members = np.flatnonzero(label == root)
        mine = terms.take(np.flatnonzero(label[terms.i] == root))
        given = np.unique(mine.given[mine.given >= 0])
        work += 2.0**given.size * (members.size**3 / 3 + 20.0 * mine.i.size + 1e4)
        if work > MOST_WORK:
            return False
        verdict = _every_setting(q.restrict(members).toarray(), members, mine, given, bits[given])
        if isinstance(verdict, Fall):
            return replace(verdict, at=among[verdict.at])
        if not verdict:
            return False
    return True


def _every_setting(
    base: FloatArray, members: IntArray, terms: _Terms, given: IntArray, bits: BoolArray
) -> bool | Fall:
    """Whether a part is positive definite for all values of the coordinates `given`, of which `bits` are bits."""
    i, j = np.searchsorted(members, terms.i), np.searchsorted(members, terms.j)
    factor = np.where(terms.given < 0, given.size, np.searchsorted(given, terms.given))
    for values in product(*((0.0, 1.0) if bit else (-1.0, 1.0) for bit in bits)):
        added = terms.c * np.prod(np.append(values, 1.0)[factor], axis=1)
        matrix = base.copy()
        np.add.at(matrix, (i, j), added)
        np.add.at(matrix, (j, i), added)
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            size = np.sqrt(np.maximum(np.abs(np.diagonal(matrix)), 1e-6 * np.abs(matrix).max() + 1e-300))
            lowest, vectors = np.linalg.eigh(matrix / size[:, None] / size)
            if lowest[0] < FALLS:
                return Fall(members, vectors[:, 0] / size, tuple(given.tolist()), values)
            return False
    return True
