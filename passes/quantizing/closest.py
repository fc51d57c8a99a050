"""Candidates by closest vectors: many scalings of the wanted matrix, each decoded in the relaxed metric.

Every scaling D of the wanted matrix A gives a point t of real indices with D A D exactly there; codes near t in the metric
of `relaxed` are found on an LLL-reduced basis and priced exactly after the refit of the read-out scales. How far along the
orbit to look (c, below) depends on how good the codes will be: the curvature costs about (ηᵀ(A∘S)η)²/4n, so the penalty
that keeps it below the divergence is μ = c·√(KL/n) with c of the order of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.passes.quantizing import lattice_reduction, relaxed, table_decoder
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, definite, divergence, refit, refit_plain

PENALTIES = (1.0, 8.0, 0.3, 3.0, 0.1, 80.0)
_STIFF_PENALTIES = (8.0, 80.0, 800.0, 3.0)
"""c in the order of trial, and where the best divergence will be so large that little room is flat."""
_STIFF = 0.01

_LOPSIDED = 2.5
"""Mean over geometric mean of a reduced basis's squared heights from where other scales are tried."""
_TRIALS, _SMALL, _REACHES, _CENTRES, _FEW = 24, 24, (0.1, 0.2, 0.4, 0.8), 4, 60
"""How many scales (half as many above `_SMALL` parameters), how far below (in log), how many of them to decode about, and up to
how many parameters."""

_BEAM, _THIN_BEAM, _KEPT, _MANY = 48, 12, 8, 300
"""Partial settings that are kept where levels are uneven, up to `_FEW` parameters and beyond; whole ones that are priced; and
up to how many parameters."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Indices, read-out scales and divergence (nats) of a setting, and the basis that it was found with."""

    kl: float
    k: FloatArray
    r: FloatArray
    basis: FloatArray | None = None


def sphere_bound(triangle: FloatArray) -> float:
    """B of mapping.md §1 in nats: the mean of ¼‖R(k − t)‖² over offsets t if cells of the lattice were balls."""
    m = int(triangle.shape[0])
    diagonal = np.abs(np.diagonal(triangle))
    logdet = 2.0 * float(np.sum(np.log(np.maximum(diagonal, 1e-300))))
    return 0.25 * m * math.exp(logdet / m + 2.0 / m * math.lgamma(m / 2 + 1)) / ((m + 2) * math.pi)


def indices(book: Codebook, matrix: FloatArray, d: FloatArray) -> FloatArray:
    """Real indices [N, m] of D A D for scales d [N, n]."""
    return book.levels.position(_values(book, matrix, d))


def _values(book: Codebook, matrix: FloatArray, d: FloatArray) -> FloatArray:
    e = book.edges
    off = matrix[e[:, 0], e[:, 1]] * d[:, e[:, 0]] * d[:, e[:, 1]]
    return book.solve(np.diagonal(matrix) * d * d, off)


