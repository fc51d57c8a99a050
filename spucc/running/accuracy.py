"""Runs that go on until the answers are as good as asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.energy import QueryKind
from spucc.running.quantiles import selection
from spucc.running.results import Answer, Result
from spucc.running.run import run_program, scheduled
from spucc.running.taker import CHAINS
from spucc.stages import Program

# Draws that a run towards an error may take in all, unless the user says otherwise.
MOST_SAMPLES = 10_000_000


def run_until(
    program: Program,
    rel_error: float,
    *,
    samples: int | None = None,
    most: int = MOST_SAMPLES,
    **options: Any,
) -> Result:
    """Run with more and more draws until every answer's relative error (`relative_error`) is at most `rel_error`, or
    `most` draws are taken. The provenance says which: `rel_error_asked` and `rel_error_reached`.

    A longer run begins with the draws of the shorter one. Options as of `run_program`; a file that is named by `stream` ends as
    that of the last run. Raises E0746 for an error that is not between 0 and 1, E0594 for `most` below 1.
    """
    check_error(rel_error, most)
    chains = options.get("chains") or CHAINS
    taken = _even(min(scheduled(program) if samples is None else samples, most), chains)
    while True:
        result = run_program(program, samples=taken, **options)
        reached, taken = relative_error(result), int(result.provenance["samples"])
        if not result.complete or reached <= rel_error or taken + chains > most:
            break
        wanted = 1.1 * taken * (min(reached, 1e3) / rel_error) ** 2
        # Never more than a hundredfold at once: the first estimate of an error is itself one.
        taken = _even(int(min(max(wanted, 1.2 * taken, taken + chains), 100.0 * taken, most)), chains)
        # Its draws, or its hold on a file that is about to be replaced, are not needed beside the next ones.
        del result
    told = {"rel_error_asked": rel_error, "rel_error_reached": reached}
    return replace(result, provenance={**result.provenance, **told})


def check_error(rel_error: float, most: int) -> None:
    """Raises E0746 for an error that is not between 0 and 1, E0594 for a cap below 1."""
    if not 0 < rel_error < 1:
        fail(
            "E0746",
            f"a relative error of {rel_error:g} cannot be reached",
            help="ask for one between 0 and 1, e.g. 0.01",
        )
    if most < 1:
        fail("E0594", f"an error cannot be reached within {most} samples", help="allow more --max-samples")


def _even(samples: int, chains: int) -> int:
    """A number of draws that the chains share evenly, not above `samples` where these are enough for one each."""
    return samples // chains * chains or samples


def relative_error(result: Result) -> float:
    """The worst relative standard error of a run's answers; ∞ where one has no error yet.

    Of `cov`, `inverse`, `var`, `std`, `solve`, `logz`, `logdet`: ‖error‖/‖value‖ over all entries, so that entries near 0
    need not be known to a share of themselves. Of draws, that of their covariance, √((1 + r)/N), r = tr(Σ)²/tr(Σ²) (physics §4).
    Of means, expectations, quantiles and correlations, 1/√N: errors in standard deviations.
    """
    asked = [a for a in result.answers if a.kind not in (QueryKind.ARGMIN, QueryKind.TRAJECTORY)]
    return max((_relative(a) for a in asked if a.value.size), default=0.0)


_TO_SIZE = (
    QueryKind.COV,
    QueryKind.INVERSE,
    QueryKind.VAR,
    QueryKind.STD,
    QueryKind.SOLVE,
    QueryKind.LOGZ,
    QueryKind.LOGDET,
)


def _relative(a: Answer) -> float:
    if a.kind is not QueryKind.SAMPLE and a.error is None:
        return np.inf
    if a.kind in _TO_SIZE:
        assert a.error is not None
        error, size = float(np.linalg.norm(a.error)), float(np.linalg.norm(a.value))
        return error / size if size > 0 else (np.inf if error > 0 else 0.0)
    worth = 1.0 if a.ess is None else float(np.min(a.ess))
    return float(np.sqrt((1.0 + _entries(a) if a.kind is QueryKind.SAMPLE else 1.0) / worth))


def _entries(a: Answer) -> float:
    """tr(S)²/tr(S²) of the draws' covariance S, from an even selection of them."""
    rows = selection(a.value.reshape(1, a.value.shape[0], -1), 2000)
    rows = rows - rows.mean(axis=0)
    # tr(S²) of S = XᵀX through the smaller of XᵀX and XXᵀ.
    gram = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
    square = float((gram * gram).sum())
    return float(np.trace(gram)) ** 2 / square if square > 0 else 0.0


def hardly_worth(result: Result) -> str:
    """A warning for draws that follow one another too closely to say much: which query's, and what they are worth. Empty
    where draws are worth a hundred independent ones, or a tenth of their number."""
    drawn = float(result.provenance.get("samples", 0))
    worst = min(
        (a for a in result.answers if a.ess is not None and a.ess.size),
        key=lambda a: float(np.min(a.ess)) if a.ess is not None else np.inf,
        default=None,
    )
    if worst is None or worst.ess is None:
        return ""
    worth = float(np.min(worst.ess))
    if worth >= min(100.0, 0.1 * drawn):
        return ""
    return (
        f"the {drawn:.0f} draws are worth about {worth:.0f} independent ones (of `{worst.name}`), so its figures and their "
        "errors say little"
    )
