"""What the page knows: a program as plain data for the script, and as facts for the reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.energy import Energy
from spucc.explaining.replay import replayed
from spucc.fidelity.moments import DENSE, Moments, moments_of, target_moments
from spucc.ir.facts import describe
from spucc.ir.show import cell_names
from spucc.report.album import Album
from spucc.report.chip import Board, board_of
from spucc.report.matrices import Shelf, cells_matrix, errors, names_of_blocks
from spucc.report.variables import variables_of
from spucc.stages import Configuration, Job, LedgerEntry, Program, Quantized, Step

SHELF_BYTES = 700_000
"""What the matrices of all jobs may take, and the settings of an ensemble's members; those for which nothing is left go
without."""


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
    last: int
    """Passes that the first job went through."""


def content_of(program: Program, album: Album | None = None) -> Content:
    """Compute the page's content. Without an album the states between the passes are not known: the page then has the model,
    the ledger, the notes of every pass, and what came out last."""
    shelf = Shelf(room=SHELF_BYTES)
    common = [s.name for s in program.steps]
    chains = dict.fromkeys((*common, *(s.name for s in j.steps)) for j in program.jobs) or {
        tuple(common): None
    }
    shots = _aligned(max(chains, key=len), album)
    views = [_view(program, job, shots, shelf) for job in program.jobs]
    for view in views:
        view.data["chain"] = list(chains).index((*common, *(s.name for s in view.job.steps)))
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
        "passes": [
            [{"name": n.partition("{")[0], "text": n, "why": _why(n)} for n in chain] for chain in chains
        ],
        "whole": whole,
        "model": notes,
        "vars": variables_of(program),
        "jobs": [v.data for v in views],
        "shelf": shelf.packed,
    }
    return Content(program, views, data, len(next(iter(chains))))


def _why(text: str) -> str:
    """The sentence on why a pass stands where it does."""
    from spucc.passes import registry

    known = registry().get(text.partition("{")[0])
    return known().why if known is not None else ""


def _aligned(passes: Sequence[str], album: Album | None) -> dict[int, Any]:
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
    # Nobody watches the two pipelines of a pair of devices.
    again = replayed(program, job) if program.device.partner is not None else {}
    for k in range(whole + len(job.steps)):
        step = job.steps[k - whole] if k >= whole else None
        at = _at(shots.get(k), job, k, whole)
        if at is None and step is not None:
            at = again.get(step.name.partition("{")[0])
        view.data["steps"][k] = _step(program, view, at, step, by_pass, known, shelf)
    view.data["members"] = _members(program, view, shelf)
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
    found: dict[str, Any] = {"mean": _list(m.mean), "sd": _list(m.sd)}
    if shelf.room > 0:
        found["corr"] = shelf.put(m.correlation)
    if m.precision is not None and shelf.room > 0:
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
    if "corr" not in view.data["asked"]:
        return out
    out["corr"] = shelf.put(errors(made.correlation, asked.correlation))
    if "prec" in view.data["asked"] and made.precision is not None and asked.precision is not None:
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
    out: dict[str, Any] = {"placed": hasattr(value, "cell")}
    if shelf.room <= 0:
        return out
    out["cells"] = shelf.put(matrix)
    if isinstance(value, Quantized) and value.members > 1:
        out["ensemble"] = True
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


def _members(program: Program, view: JobView, shelf: Shelf) -> list[dict[str, Any]]:
    """Of each member of an ensemble after the first, as far as there is room: the cells and couplers that are set otherwise
    than the first one's, and the matrix of its cells."""
    first = view.board
    if first is None or first.codes.n > DENSE:
        return []
    found: list[dict[str, Any]] = []
    device = program.device_of(view.job)
    for m in range(1, first.codes.members):
        other = board_of(device, view.job, member=m)
        if other is None or shelf.room <= 0:
            break
        cells = {
            p: [text, _round(v)]
            for p, (text, v) in enumerate(zip(other.text, other.value.tolist()))
            if text != first.text[p]
        }
        edges = {
            e: [text, round(s, 3)]
            for e, (text, s) in enumerate(zip(other.setting, other.strength.tolist()))
            if text != first.setting[e]
        }
        matrix = cells_matrix(view.job, device, m)
        if matrix is None:
            break
        found.append({"cells": cells, "edges": edges, "m": shelf.put(matrix)})
        shelf.room -= 50 * (len(cells) + len(edges))
    return found


def _round(v: float) -> float | None:
    return round(v, 3) if np.isfinite(v) else None


def _list(values: FloatArray) -> list[float]:
    return [float(f"{v:.9g}") for v in values.tolist()]
