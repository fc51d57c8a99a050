"""From draws to answers with errors: one accumulator a query, fed chunk by chunk.

Draws of a form are kept where the answer needs them (draws, quantiles) or where they are small enough for an effective
sample size; else only moments are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse, special

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import Query, QueryKind
from spucc.running.results import Answer

# Bytes of draws that one query may keep in memory.
MEMORY_LIMIT = 4 << 30

# Bytes up to which draws are kept although moments would do, for the effective sample size.
_COMFORT = 256 << 20

# Entries whose effective sample size is computed one by one; of more, an even selection stands for all.
_ESS_ENTRIES = 2000


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
    keeps: bool = False
    seen: int = 0
    pivot: FloatArray | None = None
    """The mean of the first chunk: moments are about it, so that a mean far from 0 takes no digits of the variance."""
    first: FloatArray | None = None
    second: FloatArray | None = None
    gathers: list[tuple[slice, slice, Any]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.query.form is not None
        return self.query.form.shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def prepare(self, streamed: bool = False) -> None:
        """Take the memory that the draws need, or with `streamed` leave `kept` to `keep`. Raises E0593 when it is more than
        `MEMORY_LIMIT`."""
        needed = self.size * self.chains * self.draws * 8
        must = self.query.kind in (QueryKind.SAMPLE, QueryKind.QUANTILE)
        on_disk = streamed and self.query.kind is QueryKind.SAMPLE
        if must and needed > MEMORY_LIMIT and not on_disk:
            way = "" if streamed else ", or write them to a file with -o draws.nc"
            fail(
                "E0593",
                f"`{self.query.name}` would hold {self.chains * self.draws} draws of {self.size} numbers, "
                f"{needed / 2**30:.3g} GiB",
                self.query.span,
                help=f"ask for fewer --samples, for a part of the variable, or for its mean, std or var{way}",
            )
        self.keeps = must or needed <= _COMFORT
        if self.keeps:
            if not streamed:
                self.kept = np.empty((self.chains, self.draws, self.size))
        elif self.query.kind in (QueryKind.COV, QueryKind.CORR, QueryKind.INVERSE):
            if self.size**2 * 8 > MEMORY_LIMIT:
                fail(
                    "E0593",
                    f"`{self.query.name}` has {self.size}² entries, {self.size**2 * 8 / 2**30:.3g} GiB",
                    self.query.span,
                    help="ask for var, or for the cov of a part of the variable",
                )
            self._zero((self.size, self.size))
        else:
            self._zero((self.size,))

    def _zero(self, shape: tuple[int, ...]) -> None:
        self.pivot, self.first, self.second = np.zeros(self.size), np.zeros(self.size), np.zeros(shape)

    def sums(self) -> FloatArray:
        """What is carried from draw to draw besides the kept draws, as one vector."""
        if self.pivot is None or self.first is None or self.second is None:
            return np.zeros(0)
        return np.concatenate([self.pivot, self.first, self.second.ravel()])

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Go on after `seen` draws with what `sums` gave then."""
        self.seen = seen
        if self.second is not None and sums is not None:
            self.pivot, self.first = sums[: 2 * self.size].reshape(2, -1).copy()
            self.second = sums[2 * self.size :].reshape(self.second.shape).copy()

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have, besides draws."""
        kind, name, shape = self.query.kind, self.query.name, self.shape
        if kind is QueryKind.SAMPLE:
            return ()
        if kind is QueryKind.QUANTILE:
            assert self.query.levels is not None
            shape = (*np.shape(self.query.levels), *shape)
        elif kind in (QueryKind.COV, QueryKind.CORR, QueryKind.INVERSE) and shape:
            shape = shape * 2 if len(shape) == 1 else (self.size, self.size)
        return (name, shape), (f"{name}.error", shape)

    def add(self, chunks: list[FloatArray]) -> None:
        """Take the next draws: `chunks[j]` [chains, k, coordinates of job j]."""
        count = chunks[0].shape[1] if chunks else 0
        total: FloatArray = np.zeros((self.chains * count, self.offset.size)) + self.offset
        for matrix, chunk in zip(self.matrices, chunks):
            if matrix.nnz:
                total += np.asarray((matrix @ chunk.reshape(-1, chunk.shape[-1]).T).T)
        value = total[:, : self.size]
        for left, right, gather in self.gathers:
            value = value + np.asarray((gather @ (total[:, left] * total[:, right]).T).T)
        if self.kept is not None:
            self.kept[:, self.seen : self.seen + count] = value.reshape(self.chains, count, self.size)
        elif count:
            assert self.first is not None and self.second is not None
            if self.pivot is None or not self.seen:
                self.pivot = value.mean(axis=0)
            value = value - self.pivot
            self.first += value.sum(axis=0)
            self.second += value.T @ value if self.second.ndim == 2 else np.einsum("ki,ki->i", value, value)
        self.seen += count

    def answer(self) -> Answer:
        """The answer from the draws seen so far, with the error that they have and the one that was scheduled."""
        found = self._answer()
        if found.error is None or found.ess is None:
            return found
        # Every error goes with 1/√ess; that of a covariance with those of both entries.
        share = np.sqrt(found.ess.reshape(-1) / max(self.per_draw * self.seen * self.chains, 1.0))
        if self.query.kind in (QueryKind.COV, QueryKind.CORR, QueryKind.INVERSE):
            share = np.sqrt(np.outer(share, share)).reshape(found.error.shape)
        else:
            share = share.reshape(self.shape)
        return replace(found, scheduled=np.asarray(found.error * share))

    def _answer(self) -> Answer:
        if self.kept is None:
            return self._from_moments()
        draws = self.kept[:, : self.seen]
        flat = draws.reshape(-1, self.size)
        ess = self._ess(draws)
        rhat = _rhat(draws) if self.chains > 1 and not self.independent and self.seen >= 4 else None
        kind, shape, n = self.query.kind, self.shape, flat.shape[0]
        common: dict[str, Any] = {
            "ess": ess.reshape(shape),
            "rhat": None if rhat is None else rhat.reshape(shape),
            "chains": self.chains,
        }
        if kind is QueryKind.SAMPLE:
            return Answer(self.query.name, kind, flat.reshape(n, *shape), **common)
        mean = flat.mean(axis=0) if n else np.full(self.size, np.nan)
        sd = flat.std(axis=0, ddof=1) if n > 1 else np.full(self.size, np.nan)
        if kind is QueryKind.QUANTILE:
            assert self.query.levels is not None
            levels = np.asarray(self.query.levels)
            q = np.quantile(flat, levels, axis=0) if n else np.full((*levels.shape, self.size), np.nan)
            z = special.ndtri(levels)[..., None]
            density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
            error = np.sqrt((levels * (1 - levels))[..., None] / ess) * sd / density
            out = (*levels.shape, *shape)
            return Answer(self.query.name, kind, q.reshape(out), error.reshape(out), **common)
        if kind in (QueryKind.COV, QueryKind.CORR, QueryKind.INVERSE):
            centred = flat - mean
            cov = centred.T @ centred / max(n - 1, 1)
            return self._covariance(cov, ess, common)
        return self._scalar(mean, sd, ess, common)

    def _from_moments(self) -> Answer:
        assert self.pivot is not None and self.first is not None and self.second is not None
        n = self.seen * self.chains
        beyond = self.first / max(n, 1)
        ess = np.full(self.size, float(n))
        note = "" if self.independent else "too large to keep the draws: errors take them as independent"
        common: dict[str, Any] = {"ess": ess.reshape(self.shape), "chains": self.chains, "note": note}
        if self.second.ndim == 2:
            cov = (self.second - n * np.outer(beyond, beyond)) / max(n - 1, 1)
            return self._covariance(cov, ess, common)
        sd = np.sqrt(np.maximum(self.second - n * beyond**2, 0) / max(n - 1, 1))
        return self._scalar(self.pivot + beyond, sd, ess, common)

    def _scalar(self, mean: FloatArray, sd: FloatArray, ess: FloatArray, common: dict[str, Any]) -> Answer:
        """mean, expectation, solve, std, var; the errors of the last two are those of Gaussian draws."""
        kind, shape = self.query.kind, self.shape
        if kind is QueryKind.STD:
            value, error = sd, sd / np.sqrt(2 * ess)
        elif kind is QueryKind.VAR:
            value, error = sd**2, sd**2 * np.sqrt(2 / ess)
        else:
            value, error = mean, sd / np.sqrt(ess)
        return Answer(self.query.name, kind, value.reshape(shape), error.reshape(shape), **common)

    def _covariance(self, cov: FloatArray, ess: FloatArray, common: dict[str, Any]) -> Answer:
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
        return Answer(self.query.name, self.query.kind, value.reshape(out), error.reshape(out), **common)

    def _ess(self, draws: FloatArray) -> FloatArray:
        """Effective sample size of the mean of each entry, at most the number of draws when they are independent."""
        total = float(draws.shape[0] * draws.shape[1])
        if self.independent or draws.shape[1] < 8:
            return np.full(self.size, max(total, 1.0))
        return effective_sample_size(draws)


def effective_sample_size(draws: FloatArray) -> FloatArray:
    """Of each entry of draws [chains, draws, size], by ArviZ (Vehtari et al. 2021); an even selection of entries stands
    for more than `_ESS_ENTRIES`, each entry taking the figure of its neighbour in the selection."""
    from arviz_stats.base import array_stats

    size = draws.shape[2]
    chosen = np.unique(np.linspace(0, size - 1, min(size, _ESS_ENTRIES)).astype(int))
    ess = np.array(
        [float(array_stats.ess(draws[:, :, k], chain_axis=0, draw_axis=1, method="mean")) for k in chosen]
    )
    ess = np.where(np.isfinite(ess) & (ess > 0), ess, 1.0)
    return np.asarray(ess[np.searchsorted(chosen, np.arange(size), side="right") - 1])


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


def _rhat(draws: FloatArray) -> FloatArray:
    """Split-R̂ of each entry (Gelman et al., BDA3, eq. 11.4), vectorised."""
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((half - 1) / half + between / within))
