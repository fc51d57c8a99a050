"""What the page knows: a program as plain data for the script, and as facts for the reader."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Family
from spucc.energy import Energy
from spucc.ir.facts import describe, duration, scale
from spucc.ir.show import cell_names, si
from spucc.moments import DENSE, Moments, moments_of, target_moments
from spucc.report.album import Album
from spucc.report.chip import Board, board_of, codes_of
from spucc.report.matrices import Shelf, cells_matrix, errors, names_of_blocks
from spucc.stages import Configuration, Job, LedgerEntry, Program, Step, source_maps

MOST_JOBS = 12
"""Jobs that are shown; the rest is counted."""

NAMED = 1100
"""Coordinates up to which each can be selected; of more, only variables."""

_NEIGHBOURS = 10

Fact = tuple[str, str]


@dataclass
class JobView:
    """One job as the page shows it."""

    job: Job
    board: Board | None
    asked: Moments | None
    made: Moments | None
    ledger: list[LedgerEntry]
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Content:
    """Everything on the page that is computed."""

    program: Program
    jobs: list[JobView]
    data: dict[str, Any]
    passes: list[str]


def content_of(program: Program, album: Album | None = None) -> Content:
    """Compute the page's content. Without an album the states between the passes are not known: the page then has the model,
    the ledger, the notes of every pass, and what came out last."""
    shelf = Shelf()
    passes = [s.name for s in program.steps]
    passes += [s.name for s in max((j.steps for j in program.jobs), key=len, default=())]
    shots = _aligned(passes, album)
    views = [_view(program, job, shots, shelf) for job in program.jobs[:MOST_JOBS]]
    whole = len(program.steps)
    notes = [
        {
            "pass": name,
            "notes": list(step.notes),
            "back": describe(step.readback) if step.readback is not None else "",
        }
        for name, step in ((s.name, s) for s in program.steps)
    ]
    data = {
        "steps": [{"name": n.partition("{")[0], "text": n, "why": _why(n)} for n in passes],
        "whole": whole,
        "model": notes,
        "vars": _variables(program, views),
        "jobs": [v.data for v in views],
        "shelf": shelf.packed,
    }
    return Content(program, views, data, passes)


def _why(text: str) -> str:
    """The sentence on why a pass stands where it does."""
    from spucc.passes import registry

    known = registry().get(text.partition("{")[0])
    return known().why if known is not None else ""


def _aligned(passes: list[str], album: Album | None) -> dict[int, Any]:
    """Pass number → the state after it, matched from the end: what went before a resumed run was not seen."""
    found: dict[int, Any] = {}
    for k, (name, state) in zip(range(len(passes) - 1, -1, -1), reversed(album.states if album else [])):
        if passes[k] != name:
            break
        found[k] = state
    return found


def _view(program: Program, job: Job, shots: dict[int, Any], shelf: Shelf) -> JobView:
    asked, made = target_moments(job, program.device_of(job)), moments_of(job, program.device_of(job))
    wrong: FloatArray | None = None
    if asked is not None and made is not None:
        wrong = np.maximum(np.abs(made.sd / asked.sd - 1), np.abs(made.mean - asked.mean) / asked.sd)
        wrong = np.where(wrong < 1e-13, 0.0, wrong)
    ledger = [e for e in program.ledger if e.job == job.name]
    view = JobView(job, board_of(program.device_of(job), job, wrong), asked, made, ledger)
    names = list(job.target.labels()) if job.target.n <= DENSE else []
    view.data = {
        "name": job.name,
        "n": job.target.n,
        "names": names_of_blocks(names) if names else [],
        "steps": {},
        "cells": _cells(program, view),
        "spin": not job.target.domains[0].size and job.target.n > 0,
    }
    if asked is not None:
        view.data["asked"] = _asked(asked, shelf)
    by_pass = {e.name: e for e in ledger}
    known: dict[tuple[int, ...], dict[str, Any]] = {}
    # The values are kept until the page is made: `known` tells them apart by where they are.
    whole = len(program.steps)
    for k in range(whole + len(job.steps)):
        at = _at(shots.get(k), job, k, whole)
        step = job.steps[k - whole] if k >= whole else None
        view.data["steps"][k] = _step(program, view, at, step, by_pass, known, shelf)
    return view


def _at(state: Any, job: Job, k: int, whole: int) -> Job | None:
    """What the job was after pass k; None when nobody kept it."""
    if k < whole:
        return replace(job, value=job.target, steps=())
    if k == whole + len(job.steps) - 1:
        return job
    if state is None:
        return None
    found = next((j for j in state.jobs if j.name == job.name), None)
    # A job cut from a larger one on the way has another target: nothing to compare.
    return found if found is not None and found.target.n == job.target.n else None


def _asked(m: Moments, shelf: Shelf) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": _list(m.mean), "sd": _list(m.sd), "corr": shelf.put(m.correlation)}
    if m.precision is not None:
        d = np.sqrt(np.diagonal(m.precision))
        found["prec"] = shelf.put(m.precision / np.outer(d, d))
    return found


def _step(
    program: Program,
    view: JobView,
    at: Job | None,
    step: Step | None,
    ledger: dict[str, LedgerEntry],
    known: dict[tuple[int, ...], dict[str, Any]],
    shelf: Shelf,
) -> dict[str, Any]:
    """What there is to show of a job after one pass. `known` has what was computed of values that a pass left alone."""
    out: dict[str, Any] = {"seen": at is not None}
    if step is not None:
        out["notes"] = list(step.notes)
        out["back"] = describe(step.readback) if step.readback is not None else ""
        entry = ledger.get(step.name.partition("{")[0])
        if entry is not None and entry.basis != "none":
            figures = (entry.kl_forward, entry.sd_error, entry.mean_error, entry.correlation_error)
            out["ledger"] = [*(v if np.isfinite(v) else None for v in figures), entry.basis]
    if at is None:
        return out
    key = (id(at.value), *(id(back) for back in at.readbacks()))
    if key not in known:
        known[key] = {**_laws(program, view, at, shelf), **_setting(program, at, shelf)}
    return {**out, **known[key]}


def _laws(program: Program, view: JobView, at: Job, shelf: Shelf) -> dict[str, Any]:
    """Moments of what the job's value stands for, as errors of what was asked."""
    asked = view.asked
    if asked is None:
        return {}
    made = (
        asked
        if at.value is at.target
        else view.made
        if at is view.job
        else moments_of(at, program.device_of(at))
    )
    if made is None:
        return {}
    out: dict[str, Any] = {"mean": _list(made.mean), "sd": _list(made.sd)}
    out["corr"] = shelf.put(errors(made.correlation, asked.correlation))
    if made.precision is not None and asked.precision is not None:
        d = np.sqrt(np.diagonal(asked.precision))
        size = np.outer(d, d)
        out["prec"] = shelf.put(errors(made.precision / size, asked.precision / size))
    return out


