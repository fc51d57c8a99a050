"""Gaussian fields by their precision: random walks, autoregressions, fields on graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.laws import (
    Law,
    add_quadratic,
    along_last,
    plain,
    require_real,
    single_weight,
    square_sum,
    symmetric_matrix,
    unrolled,
    vector,
)
from spucc.grammar.poly import Poly, joined
from spucc.grammar.values import (
    Const,
    Random,
    SparseConst,
)


def rw1(law: Law) -> None:
    """½ Σ ((x_{t+1} − x_t) / sigma)²"""
    weight = single_weight(law)
    r = vector(law)
    t = np.arange(max(r.shape[-1] - 1, 0))
    step = along_last(r, t + 1).plus(along_last(r, t).scaled(-1.0))
    law.add(square_sum(step, weight), step.is_linear)


def rw2(law: Law) -> None:
    """½ Σ ((x_{t+2} − 2 x_{t+1} + x_t) / sigma)²"""
    weight = single_weight(law)
    r = vector(law)
    t = np.arange(max(r.shape[-1] - 2, 0))
    bend = along_last(r, t + 2).plus(along_last(r, t + 1).scaled(-2.0)).plus(along_last(r, t))
    law.add(square_sum(bend, weight), bend.is_linear)


def ar1(law: Law) -> None:
    """Stationary: x_0 ~ normal(0, sigma / √(1 − phi²)), x_t ~ normal(phi x_{t−1}, sigma)"""
    phi = law.args.number("phi")
    if not -1.0 < phi < 1.0:
        fail(
            "E0423",
            f"`ar1` is stationary: `phi` must lie between −1 and 1, found {phi:g}",
            law.args.spans["phi"],
            help="`rw1(sigma)` is the limit phi = 1",
        )
    weight = single_weight(law)
    r = vector(law)
    if not r.shape[-1]:
        return
    t = np.arange(r.shape[-1] - 1)
    first = along_last(r, np.zeros(1, dtype=np.int64)).scaled(float(np.sqrt((1.0 - phi) * (1.0 + phi))))
    step = along_last(r, t + 1).plus(along_last(r, t).scaled(-phi))
    law.add(square_sum(joined([first, step]), weight), step.is_linear)


def _graph_vector(law: Law, g: Any) -> Random:
    r = vector(law)
    if r.shape[-1] != g.n:
        fail("E0221", f"the graph has {g.n} nodes, the left side {r.shape[-1]} entries", law.span)
    return r


def icar(law: Law) -> None:
    """½ Σ_edges w_ij ((x_i − x_j) / sigma)²: intrinsic, flat along the constant of each component"""
    g = law.args.graph()
    weight = single_weight(law)
    r = _graph_vector(law, g)
    step = along_last(r, g.i).plus(along_last(r, g.j).scaled(-1.0))
    repeats = step.size // g.i.size if g.i.size else 0
    uniform = bool((g.w == 1.0).all())
    law.add(
        square_sum(step, weight if uniform else weight * np.tile(g.w, repeats)),
        step.is_linear and bool((g.w >= 0).all()),
    )


def car(law: Law) -> None:
    """Precision (diag(W 1) − alpha W) / sigma²"""
    from scipy import sparse

    g = law.args.graph()
    alpha = law.args.number("alpha")
    if not -1.0 < alpha < 1.0:
        fail(
            "E0423",
            f"`car` is proper for `alpha` between −1 and 1, found {alpha:g}",
            law.args.spans["alpha"],
            help="`icar(G, sigma)` is the limit alpha = 1",
        )
    weight = single_weight(law)
    r = _graph_vector(law, g)
    half = sparse.coo_array((g.w, (g.i, g.j)), shape=(g.n, g.n))
    w = sparse.csr_array(half + half.T)
    total = np.asarray(w.sum(axis=1))
    alone = np.flatnonzero(total <= 0)
    if alone.size:
        fail(
            "E0423",
            f"`car` needs every node to have a neighbour; node {int(alone[0])} has none",
            law.args.spans["G"],
        )
    precision = (
        sparse.csr_array(sparse.dia_array((total[None, :], [0]), shape=(g.n, g.n)) - alpha * w) * weight
    )
    add_quadratic(law, r, SparseConst(sparse.csr_array(precision)), 1.0, bool((g.w >= 0).all()))


def gmrf(law: Law) -> None:
    """½ xᵀ Q x"""
    r = vector(law)
    matrix = symmetric_matrix(law, "Q", r.shape[-1])
    add_quadratic(law, r, matrix, 1.0, "spd" in matrix.facts)


def multi_normal_prec(law: Law) -> None:
    """½ (x − mu)ᵀ Omega (x − mu)"""
    require_real(law)
    n = vector(law).shape[-1]
    matrix = symmetric_matrix(law, "Omega", n)
    add_gaussian(law, matrix, "spd" in matrix.facts)


def add_gaussian(law: Law, matrix: Const | SparseConst, psd: bool) -> None:
    """½ (x − mu)ᵀ M (x − mu), keeping M as it is where x is plain and mu constant."""
    mean = law.args.numeric("mu")
    left = vector(law)
    at = plain(left.poly)
    if at is not None and isinstance(mean, Const) and len(left.shape) == 1:
        add_quadratic(law, left, matrix, 1.0, psd)
        if np.any(mean.array):
            if not np.isfinite(mean.array).all():
                fail("E0421", "an infinite mean makes the energy infinite", law.args.spans["mu"])
            law.residual()
            mu = np.broadcast_to(
                mean.array.astype(np.float64), (1, *left.shape) if mean.batch else left.shape
            ).ravel()
            array = matrix.array if isinstance(matrix, Const) else matrix.matrix
            force = np.asarray(array @ mu)
            law.add(left.poly.scaled(-force), True)
            law.add(Poly.constant(0.5 * float(mu @ force), 1), True)
        return
    add_quadratic(law, unrolled(law.residual()), matrix, 1.0, psd)
