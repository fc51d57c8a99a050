"""Capacitors whose law with losses is a wanted one (physics §5).

Where every pair has a coupler Λ(C) = W is had by Newton's method. On a sparse board losses also tie pairs that no coupler
joins, as C² does, and the nearest law in KL is looked for. That error falls with the square of the scale of C, which the
read-out leaves free, while rounding grows with it: the scale is chosen between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.fidelity.board_law import Parts
from spucc.passes.fitting.lossy import lossy_near
from spucc.passes.fitting.spring_box import effective, joint_step, law_divergence, matrix
from spucc.passes.fitting.spring_fit import bench_of
from spucc.passes.realising.moments import inverse
from spucc.stages import Placed

SMALLEST = 1 / 64
"""How far the scale of the capacitors is taken down at most."""

ITERATIONS = 150


@dataclass(frozen=True, eq=False)
class _Board:
    """Couplers and their signs, ranges of all capacitors and standard errors of rounding them [n + m], the parts, and the
    law wanted: W = `wanted` [n, n] in F."""

    edges: IntArray
    sign: FloatArray
    low: FloatArray
    high: FloatArray
    error: FloatArray
    parts: Parts
    wanted: FloatArray

    @property
    def n(self) -> int:
        return int(self.wanted.shape[0])

    def matrix(self, w: FloatArray) -> FloatArray:
        return matrix(self.n, self.edges, self.sign, w)


@dataclass(frozen=True, eq=False)
class _Found:
    """Capacitors w [n + m] for the law at `scale` times W, its divergence and what rounding is expected to add [nat]."""

    w: FloatArray
    scale: float
    divergence: float
    rounding: float


def compensated(placed: Placed, device: Device, wanted: FloatArray, parts: Parts) -> Placed:
    """Capacitors within their banks whose law is near N(0, θ `wanted`⁻¹) up to scales of the cells, and the θ that keeps the
    voltages as wide."""
    sign = np.where(placed.coupling < 0, -1.0, 1.0)
    bench = bench_of(device, placed.cell, placed.edges, sign)
    box = bench.box
    board = _Board(
        placed.edges,
        sign,
        np.concatenate([box.ground_low, box.coupling_low * (placed.coupling != 0)]),
        np.concatenate([box.ground_high, box.coupling_high]),
        np.concatenate([box.ground_error, box.coupling_error]),
        parts,
        wanted,
    )
    w = np.concatenate([placed.ground + bench.ground, np.abs(placed.coupling) + bench.coupling])
    w, scale = _filled(board, w)
    best = _nearest(board, w, scale)
    if best.divergence > 4 * best.rounding:
        least = max(
            SMALLEST,
            float((board.low / np.maximum(w, 1e-300)).max()),
            device.spec.circuit.theta_min / placed.scale,
        )
        share = max((best.rounding / best.divergence) ** 0.25, least)
        if share < 1.0:
            start = _newton(board, np.clip(share * w, board.low, board.high), share * scale)
            other = _nearest(board, start, share * scale)
            best = min(best, other, key=lambda found: found.divergence + found.rounding)
    ground, coupling = bench.programmed(best.w[: board.n], best.w[board.n :])
    circuit = device.spec.circuit
    theta = float(np.clip(placed.scale * best.scale, circuit.theta_min, circuit.theta_max))
    return replace(placed, ground=frozen(ground), coupling=frozen(sign * coupling), scale=theta)


def _filled(board: _Board, w: FloatArray) -> tuple[FloatArray, float]:
    """Newton's capacitors at the largest scale that the banks hold: losses make them smaller than those without."""
    scale = 1.0
    for _ in range(4):
        w = _newton(board, w, scale)
        room = float((board.high / np.maximum(w, 1e-300)).min())
        if not 1.0 + 1e-3 < room < np.inf:
            break
        scale *= room
    return w, scale


def _newton(board: _Board, w: FloatArray, scale: float, rounds: int = 30) -> FloatArray:
    """Capacitors w [n + m] in range with Λ(C) = scale · W on the diagonal and on the couplers, as long as steps help."""
    n, (i, j), wanted = board.n, board.edges.T, scale * board.wanted
    best, least = w, np.inf
    for _ in range(rounds):
        c = board.matrix(w)
        near = lossy_near(c, board.parts)
        gap = wanted - near.law(c)
        missing = np.diag(np.diagonal(gap))
        missing[i, j] = missing[j, i] = gap[i, j]
        size = float(np.abs(missing).max())
        if not size < least:
            break
        best, least = w, size
        if size <= 1e-13 * np.abs(wanted).max():
            break
        target = c + near.step(missing)
        across = np.clip(-board.sign * target[i, j], board.low[n:], board.high[n:])
        own = np.diagonal(target) - np.bincount(i, across, n) - np.bincount(j, across, n)
        w = np.concatenate([np.clip(own, board.low[:n], board.high[:n]), across])
    return best


def _nearest(board: _Board, w: FloatArray, scale: float) -> _Found:
    """The nearest law in KL about Newton's capacitors, or these where their law is the one wanted."""
    d, sigma = np.full(board.n, np.sqrt(scale)), inverse(board.wanted)
    for _ in range(3):
        c = board.matrix(w)
        near = lossy_near(c, board.parts)
        gap = near.law(c) - scale * board.wanted
        if np.abs(gap).max() <= 1e-9 * scale * np.abs(board.wanted).max():
            break
        d, w = joint_step(sigma, board.edges, board.sign, d, w, board.low, board.high, ITERATIONS, near)
        if board.parts.equal():
            break
    c = board.matrix(w)
    reach = effective(sigma / np.outer(d, d), board.edges, board.sign)
    # Searched codes lose about a quarter of what rounded ones do.
    rounding = float(np.sum((board.error * reach) ** 2)) / 16
    return _Found(w, scale, law_divergence(lossy_near(c, board.parts).law(c), sigma, d), rounding)
