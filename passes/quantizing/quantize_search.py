"""The search for codes: rounding, descent, closest vectors, by size and effort.

`search` is the entry; benchmarks and tests call it without a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Never

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.passes.quantizing import closest
from spucc.passes.quantizing.closest import Candidate
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.descent import descend, repair
from spucc.passes.quantizing.ensemble import ensemble
from spucc.passes.quantizing.fisher import Law, divergence, inverse, refit
from spucc.passes.quantizing.sphere import LARGEST, exact
from spucc.passes.quantizing.takahashi import logdet
from spucc.passes.quantizing.tiles import SparseLaw, settle

_DENSE = 1500
"""Cells beyond which matrices stay sparse."""
_THIN = 120
_THIN_DEGREE = 10
"""Cells beyond which that holds already where there are at most so many parameters a cell."""
_SWEEP = 60_000
_REFIT = 400_000
"""Cells up to which tiles are swept, and scales refitted."""
_LATTICE = 1200
"""Parameters up to which the whole lattice is reduced."""
_PLANES = 3000
"""Parameters up to which a full board is decoded as one tile, without reduction."""
_SMALL = 150
"""Parameters up to which plain numpy reduces in milliseconds, and descent along a basis pays."""


@dataclass(frozen=True, eq=False)
class Search:
    """What was found: indices k [m] and read-out scales r [n] of each member, `kl` in nats (all variables together).

    `bound` (exact method only): no legal codes have less at the scales r, which in turn are the best for the codes.
    """

    book: Codebook
    k: tuple[FloatArray, ...]
    r: tuple[FloatArray, ...]
    kl: float
    note: str = ""
    bound: float | None = None

    @property
    def gap(self) -> float | None:
        """How much more than the bound the divergence may be, as a share of it: 0 where the optimum is proved."""
        if self.bound is None or self.kl <= self.bound:
            return None if self.bound is None else 0.0
        return self.kl / self.bound - 1.0 if self.bound > 0.0 else np.inf


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
    thin = sparse.csr_array(matrix)
    few = book.size <= _THIN_DEGREE * book.n
    alone = members == 1 and method != "exact"
    if book.n > _DENSE and not alone:
        what = "an ensemble" if members > 1 else "the exact method"
        fail("E0572", f"{what} is not to be had for a board of {book.n} cells", help="leave the option out")
    if book.n > _DENSE or (read is None and book.n > _THIN and few and alone):
        return _large(book, thin, method, effort, stop)
    whole = thin.toarray()
    law = law_of(whole, read)
    rng = np.random.Generator(np.random.Philox(0)) if rng is None else rng
    e = book.edges
    starts = scalings(book, np.diagonal(whole), whole[e[:, 0], e[:, 1]])
    pool = [_candidate(book, law, *rounded(book, law, whole, d)) for d in starts]
    search_on = method not in ("round",) and effort > 0
    rough = min(c.kl for c in pool)
    if search_on and method != "descent" and book.size <= _LATTICE and (book.n <= _THIN or not few):
        pool += closest.candidates(
            book, law, whole, starts[-1], rng, stop=stop, **_budget(book, method, effort)
        )
    tiled = (few and book.size > _SMALL) or _LATTICE < book.size <= _PLANES
    if search_on and method in ("auto", "lll") and read is None and tiled:
        pool += _tiled(book, thin, starts[-1], effort, stop, whole=not few)
    if search_on:
        pool = _polished(book, law, pool, stop)
    best = min(pool, key=lambda c: c.kl)
    if not np.isfinite(best.kl):
        _refuse()
    if method == "exact":
        return _exact(book, law, whole, best, stop)
    if members > 1:
        return _ensemble(book, law, whole, starts[-1], best, members, rng, stop)
    return Search(book, (best.k,), (best.r,), best.kl, _said(rough, best.kl, book.n))


def _said(rough: float, kl: float, n: int) -> str:
    before = f"{rough / n:.2g}" if np.isfinite(rough) else "an indefinite matrix"
    return f"rounding adds KL {kl / n:.2g} per cell; the nearest codes at Jacobi scales {before}"


def _exact(book: Codebook, law: Law, matrix: FloatArray, best: Candidate, stop: Callable[[], bool]) -> Search:
    if (
        book.n > LARGEST
        or law.read is not None
        or book.levels.table is not None
        or book.levels.continuous.any()
    ):
        fail(
            "E0572",
            f"the exact method takes at most {LARGEST} cells with evenly spaced levels, and no chains",
            help="leave `method` out: the default is within a few per cent of the optimum",
        )
    found = exact(book, law, matrix, best.k, best.r, stop=stop)
    result = Search(book, (found.k,), (found.r,), found.kl, bound=found.bound)
    return replace(result, note=_proof(result, book.n))


def _proof(found: Search, n: int) -> str:
    assert found.gap is not None and found.bound is not None
    said = f"rounding adds KL {found.kl / n:.2g} per cell; "
    if not np.isfinite(found.gap):
        return said + "nothing was proved before the search was stopped"
    said += "proved: at these read-out scales no codes "
    if found.gap == 0.0:
        return said + "are better"
    return (
        said
        + f"lose less than {found.bound / n:.2g}, so these are within {100 * found.gap:.2g} % of the best"
    )


def _ensemble(
    book: Codebook,
    law: Law,
    matrix: FloatArray,
    d: FloatArray,
    best: Candidate,
    members: int,
    rng: np.random.Generator,
    stop: Callable[[], bool],
) -> Search:
    scales = [best.r, best.r * np.exp(-_margin(book)), d * np.exp(-_margin(book))]
    found = ensemble(book, law, matrix, scales, members, rng, stop=stop)
    if found is None or found.kl >= best.kl:
        return Search(book, (best.k,), (best.r,), best.kl, "one program: an ensemble would not be nearer")
    note = f"{members} programs; merged KL {found.kl / book.n:.2g} per cell, the best single one {best.kl / book.n:.2g}"
    return Search(book, tuple(found.k), (found.r,) * members, found.kl, note)


def _tiled(
    book: Codebook,
    matrix: sparse.csr_array,
    d: FloatArray,
    effort: int,
    stop: Callable[[], bool],
    *,
    whole: bool,
) -> list[Candidate]:
    """What sweeps of tiles find about the largest scales, with room left for codes to move."""
    law = None if book.levels.continuous.any() else SparseLaw.of(book, matrix)
    if law is None:
        return []
    inner = d * np.exp(-_margin(book))
    return [
        Candidate(kl, k, r) for kl, k, r in settle(book, law, inner, effort=effort, stop=stop, whole=whole)
    ][-1:]


def _margin(book: Codebook) -> float:
    """How far (in log d) settings stray along the orbit: by about the root of a step."""
    span = float(np.median(book.levels.last - book.levels.first))
    return float(0.4 / np.sqrt(max(span, 1.0)))


def _candidate(book: Codebook, law: Law, k: FloatArray, r: FloatArray) -> Candidate:
    return Candidate(divergence(law, book.dense(book.levels.value(k)), r), k, r)


def _budget(book: Codebook, method: str, effort: int) -> dict[str, Any]:
    """How many scalings to decode: the lattices of small boards are reduced in milliseconds."""
    small = book.size <= _SMALL
    full = _THIN_DEGREE * book.n < book.size <= 600
    more = 4 if effort > 1 else 1
    return {
        "bases": (24 if small else 8 if full else 3) * more,
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


def scalings(book: Codebook, diagonal: FloatArray, off: FloatArray) -> list[FloatArray]:
    """Scales d [n] to try, D A D the matrix to round: as placed, as large as the ranges allow, Jacobi."""
    top = book.levels.value(book.levels.last)
    ones = np.ones(book.n)
    found = [ones]
    values = book.solve(diagonal, off)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(np.abs(values) > 0, top / np.abs(values), np.inf).min()
    if np.isfinite(room) and room > 0:
        found.append(np.full(book.n, np.sqrt(room)))
    if not book.a[book.n :].any():
        largest = jacobi(book, diagonal, off, top)
        if (largest > 0).all() and np.isfinite(largest).all():
            found.append(largest)
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
    k = repair(book, book.levels.nearest(_scaled(book, np.diagonal(matrix), matrix[e[:, 0], e[:, 1]], d)))
    return k, refit(law, book.dense(book.levels.value(k)), d.copy())


def _large(
    book: Codebook, matrix: sparse.csr_array, method: str, effort: int, stop: Callable[[], bool]
) -> Search:
    """Boards beyond dense algebra: rounding, the refit on selected entries of the inverse, and sweeps of tiles. Beyond
    `_REFIT` cells rounding alone, and the divergence is not computed."""
    e = book.edges
    diagonal, off = matrix.diagonal(), np.asarray(matrix[e[:, 0], e[:, 1]]).ravel()
    starts = scalings(book, diagonal, off)
    law = SparseLaw.of(book, matrix) if book.n <= _REFIT else None
    if law is None:
        k = book.levels.nearest(_scaled(book, diagonal, off, starts[-1]))
        return Search(book, (k,), (starts[-1],), float("nan"), "rounded only: too large a board for more")
    found = []
    for d in starts:
        k = repair(
            book, book.levels.legal(law.indices(book, d)), lambda v: np.isfinite(logdet(book.sparse(v)))
        )
        found.append((*law.fitted(book, k, d), k))
    pool = [Candidate(kl, k, r) for kl, r, k in found]
    if method != "round" and effort > 0 and book.n <= _SWEEP and not book.levels.continuous.any():
        inner = starts[-1] * np.exp(-_margin(book))
        pool += [Candidate(kl, k, r) for kl, k, r in settle(book, law, inner, effort=effort, stop=stop)]
    best = min(pool, key=lambda c: c.kl)
    if not np.isfinite(best.kl):
        _refuse()
    return Search(book, (best.k,), (best.r,), best.kl, _said(min(f[0] for f in found), best.kl, book.n))


def _scaled(book: Codebook, diagonal: FloatArray, off: FloatArray, d: FloatArray) -> FloatArray:
    e = book.edges
    return book.solve(diagonal * d * d, off * d[e[:, 0]] * d[e[:, 1]])


def _refuse() -> Never:
    fail(
        "E0571",
        "no setting that was found on this device is a positive definite matrix",
        help="the codes are too coarse for this model: use a device with more bits, or `--optimize 2`",
    )
