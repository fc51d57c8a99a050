"""`spucc verify`: are the draws of a backend those of the compiled distribution, and is that the model?

Three sections for each job, each with its share of one stated false-alarm rate (Bonferroni):

    compiled  the draws against the law of the codes (`spucc.targets.law`), by `spucc.conformance.check_draws`
    model     the draws against the exact law of the model, allowing for the errors that the ledger states
    streams   chains and seeds against one another: neither repeated nor correlated, and no memory of any lag in
              draws that are said to be independent
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.backend import Backend, Mode, Progress, Request, members_of, silent
from spucc.conformance import Check, Report, check_draws, effective
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.readback import HostLoop
from spucc.running.law import DENSE_LIMIT
from spucc.running.taker import Plan
from spucc.stages import Configuration, Job, LedgerEntry, Program

# Of more coordinates an even selection of so many is tested.
MOST_COORDINATES = 200

# Lags of independent draws that are looked at.
_LAGS = 8


@dataclass(frozen=True)
class Section:
    """What one section says of one job."""

    job: str
    name: str
    report: Report


@dataclass(frozen=True)
class Verification:
    """All sections of all jobs; `false_alarm` is how often a good program on a good backend would fail."""

    sections: tuple[Section, ...]
    false_alarm: float
    backend: str

    @property
    def passed(self) -> bool:
        return all(s.report.passed for s in self.sections)

    def failures(self) -> list[Check]:
        """Every test that failed."""
        return [c for s in self.sections for c in s.report.checks if not c.passed]

    def table(self) -> str:
        """A row for each test: what was measured, what was allowed, and the verdict."""
        from spucc.running.results import columns

        rows = []
        for s in self.sections:
            for c in s.report.checks:
                allowed = f"{c.low:.4g} … {c.high:.4g}"
                rows.append(
                    [
                        f"{s.job} {s.name}: {c.name}",
                        f"{c.statistic:.4g}",
                        allowed,
                        "ok" if c.passed else "FAIL",
                    ]
                )
        table = columns(["test", "measured", "allowed", ""], rows)
        worth = min((s.report.effective for s in self.sections), default=0.0)
        draws = max((s.report.draws for s in self.sections), default=0)
        verdict = (
            "the draws are of the compiled distribution and of the model"
            if self.passed
            else (f"{len(self.failures())} tests failed: the draws are not what they are said to be")
        )
        return (
            f"{table}\n\n{draws} draws of `{self.backend}`, worth {worth:.0f} independent ones; a good backend fails in "
            f"{self.false_alarm:.1g} of runs\n{verdict}"
        )


def verify_program(
    program: Program,
    *,
    samples: int = 20_000,
    chains: int = 4,
    seed: int = 0,
    backend: str | Backend | None = None,
    board: int | None = None,
    mode: str = "independent",
    false_alarm: float = 1e-6,
    progress: Progress = silent,
) -> Verification:
    """Draw from every job of a program on a backend and test the draws.

    `samples` over all chains; `board` as of `spucc.running.run.run_program`; `false_alarm` in (0, 1) is the rate for everything
    together.

    Raises:
        SpuccError: E0740 for jobs that no exact law is known of, E0741 for too few draws or an impossible rate, and
            whatever the backend raises.
    """
    if not 0 < false_alarm < 1:
        fail(
            "E0741",
            f"a false-alarm rate of {false_alarm:g} is none",
            help="give one between 0 and 1, e.g. 1e-6",
        )
    if chains < 2 or samples // max(chains, 1) < 100:
        fail(
            "E0741",
            f"{samples} draws in {chains} chains are too few to test",
            help="take 2 chains and 100 draws each, or more",
        )
    from spucc.running.mixed import engine_of
    from spucc.running.provenance import on_board

    engine = on_board(engine_of(backend, program.device), board, seed)
    if getattr(engine, "trajectories", False):
        mode = Mode.TRAJECTORY
    request = Request(draws=Plan.of(samples, chains).draws, chains=chains, seed=seed, mode=Mode(mode))
    jobs = [job for job in program.jobs if job.target.n]
    alpha = false_alarm / max(3 * len(jobs), 1)
    last = {entry.job: entry for entry in program.ledger}
    sections: list[Section] = []
    for k, job in enumerate(jobs):
        progress(f"verifying {job.name}", k / len(jobs))
        sections += _sections(job, program.device_of(job), engine, request, alpha, last.get(job.name))
    return Verification(tuple(sections), false_alarm, engine.name)


def _sections(
    job: Job, device: Device, engine: Backend, request: Request, alpha: float, entry: LedgerEntry | None
) -> Iterator[Section]:
    configuration = job.value
    if not isinstance(configuration, Configuration) or not job.target.is_gaussian:
        fail(
            "E0740",
            f"job `{job.name}` is not a compiled Gaussian, so there is no exact law to verify it by",
            help="compare `spucc run` with `spucc.oracle.spins` for up to 20 spins",
        )
    loop = any(isinstance(b, HostLoop) for b in configuration.readback)
    tells = getattr(engine, "independent", None)
    independent = request.mode is Mode.INDEPENDENT and not loop and (tells is None or tells(job, device))
    values = _draw(engine, job, device, request)
    chosen = _selection(job.target.n)
    for name, part, mean, cov in _laws(job, configuration, device, values, chosen):
        report = check_draws(part, mean, cov, false_alarm=alpha, independent=independent)
        yield Section(job.name, name, _named(report, job, chosen))
    seen = values[:, :, chosen]
    exact_mean, exact_cov = _exact(job, chosen)
    checks = _against_model(seen, exact_mean, exact_cov, entry, alpha, independent)
    worth = float(seen.shape[0] * seen.shape[1])
    report = Report(tuple(checks), alpha, seen.shape[0] * seen.shape[1], worth)
    yield Section(job.name, "model", _named(report, job, chosen))
    short = replace(request, seed=request.seed + 1, draws=min(request.draws, 2000))
    other = _draw(engine, job, device, short)[:, :, chosen]
    streams = tuple(_streams(seen, other, exact_mean, exact_cov, alpha, independent))
    yield Section(job.name, "streams", Report(streams, alpha, other.shape[0] * other.shape[1], worth))


def _draw(engine: Backend, job: Job, device: Device, request: Request) -> FloatArray:
    parts = [chunk.values for chunk in engine.run(job, device, request)]
    return np.concatenate(parts, axis=1).astype(np.float64, copy=False)


def _selection(n: int) -> IntArray:
    """All coordinates, or of many an even selection."""
    if n <= DENSE_LIMIT and n <= 2 * MOST_COORDINATES:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, MOST_COORDINATES).astype(np.int64))


def _laws(
    job: Job, configuration: Configuration, device: Device, values: FloatArray, chosen: IntArray
) -> Iterator[tuple[str, FloatArray, FloatArray, FloatArray]]:
    """(name, draws, mean, covariance) of the compiled law; of an ensemble one for each member, which is Gaussian."""
    from spucc.targets.law import law

    codes = configuration.codes
    members = codes.members
    if members == 1 or any(isinstance(b, HostLoop) for b in configuration.readback):
        known = law(configuration, device)
        yield (
            "compiled",
            values[:, :, chosen],
            known.mean[chosen],
            _block(known.covariance, known.precision, chosen),
        )
        return
    who = members_of(codes.weight, 0, values.shape[1])
    for m in range(members):
        one = replace(
            codes,
            ground=codes.ground[m : m + 1],
            coupling=codes.coupling[m : m + 1],
            bias=codes.bias[m : m + 1],
            scale=codes.scale[m : m + 1],
            weight=np.ones(1),
            readback=codes.readback[m : m + 1],
        )
        known = law(replace(configuration, codes=one), device)
        part = values[:, who == m][:, :, chosen]
        yield f"member {m}", part, known.mean[chosen], _block(known.covariance, known.precision, chosen)


def _block(covariance: FloatArray | None, precision: object, chosen: IntArray) -> FloatArray:
    """The covariance of the chosen coordinates."""
    if covariance is not None:
        return covariance[np.ix_(chosen, chosen)]
    from spucc.targets.gaussian import factorise

    n = precision.shape[0]  # type: ignore[attr-defined]
    units = np.zeros((n, chosen.size))
    units[chosen, np.arange(chosen.size)] = 1.0
    block = factorise(precision).solve(units)[chosen]
    return np.asarray(0.5 * (block + block.T))


def _exact(job: Job, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the model, by the oracle."""
    from spucc.oracle import gaussian

    known = gaussian(job.target)
    if job.target.n <= DENSE_LIMIT:
        return known.mean[chosen], known.covariance()[np.ix_(chosen, chosen)]
    return known.mean[chosen], _block(None, known.precision, chosen)


