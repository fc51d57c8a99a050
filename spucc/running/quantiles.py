"""Draws too many for memory, a stretch at a time: going through them, and their exact quantiles."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray

# Numbers that are looked at together, rows that are looked at first, and values that may be left in doubt at the end.
_STRETCH, _SAMPLE, _LEFT = 1 << 21, 1 << 14, 1 << 22

# Rows of each chain that are picked before pages of a mapped file are given back.
_NEAR = 256

# Columns of a wide array that are worth a way through the file of their own.
_WIDE = 256

Report = Callable[[float], None]


def nobody(share: float) -> None:
    """Progress for nobody."""


def stretches(draws: FloatArray, report: Report = nobody) -> Iterator[FloatArray]:
    """Draws [chains, n, size] in order, [chains, k, size] at a time. Pages of a mapped file are given back once they have been
    used, so that they do not add up."""
    chains, n, size = draws.shape
    rows = max(1, _STRETCH // max(chains * size, 1))
    for low in range(0, n, rows):
        yield draws[:, low : low + rows]
        give_back(draws)
        report(min(low + rows, n) / n)


def give_back(array: NDArray[np.generic]) -> None:
    """Let the system take back the memory in which pages of a mapped file are shown."""
    held = getattr(array, "_mmap", None)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        held.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]


def quantiles(draws: FloatArray, levels: FloatArray, report: Report = nobody) -> FloatArray:
    """The quantiles [levels, size] of draws [chains, n, size], all chains together, as `numpy.quantile` has them; NaN without
    draws.

    Of draws that are more than a stretch, an even selection first says about where a quantile is. One way through all draws
    counts how many are below edges about that place, so that few are left between two of them; another way collects those.
    The counts prove the result: where they do not close in on a quantile, edges are drawn anew where it must be.
    """
    chains, n, size = draws.shape
    if not n or not levels.size or not size:
        return np.full((levels.size, size), np.nan)
    out = np.empty((levels.size, size))
    whole = _STRETCH // (chains * n)
    wide = size if whole >= size else whole if whole >= _WIDE else _WIDE
    for low in range(0, size, wide):
        part = draws[:, :, low : low + wide]

        def told(share: float, low: int = low, count: int = part.shape[2]) -> None:
            report((low + share * count) / size)

        if whole >= part.shape[2]:
            out[:, low : low + wide] = np.quantile(part.reshape(chains * n, -1), levels, axis=0)
            told(1.0)
            give_back(draws)
        else:
            out[:, low : low + wide] = _Search(part, levels).run(told)
    return out


class _Search:
    """The quantiles of some columns, by counting.

    With N draws, a level q asks for the order statistics number ⌊q(N−1)⌋ and the next one (from 0). For each of them, or
    rather each level and column, two values are known, `low` and `high`, that have them between them, and how many draws are
    at most `low` and below `high`.
    """

    def __init__(self, draws: FloatArray, levels: FloatArray) -> None:
        self.draws = draws
        self.width = draws.shape[2]
        self.total = draws.shape[0] * draws.shape[1]
        place = levels * (self.total - 1)
        self.lower = np.floor(place).astype(np.int64)
        self.upper = np.minimum(self.lower + 1, self.total - 1)
        self.share = place - self.lower
        shape = (levels.size, self.width)
        self.low, self.high = np.full(shape, -np.inf), np.full(shape, np.inf)
        self.at_low, self.below_high = np.zeros(shape, np.int64), np.full(shape, self.total)
        self.sample = np.sort(selection(draws, _SAMPLE).T, axis=1)
        self.levels = levels

    def run(self, report: Report) -> FloatArray:
        at, first = 0.0, True
        while np.maximum(self.below_high - self.at_low, 0).sum() > _LEFT:
            # How many ways through the draws it takes is not known; mostly it is this one and the last.
            span = 0.5 * (1.0 - at)
            self._narrow(self._edges(first), lambda share, at=at, span=span: report(at + span * share))  # type: ignore[misc]
            at, first = at + span, False
        return self._collect(lambda share: report(at + (1.0 - at) * share))

    def _edges(self, first: bool) -> FloatArray:
        """Values [columns, levels, edges] between which the quantiles may be."""
        count = int(np.clip(1024 // self.levels.size, 8, 128))
        m = self.sample.shape[1]
        out = np.empty((self.width, self.levels.size, count))
        if first:
            # Six standard errors about the rank that the selection gives.
            q = self.levels[:, None]
            spread = 6 * np.sqrt(np.maximum(q * (1 - q), 1 / m) / m) * np.linspace(-1, 1, count)
            rank = np.clip(np.rint((q + spread) * (m - 1)), 0, m - 1).astype(np.int64)
            return self.sample[:, rank]
        for j in range(self.width):
            for k in range(self.levels.size):
                low, high = self.low[k, j], self.high[k, j]
                a, b = np.searchsorted(self.sample[j], [low, high], side="right")
                if b - a > 2:
                    inside = self.sample[j, a:b]
                    out[j, k] = inside[np.linspace(0, inside.size - 1, count).astype(np.int64)]
                else:
                    # The selection says no more: cut what is between the two values, however large they are.
                    out[j, k] = _between(low, high, count)
        return out

    def _narrow(self, edges: FloatArray, report: Report) -> None:
        """Count draws below and up to each edge, and close in on the quantiles."""
        edges = np.sort(edges, axis=2)
        below = np.zeros(edges.shape, np.int64)
        upto = np.zeros(edges.shape, np.int64)
        for block in self._sorted(report):
            for j, column in enumerate(block):
                flat = edges[j].ravel()
                below[j] += np.searchsorted(column, flat, side="left").reshape(edges.shape[1:])
                upto[j] += np.searchsorted(column, flat, side="right").reshape(edges.shape[1:])
        for k in range(self.levels.size):
            for j in range(self.width):
                # The last edge that is not above the lower statistic, the first one that is not below the upper.
                a = int(np.searchsorted(below[j, k], self.lower[k], side="right")) - 1
                b = int(np.searchsorted(upto[j, k], self.upper[k], side="right"))
                if a >= 0 and edges[j, k, a] >= self.low[k, j]:
                    self.low[k, j], self.at_low[k, j] = edges[j, k, a], upto[j, k, a]
                if b < edges.shape[2] and edges[j, k, b] <= self.high[k, j]:
                    self.high[k, j], self.below_high[k, j] = edges[j, k, b], below[j, k, b]

    def _collect(self, report: Report) -> FloatArray:
        """Hold what is between the two values of each level and column, and read the statistics off."""
        left = np.maximum(self.below_high - self.at_low, 0)
        held = [[np.empty(int(left[k, j])) for j in range(self.width)] for k in range(self.levels.size)]
        at = np.zeros(left.shape, np.int64)
        if left.any():
            for block in self._sorted(report):
                for j, column in enumerate(block):
                    starts = np.searchsorted(column, self.low[:, j], side="right")
                    stops = np.searchsorted(column, self.high[:, j], side="left")
                    for k in range(self.levels.size):
                        a, b = starts[k], max(starts[k], stops[k])
                        held[k][j][at[k, j] : at[k, j] + b - a] = column[a:b]
                        at[k, j] += b - a
        out = np.empty(left.shape)
        for k in range(self.levels.size):
            for j in range(self.width):
                inside = np.sort(held[k][j])
                one, other = (self._statistic(int(r), k, j, inside) for r in (self.lower[k], self.upper[k]))
                # As numpy interpolates, so that the bits are the same.
                t = float(self.share[k])
                gap = other - one
                out[k, j] = one + gap * t if t < 0.5 else other - gap * (1 - t)
        report(1.0)
        return out

    def _statistic(self, number: int, k: int, j: int, inside: FloatArray) -> float:
        if number < self.at_low[k, j]:
            return float(self.low[k, j])
        beyond = number - int(self.at_low[k, j])
        return float(inside[beyond]) if beyond < inside.size else float(self.high[k, j])

    def _sorted(self, report: Report) -> Iterator[FloatArray]:
        """Stretch after stretch with its columns as sorted rows."""
        for block in stretches(self.draws, report):
            rows = np.ascontiguousarray(block.reshape(-1, self.width).T)
            rows.sort(axis=1)
            yield rows


def selection(draws: FloatArray, about: int) -> FloatArray:
    """About so many rows [rows, size] of draws [chains, n, size], or all, evenly from every chain."""
    chains, n, width = draws.shape
    step = max(1, chains * n // about)
    out = np.empty((chains, -(-n // step), width))
    # Each row of a mapped file brings its neighbourhood into memory.
    for low in range(0, out.shape[1], _NEAR):
        some = draws[:, low * step : (low + _NEAR) * step : step]
        out[:, low : low + _NEAR] = some
        give_back(draws)
    return out.reshape(-1, width)


def _between(low: float, high: float, count: int) -> FloatArray:
    """`count` values from `low` to `high`, of whatever size, with as many numbers that a computer has between any two."""
    a, b = (_rank(v) for v in (low, high))
    ranks = [a + (b - a) * k // (count - 1) for k in range(count)]
    bits = np.array([r if r >= 0 else -r - 2**63 for r in ranks], dtype=np.int64)
    return bits.view(np.float64)


def _rank(value: float) -> int:
    """The place of a number among all that a computer has: 0 for 0, negative for negative ones."""
    bits = int(np.float64(value).view(np.int64))
    return bits if bits >= 0 else -(bits + 2**63)
