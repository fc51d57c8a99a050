"""The search for codes: rounding, descent, closest vectors, by size and effort.

`search` is the entry; benchmarks and tests call it without a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.passes import closest
from spucc.passes.closest import Candidate
from spucc.passes.codebook import Codebook
from spucc.passes.descent import descend, repair
from spucc.passes.fisher import Law, divergence, inverse, refit

_DENSE = 1500
"""Cells beyond which matrices stay sparse."""
_LATTICE = 1200
"""Parameters up to which the whole lattice is reduced."""
_SMALL = 150
"""Parameters up to which plain numpy reduces in milliseconds, and descent along a basis pays."""


@dataclass(frozen=True, eq=False)
class Search:
    """What was found: indices k [m] and read-out scales r [n] of each member, `kl` in nats (all variables together)."""

    book: Codebook
    k: tuple[FloatArray, ...]
    r: tuple[FloatArray, ...]
    kl: float
    note: str = ""
    proved: float | None = field(default=None)


def search(
    book: Codebook,
    matrix: sparse.csr_array | FloatArray,
    *,
    read: sparse.csr_array | None = None,
    method: str = "auto",
    effort: int = 1,
    members: int = 1,
    rng: np.random.Generator | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Search:
    """Codes for a wanted matrix [n, n] (in the board's unit) of the book's pattern.

    Never worse than Jacobi scaling with rounding and the refit of the scales: that is the first candidate.
    """
    if book.n > _DENSE:
        return _large(book, sparse.csr_array(matrix))
    whole = np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)
    law = law_of(whole, read)
    rng = np.random.Generator(np.random.Philox(0)) if rng is None else rng
    starts = scalings(book, whole)
    pool = [_candidate(book, law, *rounded(book, law, whole, d)) for d in starts]
    search_on = method not in ("round",) and effort > 0
    if search_on and method in ("auto", "babai", "lll") and book.size <= _LATTICE:
        pool += closest.candidates(book, law, whole, starts[-1], rng, stop=stop, **_budget(book, method, effort))
    if search_on:
        pool = _polished(book, law, pool, stop)
    best = min(pool, key=lambda c: c.kl)
    if not np.isfinite(best.kl):
        fail(
            "E0571",
            "no setting that was found on this device is a positive definite matrix",
            help="the codes are too coarse for this model: use a device with more bits, or `--optimize 2`",
        )
    return Search(book, (best.k,), (best.r,), best.kl)


def _candidate(book: Codebook, law: Law, k: FloatArray, r: FloatArray) -> Candidate:
    return Candidate(divergence(law, book.dense(book.levels.value(k)), r), k, r)


def _budget(book: Codebook, method: str, effort: int) -> dict[str, int | bool]:
    """How many scalings to decode: the lattices of small boards are reduced in milliseconds."""
    small = book.size <= _SMALL
    more = 4 if effort > 1 else 1
    return {
        "bases": (24 if small else 3) * more,
        "batch": 8,
        "width": (4 if small else 1) * more,
        "reduce": method != "babai",
    }


def _polished(book: Codebook, law: Law, pool: list[Candidate], stop: Callable[[], bool]) -> list[Candidate]:
    """The rounded starts and the most promising candidates, each descended from to where no step helps."""
    found = list(pool)
    chosen = sorted(pool, key=lambda c: c.kl)[: 6 if book.n <= 128 else 2]
    if pool[0] not in chosen and np.isfinite(pool[0].kl) and book.n <= 128:
        chosen.append(pool[0])
    for candidate in chosen:
        if book.size <= _SMALL:
            candidate = closest.along(book, law, candidate, stop=stop)
            found.append(candidate)
        if np.isfinite(candidate.kl):
            found.append(_candidate(book, law, *descend(book, law, candidate.k, candidate.r, stop=stop)))
    return found


def law_of(matrix: FloatArray, read: sparse.csr_array | None) -> Law:
    """The law that the wanted matrix has, through the read-out."""
    covariance = inverse(matrix)
    if read is None:
        return Law(covariance)
    dense = read.toarray()
    return Law(dense @ covariance @ dense.T, dense)


def scalings(book: Codebook, matrix: FloatArray) -> list[FloatArray]:
    """Scales d [n] to try, D A D the matrix to round: as placed, as large as the ranges allow, Jacobi."""
    e = book.edges
    diagonal, off = np.diagonal(matrix), matrix[e[:, 0], e[:, 1]]
    top = book.levels.value(book.levels.last)
    ones = np.ones(book.n)
    found = [ones]
    values = book.solve(diagonal, off)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(np.abs(values) > 0, top / np.abs(values), np.inf).min()
    if np.isfinite(room) and room > 0:
        found.append(np.full(book.n, np.sqrt(room)))
    if not book.a[book.n :].any():
        found.append(jacobi(book, diagonal, off, top))
    return found


def jacobi(book: Codebook, diagonal: FloatArray, off: FloatArray, top: FloatArray) -> FloatArray:
    """The largest scales d [n] that keep a free device's diagonal and couplings in range."""
    base = 0.0 if book.base is None else book.base.diagonal()
    with np.errstate(over="ignore"):
        limit = top[: book.n] + base
        d = np.where(np.isfinite(limit), np.sqrt(limit / diagonal), 1.0)
    e, high = book.edges, top[book.n :]
    if e.size:
        ratio = np.abs(off) * d[e[:, 0]] * d[e[:, 1]] / np.where(high > 0, high, np.inf)
        worst = np.ones(book.n)
        np.maximum.at(worst, e[:, 0], ratio)
        np.maximum.at(worst, e[:, 1], ratio)
        d = d / np.sqrt(worst)
    return np.asarray(d)


def rounded(book: Codebook, law: Law, matrix: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nearest codes of D A D, made positive definite, and the read-out scales refitted."""
    e = book.edges
    scaled = matrix * np.outer(d, d)
    k = repair(book, book.levels.nearest(book.solve(np.diagonal(scaled), scaled[e[:, 0], e[:, 1]])))
    return k, refit(law, book.dense(book.levels.value(k)), d.copy())


def _large(book: Codebook, matrix: sparse.csr_array) -> Search:
    """Boards beyond dense algebra: the largest common scale, rounded."""
    e = book.edges
    diagonal, off = matrix.diagonal(), np.asarray(matrix[e[:, 0], e[:, 1]]).ravel()
    k = book.levels.nearest(book.solve(diagonal, off))
    return Search(book, (k,), (np.ones(book.n),), float("nan"))
