"""Gaussians on capacitors: the ways of physics §2, cheapest first, each with what it costs the host.

Every way is a linear read-out x = T y + μ of cells y of precision K = TᵀPT, where K is a network of capacitors: off-diagonals ≤ 0
(or of any sign on boards with negative couplers) and rows that are dominant. They differ in what T costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.energy import Domain, Energy
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine
from spucc.stages import Couplings, Role

from spucc.passes import moments
from spucc.passes.comparison import Verdict, comparison, dominant_scaling, judge
from spucc.passes.realise import Realise


@dataclass(frozen=True, eq=False)
class Way:
    """A way to go: x = T y + μ with K the precision of y. `multiplications` counts what the host does for one draw beyond one
    scale factor a variable."""

    name: str
    k: sparse.csr_array
    t: sparse.csr_array
    coordinate: IntArray
    role: IntArray
    multiplications: int
    note: str


def capacitive(energy: Energy, device: Device, options: Realise, context: Context) -> Outcome:
    """The cheapest way that the device can hold. Raises E0512 when none that is allowed does it."""
    p = moments.precision(energy)
    mean = moments.mean(energy, p)
    verdict = judge(p)
    way = choose(p, verdict, device, options)
    value = Couplings(
        device.family, Domain.REAL, way.k, frozen(np.zeros(way.k.shape[0])), way.coordinate, way.role
    )
    return Outcome(value, Affine(way.t, mean), (way.note,))


def choose(p: sparse.csr_array, verdict: Verdict, device: Device, options: Realise) -> Way:
    """The first way that works, in the order of cost."""
    if verdict.balanced and verdict.h_matrix:
        return scaled(p, verdict.gauge)
    raise NotImplementedError


def scaled(p: sparse.csr_array, gauge: FloatArray) -> Way:
    """x_i = s_i d_i y_i: signs flipped by a gauge s, scaled to dominance by d > 0. Exact, and costs nothing."""
    n = int(p.shape[0])
    d = gauge * dominant_scaling(comparison(p))
    flipped = int((gauge < 0).sum())
    k = congruence(p, d)
    name = "gauge" if flipped else "scale"
    note = f"way: {name}; every coupling is on the board" + (f", {flipped} variables with their sign flipped" if flipped else "")
    return Way(name, k, Affine.diagonal(d).matrix, plain(n), roles(n), 0, note)


def congruence(p: sparse.csr_array, d: FloatArray) -> sparse.csr_array:
    """diag(d) P diag(d), symmetric to the last bit."""
    coo = sparse.coo_array(p)
    data = coo.data * (d[coo.row] * d[coo.col])
    k = sparse.csr_array(sparse.coo_array((data, (coo.row, coo.col)), shape=p.shape))
    k.sort_indices()
    return k


def plain(n: int) -> IntArray:
    return frozen(np.arange(n), np.int64)


def roles(n: int) -> IntArray:
    return frozen(np.full(n, Role.PLAIN), np.int64)
