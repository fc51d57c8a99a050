"""What a notebook shows of programs, states and results: a few lines, the chip or the model, the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spucc.device import Device
from spucc.ir.facts import figure
from spucc.report.chip import board_of, draw_chip
from spucc.report.graph import draw_model
from spucc.report.words import headline
from spucc.running.results import Result
from spucc.stages import Job, LedgerEntry, Program, State

# Notebooks may be dark: what is drawn for a white page brings its page along.
_FRAME = (
    "background:#fff;color:#1d2733;border:1px solid #d9dfe6;border-radius:8px;padding:10px 14px;max-width:680px;"
    "font-family:system-ui,sans-serif;font-size:13px"
)
_CELL = "text-align:left;padding:2px 14px 2px 0"


def program_html(program: Program) -> str:
    """The chip of the first job, the headline figures and the ledger."""
    facts = " · ".join(f"<b>{escape(b)}</b> {escape(a)}" for a, b in headline(program))
    device = program.device_of(program.jobs[0]) if program.jobs else program.device
    head = f"<div><b>Program</b> for {escape(program.device.name)}</div><div>{facts}</div>"
    return f'<div style="{_FRAME}">{head}{_chip(device, program.jobs)}{_ledger(program.ledger)}</div>'


def state_html(state: State) -> str:
    """Where the state stands, the passes that it went through, and the chip, or its model before there are codes."""
    passes = [s.name for s in (*state.steps, *(state.jobs[0].steps if state.jobs else ()))]
    done = escape(", ".join(passes)) or "none yet"
    jobs = f", {len(state.jobs)} job{'s' if len(state.jobs) != 1 else ''}" if state.jobs else ""
    head = f"<div><b>State</b> at <b>{state.stage}</b>, {state.model.n} coordinates{jobs}, for {escape(state.device.name)}</div>"
    drawn = (
        _chip(state.device, state.jobs)
        or f'<div style="max-width:420px">{draw_model(state.model, 420.0).svg()}</div>'
    )
    return f'<div style="{_FRAME}">{head}<div>passes: {done}</div>{drawn}{_ledger(state.ledger)}</div>'


def _chip(device: Device, jobs: Sequence[Job]) -> str:
    """The chip of the first job, if that has codes."""
    board = board_of(device, jobs[0], width=420.0) if jobs else None
    if board is None:
        return ""
    more = f"<div>the first of {len(jobs)} jobs is drawn</div>" if len(jobs) > 1 else ""
    return f'<div style="max-width:420px">{draw_chip(board).svg()}</div>{more}'


def result_html(result: Result) -> str:
    """The answers, at most 20 rows each."""
    p = result.provenance
    said = ", ".join(f"{key} {p[key]}" for key in ("samples", "backend", "seed") if key in p)
    part = "" if result.complete else " <b>(interrupted)</b>"
    return (
        f'<div style="{_FRAME}"><div><b>Result</b> {escape(said)}{part}</div>'
        f'<pre style="overflow:auto;margin:8px 0 0">{escape(result.table())}</pre></div>'
    )


def _ledger(entries: Sequence[LedgerEntry]) -> str:
    """The last line of every job, and at most eight of them."""
    last = {e.job: e for e in entries}
    if not last:
        return ""
    head = "".join(
        f'<th style="{_CELL}">{t}</th>' for t in ("job", "KL, nats a variable", "sd", "mean", "corr", "basis")
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_CELL}">{escape(t)}</td>'
            for t in (
                e.job,
                *(figure(v) for v in (e.kl_forward, e.sd_error, e.mean_error, e.correlation_error)),
                e.basis,
            )
        )
        + "</tr>"
        for e in list(last.values())[:8]
    )
    return f'<table style="font-size:13px"><tr>{head}</tr>{rows}</table>'
