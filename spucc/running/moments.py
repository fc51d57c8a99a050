"""Means, covariances and effective sample sizes of draws that go by and are not kept."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray

# Batches of draws whose means are held: of all chains together, but of one chain at least so many.
_BATCHES, _LEAST = 8192, 64

# Means that are held at most: of more entries, an even selection stands for all.
_HELD = 1 << 22

# Means whose autocorrelations are computed at once.
_AT_ONCE = 1 << 18


class Moments:
    """Sums over draws [chains, k, size] that come in order, in memory that does not grow with their number.

    Moments are about the mean of the first draws, so that a mean far from 0 takes no digits of the variance. With `dependent`
    draws, sums over batches of consecutive draws of a chain are held too, for what the draws are worth. When their places are
    full, neighbours are joined: batches are 1, 2, 4, … draws long. `whole` asks for the covariance rather than the variances.
    """

    def __init__(self, chains: int, draws: int, size: int, *, whole: bool, dependent: bool) -> None:
        self.chains, self.size, self.seen = chains, size, 0
        self._pivot = np.zeros(size)
        self._first = np.zeros(size)
        self._second = np.zeros((size, size) if whole else (size,))
        places = min(max(_BATCHES // chains, _LEAST), draws) if dependent else 0
        most = max(_HELD // max(chains * places, 1), 1)
        self._chosen: IntArray = np.unique(np.linspace(0, max(size - 1, 0), min(size, most)).astype(np.int64))
        self._batches = np.zeros((chains, places, self._chosen.size))
        self._length = 1

    def add(self, values: FloatArray) -> None:
        """Take the next draws [chains, k, size]."""
        count = values.shape[1]
        if not count or not self.size:
            self.seen += count
            return
        if not self.seen:
            self._pivot = values.mean(axis=(0, 1))
        away = values - self._pivot
        flat = away.reshape(-1, self.size)
        self._first += flat.sum(axis=0)
        self._second += flat.T @ flat if self._second.ndim == 2 else np.einsum("ki,ki->i", flat, flat)
        if self._batches.shape[1]:
            self._batch(away if self._chosen.size == self.size else away[:, :, self._chosen])
        self.seen += count

    def _batch(self, away: FloatArray) -> None:
        end = self.seen + away.shape[1]
        self._widen(end)
        length, low = self._length, self.seen // self._length
        if length == 1:
            self._batches[:, low:end] = away
            return
        starts = np.maximum(np.arange(low, -(-end // length)) * length - self.seen, 0)
        self._batches[:, low : low + starts.size] += np.add.reduceat(away, starts, axis=1)

    def _widen(self, draws: int) -> None:
        """Join batches until there are places for so many draws."""
        chains, places, kept = self._batches.shape
        while places * self._length < draws:
            even = self._batches if places % 2 == 0 else np.pad(self._batches, ((0, 0), (0, 1), (0, 0)))
            joined = even.reshape(chains, -1, 2, kept).sum(axis=2)
            self._batches[:] = 0.0
            self._batches[:, : joined.shape[1]] = joined
            self._length *= 2

    def sums(self) -> FloatArray:
        """All that is held, as one vector."""
        return np.concatenate([self._pivot, self._first, self._second.ravel(), self._batches.ravel()])

    def restore(self, sums: FloatArray, seen: int) -> None:
        """Go on with what `sums` gave after `seen` draws of each chain."""
        ends = np.cumsum([self.size, self.size, self._second.size])
        pivot, first, second, batches = np.split(sums, ends)
        self._pivot, self._first, self.seen = pivot.copy(), first.copy(), seen
        self._second = second.reshape(self._second.shape).copy()
        self._batches = batches.reshape(self._batches.shape).copy()
        self._length = 1
        while 0 < self._batches.shape[1] * self._length < seen:
            self._length *= 2

    @property
    def count(self) -> int:
        """Draws of all chains."""
        return self.seen * self.chains

    def mean(self) -> FloatArray:
        """[size]; NaN without draws."""
        return self._pivot + self._first / self.count if self.count else np.full(self.size, np.nan)

    def var(self) -> FloatArray:
        """[size]; NaN of fewer than two draws."""
        return self._about_mean(self._squares(), self._first**2)

    def cov(self) -> FloatArray:
        """[size, size]; NaN of fewer than two draws."""
        return self._about_mean(self._second, np.outer(self._first, self._first))

    def _squares(self) -> FloatArray:
        return np.diagonal(self._second) if self._second.ndim == 2 else self._second

    def _about_mean(self, second: FloatArray, first: FloatArray) -> FloatArray:
        n = self.count
        if n < 2:
            return np.full(second.shape, np.nan)
        found = (second - first / n) / (n - 1)
        # Rounding can leave less than nothing of a variance that is nothing.
        return np.maximum(found, 0.0) if found.ndim == 1 else found

    def ess(self) -> FloatArray:
        """What the draws [size] are worth for a mean, in independent draws (Vehtari et al. 2021, section 3.2): from chains
        split in halves, by Geyer's initial monotone sequence of their autocorrelations.

        With batches of m draws the sequence is that of the batches' means, whose mean is that of the draws: it is worth what
        Var(x)/Var(mean) says. Draws that are independent, or too few to tell, are worth their number.
        """
        total = float(max(self.count, 1))
        halves = self._halves()
        if halves is None or halves.shape[1] < 4:
            return np.full(self.size, total)
        within, between = self._variances(halves)
        n = self.seen // 2
        of_draws = within * (n - 1) / n + between
        out = np.empty(self._chosen.size)
        wide = max(1, _AT_ONCE // (halves.shape[0] * halves.shape[1]))
        for low in range(0, out.size, wide):
            part = slice(low, low + wide)
            of_means, worth = _worth(halves[:, :, part])
            with np.errstate(divide="ignore", invalid="ignore"):
                out[part] = np.where(of_means > 0, worth * of_draws[part] / of_means, total)
        return self._spread(np.clip(out, 1.0, total * np.log10(max(total, 10.0))))

    def rhat(self) -> FloatArray | None:
        """Split-R̂ [size] (Gelman et al., BDA3, eq. 11.4): 1 for chains that mixed, ∞ for ones that stood still at different
        places. None of one chain, of independent draws or fewer than four."""
        halves = self._halves()
        if halves is None or self.chains < 2 or halves.shape[1] < 2:
            return None
        within, between = self._variances(halves)
        n = self.seen // 2
        # What rounding makes of a chain that stands still is no variance.
        still = within <= 1e-12 * between
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.sqrt((n - 1) / n + between / within)
        return self._spread(np.where(still, np.where(between > 0, np.inf, 1.0), found))

    def _halves(self) -> FloatArray | None:
        """Means, about the pivot, of whole batches of the first and the second half of each chain, [2 chains, k, chosen]."""
        if not self._batches.shape[1]:
            return None
        half = self.seen // self._length // 2
        means = self._batches[:, : 2 * half] / self._length
        return np.concatenate([means[:, :half], means[:, half:]])

    def _variances(self, halves: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The variance within halves of chains and that of their means, [chosen]. What the halves leave over at the end of a
        chain counts as a part of its own."""
        long = halves.shape[1] * self._length
        means = halves.mean(axis=1)
        rest = self.seen - 2 * long
        left = self._batches.sum(axis=1) - long * (means[: self.chains] + means[self.chains :])
        squares = self._squares()[self._chosen] - long * (means**2).sum(axis=0)
        freedom = 2 * self.chains * (long - 1)
        if rest:
            squares = squares - (left**2).sum(axis=0) / rest
            freedom += self.chains * (rest - 1)
        return np.maximum(squares, 0.0) / max(freedom, 1), means.var(axis=0, ddof=1)

    def _spread(self, found: FloatArray) -> FloatArray:
        """From the chosen entries to all, each entry taking the figure of its neighbour among them."""
        return found[np.searchsorted(self._chosen, np.arange(self.size), side="right") - 1]