def _named(report: Report, job: Job, chosen: IntArray) -> Report:
    """The report with the user's names for the numbers in brackets at the end of a test's name."""
    checks = []
    for c in report.checks:
        text, bracket, number = c.name.partition(" [")
        if bracket and "pair" not in text:
            text = f"{text} {job.target.label(int(chosen[int(number[:-1])]))}"
        elif bracket:
            i, j = np.triu_indices(chosen.size, 1)
            k = int(number[:-1])
            text = f"{text} {job.target.label(int(chosen[i[k]]))}, {job.target.label(int(chosen[j[k]]))}"
        checks.append(replace(c, name=text))
    return replace(report, checks=tuple(checks))


def _against_model(
    x: FloatArray,
    mean: FloatArray,
    cov: FloatArray,
    entry: LedgerEntry | None,
    alpha: float,
    independent: bool,
) -> Iterator[Check]:
    """Means, variances and correlations of draws [chains, m, n] against the model's, within the ledger's errors and the
    errors of so many draws. The worst entry stands for all."""
    from scipy import stats

    n = mean.size
    allowed = entry if entry is not None and entry.basis != "none" else None
    off_mean, off_sd, off_corr = (
        (
            float(np.nan_to_num(v, nan=0.0))
            for v in (allowed.mean_error, allowed.sd_error, allowed.correlation_error)
        )
        if allowed is not None
        else (0.0, 0.0, 0.0)
    )
    sd = np.sqrt(np.diagonal(cov))
    w = (x - mean) / sd
    total = float(x.shape[0] * x.shape[1])
    m = np.full(n, total) if independent else effective(w)
    m2 = m if independent else effective(w * w)
    flat = w.reshape(-1, n)
    pairs = n * (n - 1) // 2
    each = alpha / (2 * n + pairs)
    z = float(stats.norm.isf(each / 2))
    shift = flat.mean(axis=0)
    bound = z * (1 + off_sd) / np.sqrt(m) + off_mean
    k = int(np.argmax(np.abs(shift) / bound))
    yield Check(f"mean, in sd [{k}]", float(shift[k]), -float(bound[k]), float(bound[k]))
    variance = flat.var(axis=0, ddof=1)
    low = stats.chi2.ppf(each / 2, m2) / m2 * max(1 - off_sd, 0.0) ** 2
    high = stats.chi2.isf(each / 2, m2) / m2 * (1 + off_sd) ** 2
    k = int(np.argmax(np.maximum(low - variance, variance - high) / (high - low)))
    yield Check(f"variance, relative [{k}]", float(variance[k]), float(low[k]), float(high[k]))
    if pairs:
        i, j = np.triu_indices(n, 1)
        want = (cov / np.outer(sd, sd))[i, j]
        centred = flat - shift
        got = (centred.T @ centred / total)[i, j] / np.sqrt(variance[i] * variance[j])
        # Fisher's transform: variance 1/(m − 3) whatever the correlation.
        limit = 0.999999999
        away = np.arctanh(np.clip(got, -limit, limit)) - np.arctanh(np.clip(want, -limit, limit))
        slack = np.maximum(
            np.abs(
                np.arctanh(np.clip(want + off_corr, -limit, limit)) - np.arctanh(np.clip(want, -limit, limit))
            ),
            np.abs(
                np.arctanh(np.clip(want - off_corr, -limit, limit)) - np.arctanh(np.clip(want, -limit, limit))
            ),
        )
        bound = 1.05 * z / np.sqrt(np.maximum(np.minimum(m2[i], m2[j]) - 3, 1.0)) + slack
        k = int(np.argmax(np.abs(away) / bound))
        yield Check(
            f"correlation of a pair, Fisher's z [{k}]", float(away[k]), -float(bound[k]), float(bound[k])
        )


