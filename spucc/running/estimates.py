"""From draws to answers with errors: one accumulator a query, fed chunk by chunk.

Draws of a form are kept, in memory or in the file of the run, where the answer is made of them (draws, quantiles); of all
others only moments are, and what the draws are worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse, special

from spucc.arrays import FloatArray, IntArray
from spucc.backend import Progress, silent
from spucc.diagnostics import fail
from spucc.energy import Query, QueryKind
from spucc.running.moments import Moments
from spucc.running.quantiles import quantiles, stretches
from spucc.running.results import Answer

# Bytes of draws, or of a covariance, that one query may hold in memory.
MEMORY_LIMIT = 4 << 30

# Numbers whose sorting tells how long quantiles will take.
_TRIED = 1 << 18

_SQUARE = (QueryKind.COV, QueryKind.CORR, QueryKind.INVERSE)


@dataclass
class Estimate:
    """The running answer to one query. `matrices[j]` takes job j's coordinates to the asked form (or, for products, to the
    form, then the left and right factors, one above the other)."""

    query: Query
    matrices: list[sparse.csr_array]
    offset: FloatArray
    chains: int
    draws: int
    independent: bool
    per_draw: float = 1.0
    """Effective draws that the schedule predicts one draw to be worth."""
    kept: FloatArray | None = None
    """The draws [chains, draws, size], where the answer is made of them."""
    reads: bool = False
    """Whether another query puts the same draws there."""
    seen: int = 0
    gathers: list[tuple[slice, slice, Any]] = field(default_factory=list)
    progress: Progress = silent

    def __post_init__(self) -> None:
        # A `solve` of products asks for Cov(x, z)/Var(z) of variables without means (`passes/border.py`).
        self._ratio = self.query.kind is QueryKind.SOLVE and bool(self.gathers)
        self._moments = None if self.keeps else self._new_moments()
        self._takes = [_take(m) for m in self.matrices]

    @property
    def keeps(self) -> bool:
        """Whether the answer is made of the draws themselves."""
        return self.query.kind in (QueryKind.SAMPLE, QueryKind.QUANTILE)

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.query.form is not None
        return self.query.form.shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def _new_moments(self) -> Moments:
        whole = self.query.kind in _SQUARE
        if whole and self.size**2 * 8 > MEMORY_LIMIT:
            fail(
                "E0593",
                f"`{self.query.name}` has {self.size}² entries, {self.size**2 * 8 / 2**30:.3g} GiB",
                self.query.span,
                help="ask for var, or for the cov of a part of the variable",
            )
        width = 2 * self.size + 1 if self._ratio else self.size
        return Moments(self.chains, self.draws, width, whole=whole, dependent=not self.independent)

    def prepare(self, streamed: bool = False) -> None:
        """Take the memory for the draws that are kept; with `streamed` a file has them. Raises E0593 when they are more than
        `MEMORY_LIMIT`."""
        if not self.keeps or streamed:
            return
        needed = self.size * self.chains * self.draws * 8
        if needed > MEMORY_LIMIT:
            fail(
                "E0593",
                f"`{self.query.name}` would hold {self.chains * self.draws} draws of {self.size} numbers, "
                f"{needed / 2**30:.3g} GiB",
                self.query.span,
                help="write them to a file with -o draws.nc, or ask for fewer --samples, for a part of the variable, or for its "
                "mean, std or var",
            )
        self.kept = np.empty((self.chains, self.draws, self.size))

    def sums(self) -> FloatArray:
        """What is carried from draw to draw besides the kept draws, as one vector."""
        return np.zeros(0) if self._moments is None else self._moments.sums()

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Go on after `seen` draws with what `sums` gave then."""
        self.seen = seen
        if self._moments is not None and sums is not None:
            self._moments.restore(sums, seen)

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have, besides draws."""
        kind, name, shape = self.query.kind, self.query.name, self.shape
        if kind is QueryKind.SAMPLE:
            return ()
        if kind is QueryKind.QUANTILE:
            assert self.query.levels is not None
            shape = (*np.shape(self.query.levels), *shape)
        elif kind in _SQUARE and shape:
            shape = shape * 2 if len(shape) == 1 else (self.size, self.size)
        return (name, shape), (f"{name}.error", shape)

    def add(self, chunks: list[FloatArray]) -> None:
        """Take the next draws: `chunks[j]` [chains, k, coordinates of job j]."""
        count = chunks[0].shape[1] if chunks else 0
        if self.reads:
            self.seen += count
            return
        total: FloatArray | None = None
        for take, chunk in zip(self._takes, chunks):
            if take is not None:
                total = take(chunk.reshape(-1, chunk.shape[-1]), total)
        if total is None:
            total = np.zeros((self.chains * count, self.offset.size))
        if self.offset.any():
            total = total + self.offset
        value = total[:, : self.size]
        for left, right, gather in self.gathers:
            product = total[:, left] * total[:, right]
            value = product if self._ratio else value + np.asarray((gather @ product.T).T)
        value = value.reshape(self.chains, count, -1)
        if self._moments is not None:
            self._moments.add(value)
        else:
            assert self.kept is not None
            self.kept[:, self.seen : self.seen + count] = value
        self.seen += count

    def afterwards(self) -> float:
        """Seconds that the answer will about take once all draws are there, by a try on those that are."""
        if self.query.kind is not QueryKind.QUANTILE or self.kept is None or not self.size:
            return 0.0
        few = min(self.seen, max(_TRIED // (self.chains * self.size), 1))
        begin = time.monotonic()
        np.sort(self.kept[:, :few], axis=1)
        # Two ways of sorting and one of summing.
        return 3.0 * (time.monotonic() - begin) * self.draws / max(few, 1)

    def answer(self) -> Answer:
        """The answer from the draws seen so far, with the error that they have and the one that was scheduled."""
        found = self._answer()
        if found.error is None or found.ess is None:
            return found
        # Every error goes with 1/√ess; that of a covariance with those of both entries.
        share = np.sqrt(found.ess.reshape(-1) / max(self.per_draw * self.seen * self.chains, 1.0))
        if self.query.kind in _SQUARE:
            share = np.sqrt(np.outer(share, share)).reshape(found.error.shape)
        else:
            share = share.reshape(self.shape)
        return replace(found, scheduled=np.asarray(found.error * share))

    def _answer(self) -> Answer:
        kind, shape = self.query.kind, self.shape
        moments = self._known()
        ess, rhat = moments.ess()[: self.size], moments.rhat()
        common: dict[str, Any] = {
            "ess": ess.reshape(shape),
            "rhat": None if rhat is None else rhat[: self.size].reshape(shape),
            "chains": self.chains,
        }
        if kind is QueryKind.SAMPLE:
            assert self.kept is not None
            draws = self.kept[:, : self.seen].reshape(self.chains * self.seen, *shape)
            return Answer(self.query.name, kind, draws, **common)
        if moments.count < 2:
            common["note"] = "spreads and errors take two draws or more"
        if kind is QueryKind.QUANTILE:
            value, error = self._quantiles(np.sqrt(moments.var()), ess)
        elif kind in _SQUARE:
            value, error = self._covariance(moments.cov(), ess)
        elif self._ratio:
            value, error = self._slope(moments.mean(), ess)
        else:
            value, error = self._scalar(moments.mean(), np.sqrt(moments.var()), ess)
        return Answer(self.query.name, kind, value, error if moments.count > 1 else None, **common)

    def _known(self) -> Moments:
        """The moments of the draws so far; of kept ones from a way through them, unless nothing is to be learnt from it."""
        if self._moments is not None:
            return self._moments
        assert self.kept is not None
        moments = self._new_moments()
        if self.independent and self.query.kind is QueryKind.SAMPLE:
            moments.seen = self.seen
            return moments
        for part in stretches(self.kept[:, : self.seen], lambda share: self._told(0.3 * share)):
            moments.add(part)
        return moments

    def _told(self, share: float) -> None:
        self.progress(f"computing {self.query.name}", share)

    def _quantiles(self, sd: FloatArray, ess: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sample quantiles; their errors take the density to be Gaussian."""
        assert self.query.levels is not None and self.kept is not None
        levels = np.asarray(self.query.levels)
        found = quantiles(
            self.kept[:, : self.seen], levels.ravel(), lambda share: self._told(0.3 + 0.7 * share)
        )
        z = special.ndtri(levels)[..., None]
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        error = np.sqrt((levels * (1 - levels))[..., None] / ess) * sd / density
        out = (*levels.shape, *self.shape)
        return found.reshape(out), error.reshape(out)

    def _scalar(self, mean: FloatArray, sd: FloatArray, ess: FloatArray) -> tuple[FloatArray, FloatArray]:
        """mean, expectation, solve, std, var; the errors of the last two are those of Gaussian draws."""
        kind, shape = self.query.kind, self.shape
        if kind is QueryKind.STD:
            value, error = sd, sd / np.sqrt(2 * ess)
        elif kind is QueryKind.VAR:
            value, error = sd**2, sd**2 * np.sqrt(2 / ess)
        else:
            value, error = mean, sd / np.sqrt(ess)
        return value.reshape(shape), error.reshape(shape)

    def _slope(self, mean: FloatArray, ess: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A multiple of r = Cov(x, z)/Var(z) from the means of x z, x² and, last, z²: a regression through the origin, which
        errs by √((x² − r² z²)/(N − 1))/√z²."""
        n, unit = self.size, self.gathers[0][2].diagonal()
        spread = mean[-1]
        slope = mean[:n] / spread
        left = np.maximum(mean[n:-1] - slope**2 * spread, 0.0)
        error = np.sqrt(left / (spread * np.maximum(ess - 1.0, 1.0)))
        return (unit * slope).reshape(self.shape), (unit * error).reshape(self.shape)

    def _covariance(self, cov: FloatArray, ess: FloatArray) -> tuple[FloatArray, FloatArray]:
        """cov, inverse and corr with the standard errors of Gaussian draws: Var(S_ij) = (S_ii S_jj + S_ij²)/N."""
        var = np.diagonal(cov)
        n = np.sqrt(np.outer(ess, ess))
        if self.query.kind is QueryKind.CORR:
            value = cov / np.sqrt(np.outer(var, var))
            error = (1 - value**2) / np.sqrt(n)
        else:
            value, error = cov, np.sqrt((np.outer(var, var) + cov**2) / n)
        out = self.shape * 2 if len(self.shape) == 1 else value.shape
        if self.shape == ():
            out = ()
        return value.reshape(out), error.reshape(out)


def _take(matrix: sparse.csr_array) -> Callable[[FloatArray, FloatArray | None], FloatArray] | None:
    """What adds `matrix` @ x of rows x to a sum [rows, k], which may not be there yet; nothing of a matrix of zeros.

    Mostly a matrix picks coordinates, each at most once a row of it, and these are copied."""
    if not matrix.nnz:
        return None
    size = matrix.shape[0]
    if np.diff(matrix.indptr).max() == 1 and (matrix.data == 1.0).all():
        rows, columns = (_slice(np.flatnonzero(np.diff(matrix.indptr))), _slice(matrix.indices))
        whole = rows == slice(0, size)

        def pick(x: FloatArray, total: FloatArray | None) -> FloatArray:
            if whole and total is None:
                return np.asarray(x[:, columns])
            total = np.zeros((x.shape[0], size)) if total is None else total
            total[:, rows] += x[:, columns]
            return total

        return pick

    def product(x: FloatArray, total: FloatArray | None) -> FloatArray:
        found = np.ascontiguousarray((matrix @ x.T).T)
        return found if total is None else total + found

    return product


def _slice(index: IntArray) -> slice | IntArray:
    """Indices in a row as a slice."""
    low = int(index[0])
    return slice(low, low + index.size) if (np.diff(index) == 1).all() else index


def frobenius_bound(cov: FloatArray, ess: FloatArray, confidence: float = 0.99) -> float:
    """What ‖S − Σ‖_F/‖Σ‖_F of a sample covariance S stays below with a probability of `confidence`, of draws with covariance
    Σ [n, n] whose squares are worth ess [n] draws.

    S − Σ is nearly normal with Cov(S_ij, S_kl) = (Σ_ik Σ_jl + Σ_il Σ_jk)/N, so its square has the mean tr²Σ + tr Σ² and the
    variance 4 (tr² Σ² + tr Σ⁴), here with Σ scaled by N^(−¼) on either side; a χ² of the same two moments gives the bound
    (Satterthwaite 1946). With half the probability S is further off than its root mean square.
    """
    scaled = cov / np.sqrt(np.sqrt(np.outer(ess, ess)))
    square = scaled @ scaled
    mean = np.trace(scaled) ** 2 + np.trace(square)
    variance = 4.0 * (np.trace(square) ** 2 + (square * square).sum())
    quantile = 2.0 * special.gammaincinv(mean**2 / variance, confidence)
    return float(np.sqrt(quantile * variance / (2.0 * mean)) / np.linalg.norm(cov))
