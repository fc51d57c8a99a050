"""The tables that a compilation prints: passes with what they cost, jobs, boards that serve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from spucc.driver import Timer
from spucc.ir.facts import ROUNDING
from spucc.pipeline import Context
from spucc.running.results import columns
from spucc.stages import Configuration, Couplings, Job, LedgerEntry, Placed, Program, Quantized, State, Step

_MOST_JOBS = 20
_MARK = {"exact": "", "bound": "≤", "estimate": "~", "none": ""}
_FIGURES = ("kl_forward", "sd_error", "mean_error", "correlation_error")


def ledger_table(state: State | Program, timer: Timer | None = None) -> str:
    """Pass by pass: what it did, time, and how far the realised law is from the model. Several jobs share the rows of their
    passes, which then show the worst of them and the time of all, and have a row each below."""
    entries = {(e.job, e.name): e for e in state.ledger}
    whole: dict[str, list[str]] = {}
    for step in state.steps:
        # A program for two devices went through some passes twice.
        whole.setdefault(_plain(step.name), []).extend(step.notes)
    rows = [_row(name, timer, [], notes) for name, notes in whole.items()]
    by_pass: dict[str, list[tuple[Job, Step]]] = {}
    for job in state.jobs:
        for step in job.steps:
            by_pass.setdefault(_plain(step.name), []).append((job, step))
    for name, went in by_pass.items():
        found = [entries[job.name, name] for job, _ in went if (job.name, name) in entries]
        rows.append(_row(name, timer, found, _common([step.notes for _, step in went])))
    header = ["pass", "CPU s", "KL/variable", "sd", "mean", "corr", "what it did"]
    plain = columns(header[:-1], [r[:-1] for r in rows]).splitlines()
    width = max(len(line) for line in plain)
    lines = [f"{line:<{width}}  {r[-1]}".rstrip() for line, r in zip(plain, [header, *rows])]
    if len(state.jobs) > 1:
        lines += ["", _jobs_table(state)]
    return "\n".join(lines)


def _plain(step: str) -> str:
    return step.partition("{")[0]


def _row(step: str, timer: Timer | None, entries: Sequence[LedgerEntry], notes: Iterable[str]) -> list[str]:
    seconds = "" if timer is None else f"{timer.seconds.get(_plain(step), 0.0):.3f}"
    return [_plain(step), seconds, *_worst(entries), "; ".join(notes)]


def _worst(entries: Sequence[LedgerEntry]) -> list[str]:
    """The largest of each figure, `?` where one of them is not known."""
    if not entries:
        return [""] * len(_FIGURES)
    found = []
    for name in _FIGURES:
        values = [float(getattr(e, name)) for e in entries]
        if any(map(math.isnan, values)):
            found.append("?")
            continue
        most = max(values)
        mark = _MARK[entries[values.index(most)].basis]
        found.append("0" if most < ROUNDING else f"{mark}{most:.1e}")
    return found


def _common(notes: Sequence[tuple[str, ...]]) -> list[str]:
    """What a pass said of its jobs: once what it said of all of them, the rest counted where it says too much."""
    every = [n for n in notes[0] if all(n in said for said in notes)]
    apart = dict.fromkeys(n for said in notes for n in said if n not in every)
    if len(apart) <= 1:
        return [*every, *apart]
    return [*every, f"{next(iter(apart))}; and {len(apart) - 1} more notes on other jobs"]


def _jobs_table(state: State | Program) -> str:
    """A row for each job, the worst ones of many."""
    last = {e.job: e for e in state.ledger}

    def loss(job: Job) -> float:
        entry = last.get(job.name)
        return math.inf if entry is None or math.isnan(entry.kl_forward) else entry.kl_forward

    shown = list(state.jobs)
    if len(shown) > _MOST_JOBS:
        shown = sorted(shown, key=lambda job: -loss(job))[:_MOST_JOBS]
    rows = []
    for job in shown:
        entry = last.get(job.name)
        figures = _worst([entry] if entry is not None else [])
        rows.append([job.name, str(job.target.n), _cells(job), *figures])
    text = columns(["job", "variables", "cells", "KL/variable", "sd", "mean", "corr"], rows)
    left = len(state.jobs) - len(shown)
    return text + (f"\n… and {left} more jobs, none with a larger KL" if left else "")


def _cells(job: Job) -> str:
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    return str(value.n) if isinstance(value, Couplings | Placed | Quantized) else ""


USUAL_TOLERANCE = 0.02
"""The error of a board that counts as serving when `--tolerance` does not say."""


def yield_table(state: State, boards: int, tolerance: float | None, seed: int) -> str:
    """For every job: how many of `boards` drawn boards serve, and how far off they are."""
    from spucc.fidelity.tolerance import tolerance_analysis

    limit = USUAL_TOLERANCE if tolerance is None else tolerance
    rows = []
    for k, job in enumerate(state.jobs):
        found = tolerance_analysis(job, state.device, boards, Context(seed=seed).rng(0x701, k))
        low, middle, high = (f"{100 * q:.2g} %" for q in found.quantiles())
        rows.append(
            [job.name, f"{100 * found.share(limit):.3g} %", low, middle, high, f"{np.median(found.kl):.1e}"]
        )
    title = f"{boards} boards with parts drawn from their tolerances; within {limit:g} of every sd and mean:"
    return f"{title}\n" + columns(["job", "boards", "sd off: 5 %", "median", "95 %", "KL/variable"], rows)