def _setting(program: Program, at: Job, shelf: Shelf) -> dict[str, Any]:
    """The matrix of the cells, once there are any."""
    matrix = cells_matrix(at, program.device_of(at))
    if matrix is None:
        return {}
    value = at.value.codes if isinstance(at.value, Configuration) else at.value
    out: dict[str, Any] = {"cells": shelf.put(matrix), "placed": hasattr(value, "cell")}
    if value.n <= DENSE and not isinstance(value, Energy):
        out["cellNames"] = names_of_blocks(cell_names(value.coordinate, value.role, at.target))
    return out


def _cells(program: Program, view: JobView) -> list[dict[str, Any]]:
    """The used cells: number on the device, name, setting, colours' values, coordinate of the job."""
    board = view.board
    if board is None or board.codes.n > 4200:
        return []
    return [
        {"c": c, "n": name, "t": text, "h": h, "v": _round(v), "e": _round(e), "i": i, "r": r}
        for c, name, text, h, v, e, i, r in zip(
            board.codes.cell.tolist(),
            board.name,
            board.text,
            board.hue.tolist(),
            board.value.tolist(),
            board.error.tolist(),
            board.coordinate.tolist(),
            board.codes.role.tolist(),
        )
    ]


def _round(v: float) -> float | None:
    return round(v, 3) if np.isfinite(v) else None


def _list(values: FloatArray) -> list[float]:
    return [float(f"{v:.9g}") for v in values.tolist()]


def _variables(program: Program, views: list[JobView]) -> list[dict[str, Any]]:
    """What can be selected: every coordinate of the source, or, of more than `NAMED`, every variable."""
    energy = program.source
    files = [name for name, _ in program.provenance.sources]

    def line(span: Any) -> str | None:
        return f"L{files.index(span.file)}-{span.line}" if span is not None and span.file in files else None

    origins = [(line(o.span), set(o.coordinates.tolist())) for o in energy.origins if energy.n <= NAMED]
    if energy.n > NAMED:
        return [
            {"l": v.name, "size": v.size, "decl": line(v.span), "lines": [], "j": -1, "i": []}
            for v in energy.variables[:NAMED]
        ]
    maps, _ = source_maps(program)
    home: dict[int, tuple[int, list[int]]] = {}
    for j, matrix in enumerate(maps[: len(views)]):
        rows = np.repeat(np.arange(energy.n), np.diff(matrix.indptr))
        for k, i in zip(rows.tolist(), matrix.indices.tolist()):
            home.setdefault(k, (j, []))[1].append(i)
    matrix = energy.quadratic.tocsr()
    observed = dict(zip(energy.observed.index.tolist(), energy.observed.value.tolist()))
    out = []
    for k in range(energy.n):
        variable = energy.variable_of(k)
        low, high = matrix.indptr[k], matrix.indptr[k + 1]
        others = [
            (int(c), float(v))
            for c, v in zip(matrix.indices[low:high], matrix.data[low:high])
            if c != k and v
        ]
        others.sort(key=lambda e: -abs(e[1]))
        j, inside = home.get(k, (-1, []))
        out.append(
            {
                "l": energy.label(k),
                "decl": line(variable.span),
                "lines": sorted({at for at, members in origins if at is not None and k in members}),
                "j": j,
                "i": inside,
                "obs": observed.get(k),
                "nb": [[c, float(f"{v:.4g}")] for c, v in others[:_NEIGHBOURS]],
                "deg": len(others),
                "h": float(f"{energy.linear[k]:.6g}"),
                "q": float(f"{matrix[k, k]:.6g}"),
                "for": variable.stands_for,
            }
        )
    return out


