"""The one suite that every backend is held to, shipped so that a third party can run it on theirs.

Draws of a job are compared with the law that its codes imply (`spucc.targets.law`): whitened by it they have
to be independent standard normal. Each test has its own false-alarm rate, the total divided by the number of
tests (Bonferroni), so `Report.passed` is wrong about a good backend at most that often. Dependence of draws
along a chain is allowed for by the effective sample size; the backend's own stated error by a wider
acceptance region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spucc.arrays import FloatArray
from spucc.backend import Backend, Mode, Request, members_of
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.stages import Configuration, Job


@dataclass(frozen=True)
class Check:
    """One test: its statistic, the bounds that it has to keep to, and whether it did."""

    name: str
    statistic: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        return bool(self.low <= self.statistic <= self.high)


@dataclass(frozen=True)
class Report:
    """All tests of one job, the false-alarm rate of them together, and how many draws they are worth."""

    checks: tuple[Check, ...]
    false_alarm: float
    draws: int
    effective: float

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        rows = [
            f"{self.draws} draws, worth {self.effective:.0f}; false alarms in {self.false_alarm:.2g} of runs"
        ]
        for c in self.checks:
            mark = "ok  " if c.passed else "FAIL"
            rows.append(f"{mark} {c.name:<34} {c.statistic:.6g}, allowed {c.low:.6g} … {c.high:.6g}")
        return "\n".join(rows)


def check_backend(
    backend: Backend,
    job: Job,
    device: Device,
    *,
    draws: int = 20_000,
    chains: int = 4,
    seed: int = 0,
    mode: Mode = Mode.INDEPENDENT,
    interval: float | None = None,
    error: float = 0.0,
    false_alarm: float = 1e-6,
) -> Report:
    """Run a job on a backend and test its draws against the law of its codes.

    `error` is the relative error of a standard deviation, or of a mean in standard deviations, that the
    backend says it makes. Each member of an ensemble is held to its own law. Raises whatever the backend
    raises.
    """
    from spucc.targets.law import member_laws

    if not isinstance(job.value, Configuration):
        fail("E0726", f"job `{job.name}` is not compiled to the end, so it cannot run")
    weight, laws = member_laws(job.value, device)
    request = Request(draws=draws, chains=chains, seed=seed, mode=mode, interval=interval)
    parts = [chunk.values for chunk in backend.run(job, device, request)]
    values = np.concatenate(parts, axis=1)
    independent = mode is Mode.INDEPENDENT and not _loops(job.value)
    if len(laws) == 1:
        return check_draws(values, laws[0].mean, laws[0].cov(), error, false_alarm, independent)
    who = members_of(weight, 0, draws)
    reports = [
        check_draws(values[:, who == m], one.mean, one.cov(), error, false_alarm / len(laws), independent)
        for m, one in enumerate(laws)
    ]
    checks = [replace(c, name=f"{c.name} of member {m}") for m, r in enumerate(reports) for c in r.checks]
    return Report(tuple(checks), false_alarm, chains * draws, min(r.effective for r in reports))


def check_draws(
    values: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    error: float = 0.0,
    false_alarm: float = 1e-6,
    independent: bool = True,
) -> Report:
    """Test draws [chains, draws, n] against N(mean, covariance).

    Whitened draws w = L⁻¹(x − mean), worth m draws each, have to have: means within their normal quantile;
    mean squares and the total χ² within those of χ²; products of every two within the normal quantile (all
    pairs up to 64 coordinates); a Kolmogorov–Smirnov distance of each coordinate below the asymptotic
    quantile; and, where the draws are said to be independent, no correlation of neighbours in a chain.
    """
    from scipy import linalg, stats

    chains, length, n = values.shape
    total = chains * length
    if not total or not n:
        return Report((), false_alarm, total, float(total))
    lower = linalg.cholesky(covariance, lower=True)
    flat = values.reshape(total, n).astype(np.float64) - mean
    white = linalg.solve_triangular(lower, flat.T, lower=True).T.reshape(values.shape)
    if independent:
        m = m2 = np.full(n, float(total))
    else:
        m, m2 = effective(white), effective(white * white)
    w = white.reshape(total, n)
    pairs = n * (n - 1) // 2 if n <= 64 else 0
    alpha = false_alarm / (6 * n + pairs + 1)
    z = float(stats.norm.isf(alpha / 2.0))
    checks: list[Check] = []

    def worst(name: str, statistic: FloatArray, low: FloatArray, high: FloatArray) -> None:
        """The entry that strays farthest from its bounds stands for all."""
        if statistic.size:
            out = np.maximum(low - statistic, statistic - high) / np.maximum(high - low, 1e-300)
            k = int(np.nanargmax(np.where(np.isnan(statistic), np.inf, out)))
            checks.append(Check(f"{name} [{k}]", float(statistic[k]), float(low[k]), float(high[k])))

    half = z / np.sqrt(m) + error
    worst("whitened mean", w.mean(axis=0), -half, half)
    wide = (1.0 + error) ** 2
    low = stats.chi2.ppf(alpha / 2.0, m2) / m2 / wide
    high = stats.chi2.isf(alpha / 2.0, m2) / m2 * wide
    worst("whitened variance", (w * w).mean(axis=0), low, high)
    freedom = float(n * m2.min())
    checks.append(
        Check(
            "total χ² a coordinate",
            float((w * w).mean()),
            float(stats.chi2.ppf(alpha / 2.0, freedom) / freedom / wide),
            float(stats.chi2.isf(alpha / 2.0, freedom) / freedom * wide),
        )
    )
    if pairs:
        i, j = np.triu_indices(n, 1)
        # A product of two unit normals has heavier tails than one, so its quantile is taken at five sixths
        # of √m.
        bound = 1.2 * z / np.sqrt(np.minimum(m2[i], m2[j])) + 2.0 * error
        worst("whitened covariance of a pair", ((w.T @ w) / total)[i, j], -bound, bound)
    root = np.sort(w, axis=0)
    cdf = stats.norm.cdf(root)
    grid = np.arange(total)[:, None]
    distance = np.maximum(cdf - grid / total, (grid + 1) / total - cdf).max(axis=0)
    limit = float(stats.kstwobign.isf(alpha)) / np.sqrt(m) + error
    worst("Kolmogorov–Smirnov distance", distance, np.zeros(n), limit)

    def dependence(name: str, a: FloatArray, b: FloatArray, share: float) -> None:
        """Products of draws that ought to have nothing to do with each other; `share` of all draws are in
        `a`."""
        bound = 1.2 * z / np.sqrt(np.maximum(share * np.minimum(m, m2), 1.0)) + 2.0 * error
        worst(name, (a * b).mean(axis=(0, 1)), -bound, bound)

    if independent and length > 1:
        dependence("correlation of neighbours", white[:, 1:], white[:, :-1], (length - 1) / length)
        middle = length // 2
        later = white[:, middle : 2 * middle]
        dependence("correlation of halves of a chain", white[:, :middle], later, 0.5)
    if chains > 1:
        dependence("correlation of chains", white[1:], white[:-1], (chains - 1) / chains)
    return Report(tuple(checks), false_alarm, total, float(np.minimum(m, m2).min()))


def effective(values: FloatArray) -> FloatArray:
    """The number of independent draws [n] that values [chains, draws, n] are worth for their mean.

    Chains are halved and R-hat is folded in through the variance between halves; sums of autocorrelations
    end with the first negative pair (Geyer 1992), and never count more than the draws there are.
    """
    chains, length, n = values.shape
    if length < 8:
        return np.full(n, float(chains * length))
    half = length // 2
    split = np.concatenate([values[:, :half], values[:, half : 2 * half]], axis=0)
    count = split.shape[0]
    centred = split - split.mean(axis=1, keepdims=True)
    size = 1 << (2 * half - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, size, axis=1)[:, :half].mean(axis=0) / half
    within = covariance[0] * half / (half - 1)
    between = split.mean(axis=1).var(axis=0, ddof=1) if count > 1 else np.zeros(n)
    pooled = within * (half - 1) / half + between
    pooled = np.where(pooled > 0, pooled, 1.0)
    rho = 1.0 - (within - covariance) / pooled
    even = rho[: half // 2 * 2].reshape(-1, 2, n).sum(axis=1)
    positive = np.cumprod(even > 0, axis=0).astype(bool)
    tau = -1.0 + 2.0 * np.where(positive, even, 0.0).sum(axis=0)
    return np.asarray(count * half / np.maximum(tau, 1.0))


def _loops(configuration: Configuration) -> bool:
    from spucc.readback import HostLoop

    return any(isinstance(back, HostLoop) for back in configuration.readback)