def _streams(
    x: FloatArray, other: FloatArray, mean: FloatArray, cov: FloatArray, alpha: float, independent: bool
) -> Iterator[Check]:
    """Chains with one another, seeds with one another, and independent draws with those after them."""
    from scipy import stats

    n = mean.size
    w = (x - mean) / np.sqrt(np.diagonal(cov))
    v = (other - mean) / np.sqrt(np.diagonal(cov))
    lags = min(_LAGS, w.shape[1] - 1) if independent else 0
    chains = w.shape[0]
    each = alpha / (1 + chains - 1 + lags)
    # Sums over coordinates that are correlated among themselves: the variance of the sum is ‖R‖² of the correlations.
    r = cov / np.sqrt(np.outer(np.diagonal(cov), np.diagonal(cov)))
    spread = float(np.sqrt((r * r).sum())) / n
    # A path remembers: its products are worth as many draws as its slowest coordinate.
    slow = 1.0 if independent else float(max(w.shape[0] * w.shape[1] / effective(w).min(), 1.0))
    z = 1.1 * float(stats.norm.isf(each / 2)) * spread * np.sqrt(slow)

    def check(name: str, a: FloatArray, b: FloatArray) -> Check:
        bound = z / np.sqrt(a.shape[0] * a.shape[1])
        return Check(name, float((a * b).mean()), -bound, bound)

    count = v.shape[1]
    yield check("correlation of two seeds", w[:, :count], v)
    for c in range(1, chains):
        yield check(f"correlation of chains {c - 1} and {c}", w[c - 1 : c], w[c : c + 1])
    for lag in range(1, lags + 1):
        yield check(f"correlation at lag {lag}", w[:, lag:], w[:, :-lag])
