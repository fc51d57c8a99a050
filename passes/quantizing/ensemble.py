"""Several programs whose merged draws err in second order (error mitigation, arXiv 2401.16231; physics.md §5).

Independent stochastic rounding leaves an error of 1/K in divergence. Here each member also takes up what the members before
it left over, in the Fisher metric, so that their mean errs by 1/K of one member's error: 1/K² in divergence. The covariances
then average to the wanted one but for the curvature of the inverse, (1/K) Σ S E_q S E_q S; the wanted matrix is shifted
against that, and the read-out scales, common to all members, are refitted to the merged covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.passes.quantizing import lattice_reduction, relaxed
from spucc.passes.quantizing.codebook import Codebook, Levels
from spucc.passes.quantizing.fisher import Law, divergence, inverse, refit

_TRIES = 3
_CORRECTIONS = 4
_LATTICE = 400


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Indices [K, m], the scales r [n] that all members are read with, and the divergence of the merged covariance."""

    k: FloatArray
    r: FloatArray
    kl: float


def spread(
    triangle: FloatArray, basis: FloatArray, t: FloatArray, carry: FloatArray, members: int, levels: Levels
) -> FloatArray:
    """Legal indices [members, m] whose mean is near t [m]: each member is the lattice point nearest to t and what the
    members before it left over, so that the sum errs by no more than one member does. `carry` [m] is left over at first:
    drawn evenly from a cell of the lattice it makes every member unbiased."""
    rows = []
    for _ in range(members):
        wanted = t + carry
        point = lattice_reduction.nearest_points(triangle, basis, wanted[None])[0, 0]
        row = np.clip(np.where(levels.continuous, t, point), levels.first, levels.last)
        rows.append(row)
        carry = wanted - row
    return np.stack(rows)


def merged(book: Codebook, k: FloatArray) -> FloatArray:
    """The precision of the equally weighted draws of all members, before the read-out."""
    total = np.zeros((book.n, book.n))
    for precision in book.dense(book.levels.value(k)):
        total += inverse(precision)
    return inverse(total / k.shape[0])


def ensemble(
    book: Codebook,
    law: Law,
    matrix: FloatArray,
    scalings: list[FloatArray],
    members: int,
    rng: np.random.Generator,
    stop: Callable[[], bool] = lambda: False,
) -> Ensemble | None:
    """The best of some ensembles about the given scalings d [n]; None when no member was positive definite."""
    e, levels = book.edges, book.levels
    best: Ensemble | None = None
    for d in scalings:
        scaled = matrix * np.outer(d, d)
        triangle, basis = _metric(book, law, scaled, d)
        for attempt in range(_TRIES):
            carry = basis @ rng.uniform(-0.5, 0.5, book.size) if attempt else np.zeros(book.size)
            aim = scaled
            for _ in range(_CORRECTIONS):
                if stop() and best is not None:
                    return best
                t = levels.position(book.solve(np.diagonal(aim), aim[e[:, 0], e[:, 1]]))
                t = np.clip(t, levels.first, levels.last)
                k = spread(triangle, basis, t, np.where(levels.continuous, 0.0, carry), members, levels)
                try:
                    precision = merged(book, k)
                except linalg.LinAlgError:
                    break
                r = refit(law, precision, d)
                kl = divergence(law, precision, r)
                if best is None or kl < best.kl:
                    best = Ensemble(k, r, kl)
                aim = aim + scaled - precision
    return best


def _metric(book: Codebook, law: Law, scaled: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A reduced basis in the Fisher metric; plain rounding where the lattice is too large for one."""
    if book.size > _LATTICE or law.read is not None or book.levels.continuous.any():
        return np.eye(book.size), np.eye(book.size)
    f, _ = relaxed.tangents(book, law, scaled, d)
    return lattice_reduction.reduce(lattice_reduction.triangle_of(f * book.levels.step))
