"""The closest-vector problem of quantization with the read-out scales free.

Near the exact point the divergence is ¼‖Fδ + Mη‖²: δ the offset of the parameters in steps, η that of log d, the scales
that the read-out undoes (mapping.md §0.2-3). Minimising over η leaves a metric that costs nothing along the orbit D A D,
so that the lattice points to look for are those near an n-dimensional surface and not near one point: with excursions of s
steps the loss falls by about s^(−2n/(m−n)). The surface is curved; μ‖η‖² keeps to where it is flat.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.passes.quantizing import lattice_reduction
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, inverse


def tangents(book: Codebook, law: Law, precision: FloatArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """F [rows, m] (per unit of value) and M [rows, n] (per unit of log d) at a precision read with scales r: columns are the
    whitened changes of the read-out's precision, symmetric matrices stacked as vectors of the same norm."""
    if law.read is None:
        u = linalg.cholesky(inverse(precision), lower=True)
        w = linalg.solve_triangular(u, np.eye(book.n), lower=True)
    else:
        reading = law.read * r
        half = inverse(precision) @ reading.T
        root = linalg.cholesky(reading @ half, lower=True)
        u = linalg.solve_triangular(root, half.T, lower=True).T
        w = linalg.solve_triangular(root, reading, lower=True)
    row, col = np.triu_indices(u.shape[1])
    weight = np.where(row == col, 0.5, np.sqrt(0.5))

    def outer(x: FloatArray, y: FloatArray) -> FloatArray:
        """The symmetric part x yᵀ + y xᵀ of each pair of rows, as columns."""
        return np.asarray((x[:, row] * y[:, col] + x[:, col] * y[:, row]) * weight).T

    i, j = book.i, book.j
    n, v = book.n, book.lean(u, precision)
    own = 0.5 * outer(u, v)
    f = np.empty((row.size, book.size))
    f[:, :n] = own * book.a[:n]
    e = slice(n, None)
    f[:, e] = 0.5 * (outer(u[i[e]], v[j[e]]) + outer(v[i[e]], u[j[e]])) * book.b[e]
    if book.a[e].any():
        f[:, e] += own[:, i[e]] * book.a[e] + own[:, j[e]] * book.c[e]
    return 2.0 * f, 2.0 * outer(w.T, u)


def factor(f: FloatArray, m: FloatArray, mu: float, nu: float = 0.0) -> FloatArray:
    """The triangular factor [m, m] of the metric on δ once η with penalty μ‖η‖² is minimised out; ν‖δ‖² is added."""
    n = m.shape[1]
    # The tall factorisation once: μ and ν only see its triangle.
    whole = lattice_reduction.triangle_of(np.hstack([m, f]))
    blocks = [whole, np.hstack([np.sqrt(mu) * whole[:, :n], np.zeros((whole.shape[0], f.shape[1]))])]
    if nu > 0:
        blocks.append(np.hstack([np.zeros((f.shape[1], n)), np.sqrt(nu) * np.eye(f.shape[1])]))
    triangle = lattice_reduction.triangle_of(np.vstack(blocks))
    return triangle[n : n + f.shape[1], n:]
