"""Runs that go on until the answers are as good as asked."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.energy import QueryKind
from spucc.running.results import Result
from spucc.running.run import run_program, scheduled
from spucc.stages import Program

# Draws that a run towards an error may take in all, unless the user says otherwise.
MOST_SAMPLES = 10_000_000


def run_until(
    program: Program,
    rel_error: float,
    *,
    samples: int | None = None,
    most: int = MOST_SAMPLES,
    stream: str | PathLike[str] | None = None,
    **options: Any,
) -> Result:
    """Run with more and more draws until every answer's relative error (`relative_error`) is at most `rel_error`, or
    `most` draws are taken. The provenance says which: `rel_error_asked` and `rel_error_reached`.

    A longer run begins with the draws of the shorter one. Options as of `run_program`. Raises E0746 for an error that is
    not between 0 and 1.
    """
    if not 0 < rel_error < 1:
        fail(
            "E0746",
            f"a relative error of {rel_error:g} cannot be reached",
            help="ask for one between 0 and 1, e.g. 0.01",
        )
    result = run_program(
        program, samples=min(scheduled(program) if samples is None else samples, max(most, 1)), **options
    )
    reached, taken = relative_error(result), int(result.provenance["samples"])
    while result.complete and reached > rel_error and taken < most:
        chains = int(result.provenance["chains"])
        wanted = 1.1 * taken * (min(reached, 1e3) / rel_error) ** 2
        # Never more than a hundredfold at once: the first estimate of an error is itself one.
        taken = int(min(max(wanted, 1.2 * taken), 100.0 * taken, most))
        taken = max(taken // chains, 1) * chains
        result = run_program(program, samples=taken, **options)
        reached = relative_error(result)
        if taken + chains > most:
            break
    if stream is not None and result.complete:
        result = run_program(program, samples=taken, stream=stream, **options)
    told = {"rel_error_asked": rel_error, "rel_error_reached": reached}
    return replace(result, provenance={**result.provenance, **told})


def relative_error(result: Result) -> float:
    """The worst relative standard error of a run's answers.

    Of `cov`, `inverse`, `var`, `std`, `solve`, `logz`, `logdet`: ‖error‖/‖value‖. Of draws, that of their covariance,
    √((1 + r)/N), r = tr(Σ)²/tr(Σ²) (physics §4). Of means, quantiles and correlations, 1/√N: errors in standard deviations.
    """
    relative = (
        QueryKind.COV,
        QueryKind.INVERSE,
        QueryKind.VAR,
        QueryKind.STD,
        QueryKind.SOLVE,
        QueryKind.LOGZ,
        QueryKind.LOGDET,
    )
    worst = 0.0
    for a in result.answers:
        if a.kind in (QueryKind.ARGMIN, QueryKind.TRAJECTORY) or not a.value.size:
            continue
        if a.kind in relative:
            size = float(np.linalg.norm(a.value))
            found = float(np.linalg.norm(a.error)) / size if a.error is not None and size > 0 else 0.0
        else:
            count = 1.0 if a.ess is None else float(np.min(a.ess))
            spread = 1.0
            if a.kind is QueryKind.SAMPLE:
                flat = a.value.reshape(a.value.shape[0], -1)
                flat = flat - flat.mean(axis=0)
                # tr(S²) of S = XᵀX through the smaller of XᵀX and XXᵀ.
                rows = flat[:: max(1, flat.shape[0] // 2000)]
                gram = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
                square = float((gram * gram).sum())
                spread = 1.0 + (float(np.trace(gram)) ** 2 / square if square > 0 else 0.0)
            found = float(np.sqrt(spread / count))
        worst = max(worst, found)
    return worst