# --- facts in words ---------------------------------------------------------------------------------------------------


def headline(content: Content) -> list[Fact]:
    """The figures at the head of the page."""
    program = content.program
    device = program.device
    facts = [("coordinates", f"{program.source.n:,}"), ("couplings", f"{_pairs(program.source):,}")]
    codes = [c for job in program.jobs if (c := codes_of(job)) is not None]
    most = max((c.n for c in codes), default=0)
    of = "" if device.topology.nodes is None else f" of {device.topology.nodes:,}"
    facts.append(("cells in use", f"{most:,}{of}"))
    facts.append(("couplers set", f"{max((len(c.edges) for c in codes), default=0):,}"))
    if len(program.jobs) > 1:
        facts.append(("jobs", f"{len(program.jobs):,}"))
    last = {e.job: e for e in program.ledger if e.basis != "none"}
    if last:
        kl = max(e.kl_forward for e in last.values())
        sd = max(e.sd_error for e in last.values())
        facts.append(("KL, nats a variable", f"{kl:.2g}"))
        facts.append(("worst sd", _percent(sd)))
    return facts


def _percent(v: float) -> str:
    """A relative error for the eye."""
    return "rounding" if abs(v) < 1e-12 else f"{100 * v:.2g} %"


def _pairs(energy: Energy) -> int:
    matrix = energy.quadratic.tocsr()
    return int((matrix.nnz - np.count_nonzero(matrix.diagonal())) // 2)


def schedule_facts(content: Content, job: Job) -> list[Fact]:
    """When the job is read, and what it costs."""
    value, spec = job.value, content.program.device_of(job).spec
    if not isinstance(value, Configuration):
        return [("schedule", "none yet: the job is not compiled to the end")]
    s, codes = value.schedule, value.codes
    clock = spec.family in (Family.CAPACITIVE, Family.RESISTIVE)
    draws = s.draws * s.chains
    facts = [
        ("settle", duration(s.settle, spec.family)),
        ("a draw every", duration(s.interval, spec.family)),
        ("draws", f"{s.draws:,} × {s.chains} chains = {draws:,}"),
        ("effective", f"{s.ess_per_draw:.3g} a draw, {s.ess_per_draw * draws:,.0f} in all"),
    ]
    busy = s.settle + s.draws * s.interval
    if not clock and spec.timing.update_rate is not None:
        facts.append(("device time, a chain", si(busy / spec.timing.update_rate, "s")))
    elif clock:
        facts.append(("device time, a chain", si(busy + spec.timing.configure, "s")))
    if s.host_operations:
        facts.append(("host", f"{s.host_operations:,.0f} multiplications a draw"))
    facts.append(("members", str(codes.members)))
    facts.append(("scale", scale(codes.family, float(codes.scale[0]))))
    prices = spec.energy
    per_draw = prices.sample
    if per_draw is None and prices.update is not None and not clock:
        per_draw = prices.update * codes.n * max(s.interval, 1.0)
    facts.append(("energy of a draw", "no price is known" if per_draw is None else si(per_draw, "J")))
    if prices.configure is not None:
        facts.append(("energy of loading", si(prices.configure, "J")))
    if per_draw is not None:
        facts.append(("energy of all draws", si(per_draw * draws, "J")))
    return facts


def provenance_facts(program: Program) -> list[Fact]:
    """Where the program comes from."""
    p, device = program.provenance, program.device
    facts = [
        ("spucc", p.version or "unknown"),
        ("program", p.program_digest or "built in Python"),
        ("data", p.data_digest or "none"),
        ("device", f"{device.name}, {device.family}, {device.topology.kind}"),
        ("device fingerprint", device.fingerprint),
        ("pipeline", program.pipeline or ", ".join(s.name for s in program.steps)),
    ]
    if device.spec.description:
        facts.insert(4, ("about it", device.spec.description))
    if device.spec.dead.cells or device.spec.dead.couplers:
        facts.append(
            ("dead", f"{len(device.spec.dead.cells)} cells, {len(device.spec.dead.couplers)} couplers")
        )
    measured = [k for k, v in vars(device.calibration).items() if v is not None]
    facts.append(("calibration", ", ".join(measured) if measured else "nominal values"))
    return facts
