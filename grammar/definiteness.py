"""Whether the quadratic form of one connected component is positive definite: a factorisation, dense or sparse.

A form that is not gives a `Fault`; one that is flat along directions that no query sees gives springs to hold it there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.energy import Energy, Quadratic
from spucc.grammar.dominance import dominant
from spucc.grammar.grounding import ground
from spucc.grammar.impropriety import Fault, coupled, improper

# Largest component that is factored as a dense matrix.
DENSE = 2000
# With unit diagonal: pivots above this are positive, eigenvalues below FLAT are zero.
SAFE_PIVOT = 1e-11
FLAT = 1e-13
# A pivot of a large component above this is positive; one below is looked at.
SMALL_PIVOT = 1e-6
# Flat directions of one large component that are looked at.
MOST_FLAT = 200


def component(
    energy: Energy, part: Quadratic, members: IntArray, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    if members.size > DENSE:
        return _large(energy, part, members, at)
    dense = part.restrict(members).toarray()
    diagonal = np.diagonal(dense)
    if not (diagonal > 0).all():
        k = int(np.argmin(diagonal))
        if diagonal[k] < 0:
            return [improper(energy, at[k : k + 1], np.ones(1), float(diagonal[k]))], []
        if dense[k].any():
            return [coupled(energy, at, k, dense[k], diagonal)], []
        scale = np.where(diagonal > 0, diagonal, 1.0) ** -0.5
    else:
        scale = 1.0 / np.sqrt(diagonal)
    scaled = dense * scale[:, None] * scale
    try:
        factor = np.linalg.cholesky(scaled)
        if (np.diagonal(factor) ** 2 > SAFE_PIVOT).all():
            return [], []
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    tolerance = FLAT * max(members.size, 10)
    if values[0] < -tolerance:
        direction = vectors[:, 0] * scale
        return [improper(energy, at, direction, float(values[0]) if values[0] < 0 else 0.0)], []
    null = vectors[:, np.abs(values) <= tolerance] * scale[:, None]
    if null.shape[1] == 0:
        return [], []
    return ground(energy, at, null, diagonal)


def _large(
    energy: Energy, part: Quadratic, members: IntArray, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    """A component too large for a dense factorisation: LDLᵀ of the sparse matrix."""
    from scipy.sparse.linalg import splu

    inside = part.restrict(members)
    if not inside.blocks and dominant(inside, np.ones(members.size, dtype=bool)):
        return [], []
    if inside.blocks and sum(b.matrix.size for b in inside.blocks) > 0.05 * members.size**2:
        return _large_dense(energy, inside, at)
    matrix = inside.tocsr()
    diagonal = matrix.diagonal()
    if not (diagonal > 0).all():
        k = int(np.argmin(diagonal))
        row = matrix[[k]].toarray()[0]
        if diagonal[k] == 0 and row.any():
            return [coupled(energy, at, k, row, diagonal)], []
        return [improper(energy, at[k : k + 1], np.ones(1), float(diagonal[k]))], []
    scale = sparse.dia_array((1.0 / np.sqrt(diagonal)[None, :], [0]), shape=matrix.shape)
    scaled = sparse.csc_array(scale @ matrix @ scale)
    lu = _factor(splu, scaled, 0.0)
    pivots = lu.U.diagonal()
    small = np.flatnonzero(pivots <= SMALL_PIVOT)
    if not small.size:
        return [], []
    # Lᵀ y = e_k gives yᵀ A y = pivot k. Rounding makes a vanishing pivot as large as |y|² times the machine's precision, so
    # that the curvature along y decides, not the pivot.
    y = _solved(lu, small[np.argsort(pivots[small])][:MOST_FLAT])
    curvature = np.einsum("ij,ij->j", y, scaled @ y) / (y * y).sum(axis=0)
    lowest = int(np.argmin(curvature))
    if curvature[lowest] < -FLAT:
        return [improper(energy, at, np.asarray(scale @ y[:, lowest]), float(curvature[lowest]))], []
    flat = y[:, curvature <= FLAT]
    if not flat.shape[1]:
        return [], []
    # One step of inverse iteration brings the directions to full precision.
    sharper = lu.solve(flat)
    if np.isfinite(sharper).all():
        flat = np.linalg.qr(sharper)[0]
    return ground(energy, at, np.asarray(scale @ flat), diagonal)


def _solved(lu: Any, at: IntArray) -> FloatArray:
    """The columns y of Lᵀ y = e_k, in the order of the matrix."""
    from scipy.sparse.linalg import spsolve_triangular

    n = lu.shape[0]
    unit = np.zeros((n, at.size))
    unit[at, np.arange(at.size)] = 1.0
    y = spsolve_triangular(sparse.csr_array(lu.L.T), unit, lower=False, unit_diagonal=True)
    return np.asarray(y[lu.perm_c])


def _factor(splu: Any, scaled: Any, shift: float) -> Any:
    """LDLᵀ by SuperLU in symmetric mode; a zero pivot is moved a little."""
    options = {"SymmetricMode": True}
    matrix = scaled if shift == 0.0 else sparse.csc_array(scaled + shift * sparse.eye_array(scaled.shape[0]))
    try:
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError:
        if shift > 1e-10:
            raise
        return _factor(splu, scaled, 1e-15 if shift == 0.0 else shift * 10)


def _large_dense(
    energy: Energy, inside: Quadratic, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    dense = inside.toarray()
    diagonal = np.diagonal(dense)
    if (diagonal > 0).all():
        scale = 1.0 / np.sqrt(diagonal)
        try:
            factor = np.linalg.cholesky(dense * scale[:, None] * scale)
            if (np.diagonal(factor) ** 2 > SAFE_PIVOT).all():
                return [], []
        except np.linalg.LinAlgError:
            pass
    values, vectors = np.linalg.eigh(dense)
    if values[0] > FLAT * at.size * values[-1]:
        return [], []
    return [improper(energy, at, vectors[:, 0], min(float(values[0]), 0.0))], []