def effective_sample_size(draws: FloatArray) -> FloatArray:
    """`Moments.ess` of draws [chains, draws, size] that are at hand."""
    moments = Moments(*draws.shape, whole=False, dependent=True)
    moments.add(draws)
    return moments.ess()


def _worth(halves: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The variance [k] of series [chains, n, k], that between chains included, and what the series are worth."""
    chains, n, _ = halves.shape
    centred = halves - halves.mean(axis=1, keepdims=True)
    padded = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, padded, axis=1)) ** 2
    at_lag = np.fft.irfft(spectrum.mean(axis=0), padded, axis=0)[:n] / n
    within = at_lag[0] * n / (n - 1)
    variance = at_lag[0] + (halves.mean(axis=1).var(axis=0, ddof=1) if chains > 1 else 0.0)
    rho = 1.0 - (within - at_lag) / np.where(variance > 0, variance, 1.0)
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, -1)
    sums = pairs.sum(axis=1)
    good = np.logical_and.accumulate(sums > 0, axis=0)
    tau = 2.0 * np.where(good, np.minimum.accumulate(sums, axis=0), 0.0).sum(axis=0) - 1.0
    # The first even lag of the first pair that is left out still helps where it is positive.
    stop = good.sum(axis=0)
    k = np.arange(stop.size)
    tau += np.where(stop < n // 2, np.maximum(pairs[np.minimum(stop, n // 2 - 1), 0, k], 0.0), 0.0)
    total = chains * n
    return variance, total / np.maximum(tau, 1.0 / np.log10(total))
