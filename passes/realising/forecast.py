"""What a board will make of a matrix before it has a place: the rounding and range errors that `fit` and `quantize` will face.

The forecast scales to dominance and rounds plainly, so it errs on the safe side: free diagonals and searches gain a factor of a
few later (mapping §0.4, §1). It decides between the ways of `realise`, nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.device import Device
from spucc.passes.fitting.spring_fit import step_error
from spucc.passes.fitting.spring_scaling import Box, Network, largest, plain
from spucc.passes.realising.comparison import comparison
from spucc.stages import edge_list

LIMIT = 128
"""Up to so many cells a forecast is made; larger models are taken to fit and left to `fit`."""


def board_box(device: Device, n: int, m: int) -> Box:
    """The ranges of n cells and m couplers anywhere on the board."""
    spec, strays = device.spec, device.spec.strays
    stray = strays.ground
    if device.calibration.stray_ground is not None:
        stray = float(device.calibration.stray_ground.max())
    top_g = spec.ground.max if spec.ground.levels is None else max(spec.ground.levels)
    top_c = spec.coupling.max if spec.coupling.levels is None else max(spec.coupling.levels)
    return Box(
        np.full(n, spec.ground.min + stray),
        np.full(n, top_g + stray),
        np.full(m, spec.coupling.min + strays.coupling),
        np.full(m, top_c + strays.coupling),
        np.full(n, step_error(spec.ground)),
        np.full(m, step_error(spec.coupling)),
    )


def sd_error(k: sparse.csr_array, t: FloatArray, device: Device, cells: IntArray | float = 1.0) -> float:
    """The root-mean-square relative error that plain rounding is predicted to make in the worst standard deviation of x = T y,
    y ~ N(0, K⁻¹); infinite when K is not dominant after scaling or its values do not fit the banks' ranges. A variable that
    is a chain of `cells` [n] cells has their ranges and strays together.

    A capacitor off by δ changes Var(x_i) by −δ (a_eᵀ Cov(v, x_i))²/θ, to first order.
    """
    edges, values = edge_list(k)
    n, m = int(k.shape[0]), edges.shape[0]
    box = board_box(device, n, m)
    cells = np.maximum(cells, 1.0)  # a variable without couplings has a cell all the same
    box = replace(box, ground_low=box.ground_low * cells, ground_high=box.ground_high * cells)
    size = np.abs(values)
    net = Network(comparison(k), edges, size, np.zeros(n), np.zeros(m))
    try:
        d = plain(net, box)
    except (ValueError, linalg.LinAlgError):
        return np.inf
    if d is None:
        return np.inf
    d = largest(net, d, box)
    dense = k.toarray()
    try:
        cov = linalg.cho_solve(linalg.cho_factor(dense, lower=True), t.T)
    except linalg.LinAlgError:
        return np.inf
    variance = np.einsum("ij,ji->i", t, cov)
    reading = cov / d[:, None] / np.sqrt(variance)
    across = reading[edges[:, 0]] + np.where(values > 0, 1.0, -1.0)[:, None] * reading[edges[:, 1]]
    squares = (box.ground_error[:, None] * reading**2) ** 2
    total = squares.sum(axis=0) + ((box.coupling_error[:, None] * across**2) ** 2).sum(axis=0)
    return 0.5 * float(np.sqrt(total.max()))