def candidates(
    book: Codebook,
    law: Law,
    matrix: FloatArray,
    d0: FloatArray,
    rng: np.random.Generator,
    *,
    bases: int,
    batch: int,
    width: int = 1,
    spread: float = 0.04,
    reduce: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Candidate]:
    """The best setting of each of `bases` scalings near d0, with `batch` scalings around each decoded on one basis.

    `spread` is how far below d0 (in log) the scalings reach; `width` the partial vectors that the decoder keeps.
    """
    if book.levels.continuous.any():
        return
    spring = bool(book.a[book.n :].any())
    centres, basis = [d0], np.eye(book.size)
    sought = reduce and not spring and law.read is None and book.size <= _FEW
    if sought:
        centres, basis = _round_lattices(book, law, matrix, d0, rng)
    uneven = book.size <= _MANY and book.levels.uneven
    expected = 0.0
    penalties: tuple[float, ...] = PENALTIES
    spreads: dict[float, float] = {}
    for trial in range(bases):
        if stop():
            return
        c = penalties[trial % len(penalties)]
        reach = spreads.get(c, spread)
        about = centres[trial % len(centres)]
        centre = about * np.exp(-reach * (rng.uniform() if spring else rng.uniform(size=book.n)))
        f, m = relaxed.tangents(book, law, matrix * np.outer(centre, centre), centre)
        step = _steps(book)
        if trial == 0:
            expected = sphere_bound(relaxed.factor(f * step, m, 1e6, _ridge(law, f, step)))
            penalties = _STIFF_PENALTIES if expected > _STIFF else PENALTIES
            c = penalties[0]
        mu = c * math.sqrt(expected / book.n)
        triangle = relaxed.factor(f * step, m, mu, _ridge(law, f, step))
        around = _around(centre, book, rng, batch, spring)
        if uneven:
            found = _tabled(book, triangle / step, _values(book, matrix, around))
            yield from _best(
                book, law, found, np.repeat(around, found.shape[0] // batch, axis=0), np.eye(book.size)
            )
        if reduce:
            if trial == 0 and not sought:
                triangle, basis = _ordered(triangle)
            else:
                triangle = lattice_reduction.triangle_of(triangle @ basis)
            triangle, change = lattice_reduction.reduce(triangle)
            basis = basis @ change
        else:
            triangle, basis = _ordered(triangle)
        wanted = indices(book, matrix, around)
        points = lattice_reduction.nearest_points(triangle, basis, wanted, width).reshape(-1, book.size)
        scales = np.repeat(around, points.shape[0] // around.shape[0], axis=0)
        found = np.clip(points, book.levels.first, book.levels.last)
        inside = (found == points).all(axis=1)
        # Ill-conditioned metrics send codes far from where they started: leave them room, but no more than they need.
        spreads[c] = reach * 0.9 if inside.mean() > 0.5 else min(reach * 1.4, 0.7)
        if inside.any():
            found, scales = found[inside], scales[inside]
        yield from _best(book, law, found, scales, basis)


def _tabled(book: Codebook, triangle: FloatArray, wanted: FloatArray) -> FloatArray:
    """Settings [.., m] near the wanted values [N, m], some for each, one after the other in the order of the values."""
    order = table_decoder.even_order(triangle.T @ triangle)
    ordered = lattice_reduction.triangle_of(triangle[:, order])
    found = table_decoder.nearest_settings(
        ordered, order, wanted, book.levels, _BEAM if book.size <= _FEW else _THIN_BEAM
    )
    return found[:, :_KEPT].reshape(-1, book.size)


def _round_lattices(
    book: Codebook, law: Law, matrix: FloatArray, d0: FloatArray, rng: np.random.Generator
) -> tuple[list[FloatArray], FloatArray]:
    """Scales about which to decode, and a basis nearly reduced there: d0 where its lattice is round, else those below it
    whose lattices lose least.

    Scaled so that a stiff combination of the components has small whole-number weights (equal scales make x − y one) the
    lattice lies in few, far planes: its reduced basis has one tall vector, and nothing near the wanted point is legal, or
    even definite. Other scales of the same model have planes that are dense.
    """
    basis = np.eye(book.size)
    tried = []
    for trial in range((_TRIALS if book.size <= _SMALL else _TRIALS // 2) + 1):
        reach = _REACHES[trial % len(_REACHES)] if trial else 0.0
        d = d0 * np.exp(-reach * rng.uniform(size=book.n))
        f, _ = relaxed.tangents(book, law, matrix * np.outer(d, d), d)
        columns = (f * _steps(book)) @ basis
        order = np.argsort(np.einsum("ij,ij->j", columns, columns), kind="stable")
        triangle, change = lattice_reduction.reduce(lattice_reduction.triangle_of(columns[:, order]))
        basis = basis[:, order] @ change
        squares = np.maximum(np.diagonal(triangle) ** 2, 1e-300)
        tried.append((float(squares.sum()), trial, d))
        if trial == 0 and squares.mean() < _LOPSIDED * np.exp(np.log(squares).mean()):
            break
    tried.sort(key=lambda entry: entry[:2])
    return [d for loss, _, d in tried[:_CENTRES] if loss < 2.0 * tried[0][0]], basis


def _steps(book: Codebook) -> FloatArray:
    levels = book.levels
    return np.where(levels.step > 0, levels.step, 1e-12)


def _ridge(law: Law, f: FloatArray, step: FloatArray) -> float:
    """With more components than the read-out has entries some combinations cost nothing to first order; what they cost to
    second order is put in as a small penalty."""
    if law.read is None:
        return 0.0
    return 1e-4 * float(np.mean(np.einsum("ij,ij->j", f, f) * step**2))


def _ordered(triangle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The factor with its columns in the order of their size, the stiffest last, and the permutation."""
    order = np.argsort(np.einsum("ij,ij->j", triangle, triangle), kind="stable")
    basis = np.eye(triangle.shape[0])[:, order]
    return lattice_reduction.triangle_of(triangle[:, order]), basis


def _around(
    centre: FloatArray, book: Codebook, rng: np.random.Generator, batch: int, spring: bool
) -> FloatArray:
    """Scalings so near a centre that one metric serves them all: within some steps of the diagonal."""
    levels = book.levels
    steps = 2.0 / max(float(np.median(levels.last - levels.first)), 1.0)
    jitter = rng.uniform(-steps, steps, (batch, 1 if spring else book.n))
    jitter[0] = 0.0
    return centre * np.exp(jitter)


def _best(
    book: Codebook, law: Law, k: FloatArray, d: FloatArray, basis: FloatArray, keep: int = 6
) -> Iterator[Candidate]:
    """The best of settings k [N, m] near scales d [N, n], by exact divergence after the refit."""
    precision = book.dense(book.levels.value(k))
    if law.read is None:
        root = linalg.cholesky(law.cov, lower=True) / d[:, :, None]
        low = np.linalg.eigvalsh(np.swapaxes(root, 1, 2) @ precision @ root)
        good = low[:, 0] > 1e-9
        if not good.any():
            yield Candidate(math.inf, k[int(np.argmax(low[:, 0]))], d[int(np.argmax(low[:, 0]))], basis)
            return
        k, precision, d, low = k[good], precision[good], d[good], low[good]
        inverse_d = refit_plain(precision * law.cov, 1.0 / d, 8)
        weights = np.einsum("qi,qij,qj->q", inverse_d, precision * law.cov, inverse_d)
        _, logdet = np.linalg.slogdet(precision)
        rough = 0.5 * weights - 0.5 * logdet - np.sum(np.log(inverse_d), axis=1)
        at = int(np.argmin(rough))
        r = refit(law, precision[at], 1.0 / inverse_d[at])
        yield Candidate(divergence(law, precision[at], r), k[at], r, basis)
        return
    best: Candidate | None = None
    for row in range(min(keep, k.shape[0])):
        if definite(precision[row]):
            r = refit(law, precision[row], d[row])
            kl = divergence(law, precision[row], r)
            if best is None or kl < best.kl:
                best = Candidate(kl, k[row], r, basis)
    if best is not None:
        yield best


def along(
    book: Codebook, law: Law, start: Candidate, rounds: int = 60, stop: Callable[[], bool] = lambda: False
) -> Candidate:
    """Descent along the vectors of a reduced basis, from a start that need not be positive definite.

    The divergence is a sum of ½(λ − 1 − log λ) over the eigenvalues of the whitened precision; below λ = 0.05 the term is
    continued as a parabola, so that a step out of the indefinite is seen as one. Scales are refitted whenever no step
    helps. Cells read one by one only.
    """
    if law.read is not None or start.basis is None:
        return start
    levels, k, r = book.levels, start.k, start.r
    basis = start.basis
    root = linalg.cholesky(law.cov, lower=True)
    moves = np.concatenate([basis.T, -basis.T])
    for _ in range(rounds):
        if stop():
            break
        half = root / r[:, None]
        trial = np.concatenate([k[None], k + moves])
        legal = ((trial >= levels.first) & (trial <= levels.last)).all(axis=1)
        trial = trial[legal]
        precision = book.dense(levels.value(trial))
        loss = np.sum(_extended(np.linalg.eigvalsh(half.T @ precision @ half)), axis=1)
        at = int(np.argmin(loss))
        if at and loss[at] < loss[0] * (1 - 1e-9) - 1e-15:
            k = trial[at]
            continue
        current = book.dense(levels.value(k))
        if not definite(current):
            break
        fitted = refit(law, current, r)
        if np.abs(np.log(fitted / r)).max() < 1e-9:
            break
        r = fitted
    final = book.dense(levels.value(k))
    if not definite(final):
        return start
    r = refit(law, final, r)
    kl = divergence(law, final, r)
    return Candidate(kl, k, r, basis) if kl < start.kl else start


def _extended(share: FloatArray) -> FloatArray:
    """½(λ − 1 − log λ), as a parabola below 0.05."""
    edge = 0.05
    inside = np.maximum(share, edge)
    below = np.minimum(share - edge, 0.0)
    curve = inside - 1.0 - np.log(inside) + (1.0 - 1.0 / edge) * below + 0.5 * below**2 / edge**2
    return np.asarray(0.5 * curve)
