"""Codes of a board with losses, searched by the law that it makes instead of by its capacitors (physics §5).

Without losses a board scaled by D has the law scaled by D, and the search lives on that: it looks for codes near D C D for
many D. With losses the law Λ(C) is scaled, and the capacitors that make it are others. So the matrix of a setting is Λ(A(v))
here, and the values for a wanted matrix are those with this law; all else is the search's own. What it finds is judged by
the exact law of the board.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.fidelity.board_law import cell_covariance, parts_of
from spucc.passes.fitting.lossy import Lossy, lossy_near
from spucc.passes.quantizing.closest import Candidate
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.descent import descend
from spucc.passes.quantizing.fisher import definite, divergence, refit
from spucc.passes.quantizing.quantize_search import Search, law_of
from spucc.passes.realising.moments import inverse
from spucc.stages import Placed

DENSE = 120
"""Cells up to which codes are searched by the board's law; beyond, by its capacitors."""

SETTLE = 300
"""Cells up to which codes that were found are improved by the exact law."""

_ROUNDS = 4

REFIT = 1500
"""Cells up to which the read-out scales are refitted to it."""


@dataclass(frozen=True, eq=False)
class LossyBook(Codebook):
    """A codebook whose matrices are the laws Λ(A(v)) [F]."""

    linear: ClassVar[bool] = False
    lossy: Lossy | None = None

    def dense(self, v: FloatArray) -> FloatArray:
        """Λ(A(v)) [..., n, n]."""
        assert self.lossy is not None
        return self.lossy.law(super().dense(v))

    def lean(self, u: FloatArray, matrix: FloatArray) -> FloatArray:
        """(1 + 2X) U, dΛ = dC + dC X + Xᵀ dC to first order in the losses."""
        assert self.lossy is not None
        return np.asarray(u + 2 * self.lossy.slope(self.at_law(matrix))[0] @ u)

    def at_law(self, matrix: FloatArray) -> FloatArray:
        """The capacitance matrix [n, n] whose law has the given diagonal and entries on the couplers."""
        i, j = self.i[self.n :], self.j[self.n :]
        return super().dense(self.solve(np.diagonal(matrix), matrix[i, j]))

    def solve(self, diagonal: FloatArray, off: FloatArray) -> FloatArray:
        """Values v [..., m] whose law has the given diagonal and entries on the couplers, by Newton's steps as long as they
        help; legal or not."""
        assert self.lossy is not None
        i, j, k = self.i[self.n :], self.j[self.n :], np.arange(self.n)
        aim, aim_off = diagonal, off
        best, least = super().solve(aim, aim_off), np.inf
        for _ in range(12):
            v = super().solve(aim, aim_off)
            try:
                law = self.dense(v)
            except linalg.LinAlgError:
                break
            gap, gap_off = diagonal - law[..., k, k], off - law[..., i, j]
            size = max(float(np.abs(gap).max()), float(np.abs(gap_off).max(initial=0.0)))
            if not size < least:
                break
            best, least = v, size
            if size <= 1e-9 * np.abs(diagonal).max():
                break
            missing = np.zeros_like(law)
            missing[..., k, k] = gap
            missing[..., i, j] = missing[..., j, i] = gap_off
            change = self.lossy.step(missing)
            aim, aim_off = aim + change[..., k, k], aim_off + change[..., i, j]
        return best


def lossless(placed: Placed, device: Device) -> bool:
    """Whether the law of the board is θC⁻¹."""
    return not device.family.springs or parts_of(device, placed.cell, placed.scale).equilibrium()


def by_law(
    book: Codebook, matrix: sparse.csr_array, placed: Placed, device: Device, method: str = "auto"
) -> tuple[Codebook, sparse.csr_array]:
    """The codebook and the wanted matrix to search by; the ones given where the board has no losses.

    On boards beyond `DENSE` cells the search knows only capacitors, so their scale is kept: no larger codes than nearly those
    of the wanted values. Raises E0572 for the exact method, whose proof is about capacitors too.
    """
    if lossless(placed, device):
        return book, matrix
    if method == "exact":
        fail(
            "E0572",
            f"the exact method proves nothing about `{device.name}`, whose series resistance bends its law",
            help="leave `method` out: the default is within a few per cent of the optimum",
        )
    if placed.n > DENSE:
        levels, e = book.levels, book.edges
        values = book.solve(matrix.diagonal(), np.asarray(matrix[e[:, 0], e[:, 1]]).ravel())
        top = np.where(levels.continuous, levels.last, np.ceil(levels.position(values)) + 1)
        return replace(book, levels=replace(levels, last=np.clip(top, levels.first, levels.last))), matrix
    c = matrix.toarray()
    near = lossy_near(c, parts_of(device, placed.cell, placed.scale))
    return LossyBook(**vars_of(book), lossy=near), sparse.csr_array(near.law(c))


def judged(
    found: Search, matrix: sparse.csr_array, placed: Placed, device: Device, read: sparse.csr_array | None
) -> Search:
    """What was found with its read-out scales refitted to the exact law of the board, up to `REFIT` cells, and a single
    program's codes improved by it, up to `SETTLE`."""
    if placed.n > REFIT or lossless(placed, device):
        return found

    def law(c: FloatArray) -> FloatArray:
        return placed.scale * inverse(cell_covariance(device, placed.cell, sparse.csr_array(c), placed.scale))

    wanted = law(matrix.toarray())
    plain = Codebook(**vars_of(found.book))
    target = law_of(wanted, read)
    scales, kls = [], []
    for k, r in zip(found.k, found.r):
        made = law(plain.dense(plain.levels.value(k)))
        scales.append(refit(target, made, r))
        kls.append(divergence(target, made, scales[-1]))
    if len(kls) > 1 or placed.n > SETTLE:
        return replace(found, r=tuple(scales), kl=found.kl if len(kls) > 1 else kls[0])
    best, trial, r = Candidate(kls[0], found.k[0], scales[0]), found.k[0], scales[0]
    for _ in range(_ROUNDS):
        # Capacitors that make the law at these scales, and codes nearer to them.
        c = plain.dense(plain.levels.value(trial))
        near = lossy_near(c, parts_of(device, placed.cell, placed.scale))
        aim = LossyBook(**vars_of(plain), lossy=near).at_law(wanted * np.outer(r, r))
        if not definite(aim):
            break
        through = np.eye(placed.n) if read is None else read.toarray()
        local = law_of(aim, None if read is None else sparse.csr_array(through * r))
        moved, turn = descend(plain, local, trial, np.ones(placed.n), rounds=4)
        made = law(plain.dense(plain.levels.value(moved)))
        if (moved == trial).all() or not definite(made):
            break
        trial, r = moved, refit(target, made, r * turn)
        kl = divergence(target, made, r)
        if kl < best.kl:
            best = Candidate(kl, trial, r)
    return replace(found, k=(best.k,), r=(best.r,), kl=best.kl)


def vars_of(book: Codebook) -> dict[str, Any]:
    """The fields of a plain codebook."""
    return {f.name: getattr(book, f.name) for f in fields(Codebook)}
