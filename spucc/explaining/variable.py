"""Where a variable of a program went, and what a coupler of the device is there for: the way through every pass, in words.

The way is read from what the passes left in the program. The errors of one variable come from the exact moments of target and
realised law, where `spucc.fidelity.ledger` can give them; for those after each pass `spucc.explaining.replay` runs the
passes again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from scipy import sparse

from spucc.diagnostics import Span, did_you_mean, fail
from spucc.energy import Energy, Variable
from spucc.explaining.job import (
    MOST,
    WIDTH,
    block,
    carried,
    configuration,
    errors,
    formula,
    inputs_of,
    readout,
)
from spucc.ir.facts import describe, settings_of
from spucc.ir.show import names_of
from spucc.readback import Affine, Majority
from spucc.stages import Job, Program, Step

_FEW = 3
"""Coordinates of one job that are followed further for one variable."""

_INDEXED = re.compile(r"\s*([A-Za-z_]\w*(?:\.\w+)*)\s*(?:\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\])?\s*", re.ASCII)


def explain_variable(program: Program, name: str) -> str:
    """From the line of the model to the cells, couplers, component values, codes and read-out that carry one entry of a
    variable, with its part of the errors. `name` as the user writes it: `x[3]`, `W[1, 2]`, `mu`.

    Raises E0617 for a name that the program does not have.
    """
    coordinate = _coordinate(program.source, name)
    label = program.source.label(coordinate)
    rows = [label, ""]
    rows += block("source", _source(program, coordinate))
    rows += block("model", _couplings(program.source, coordinate))
    at: np.ndarray = np.array([coordinate])
    passes, at = _passes(program.steps, at)
    rows += passes
    jobs = [(job, np.flatnonzero(np.isin(job.coordinates, at))) for job in program.jobs]
    jobs = [(job, inside) for job, inside in jobs if inside.size]
    if not jobs:
        rows += block("value", [_fixed(program, coordinate)])
    for job, inside in jobs:
        rows += _of_job(program, job, inside)
    if jobs:
        rows += ["", f"{'':<{WIDTH}}y: the coordinates that a pass leaves; v: the device's cells"]
    return "\n".join(rows)


def explain_coupler(program: Program, i: int, j: int) -> str:
    """The way back: what the coupler between cells i and j of the device is set to, which variables' interaction it
    carries, and which lines of the model ask for it.

    Raises E0617 for cells that no coupler joins.
    """
    device = program.device
    i, j = min(i, j), max(i, j)
    if device.topology.nodes is not None and (
        not 0 <= i < j < device.topology.nodes or device.coupler_ids(np.array([[i, j]]))[0] < 0
    ):
        fail(
            "E0617",
            f"`{device.name}` has no coupler between cells {i} and {j}",
            help=_near_couplers(program, i, j),
        )
    rows = [f"coupler {i}–{j} of {device.name}", ""]
    used = False
    for job in program.jobs:
        codes = configuration(job).codes
        at = {int(c): k for k, c in enumerate(codes.cell) if c in (i, j)}
        if len(at) < 2:
            continue
        used = True
        p, q = sorted(at.values())
        hit = np.flatnonzero((codes.edges == (p, q)).all(axis=1))
        if hit.size:
            rows += _of_coupler(program, job, int(hit[0]))
        else:
            names = names_of(codes, job.target)
            rows += block(f"job {job.name}", [f"joins {names[p]} and {names[q]}, and is switched off"])
    if not used:
        rows.append("no job of this program uses both cells: the coupler is idle")
    return "\n".join(rows).rstrip()


# --- names ----------------------------------------------------------------------------------------------------------


def _coordinate(energy: Energy, name: str) -> int:
    """The coordinate that a name such as `x[3]` stands for; negative indices count from the end."""
    match = _INDEXED.fullmatch(name)
    by_name = {v.name: v for v in energy.variables if not v.stands_for}
    if match is None or match[1] not in by_name:
        if match is not None and (made := [v for v in by_name.values() if v.name.startswith(f"{match[1]}.")]):
            fail(
                "E0617",
                f"`{match[1]}` is not drawn itself: it is made of `{made[0].name}`",
                help=_entries(made[0]),
            )
        near = did_you_mean(match[1] if match else name, by_name) or f"its variables are {', '.join(by_name)}"
        fail("E0617", f"the program has no variable `{name[:60]}`", help=near)
    variable = by_name[match[1]]
    index = [int(k) for k in match[2].split(",")] if match[2] else []
    if len(index) != len(variable.shape) or any(not -n <= k < n for k, n in zip(index, variable.shape)):
        fail("E0617", f"`{name[:60]}` is no single entry of `{variable.name}`", help=_entries(variable))
    inside = [k % n for k, n in zip(index, variable.shape)]
    entry = int(np.ravel_multi_index(inside, variable.shape)) if inside else 0
    if variable.entries is not None:
        kept = np.flatnonzero(variable.entries == entry)
        if not kept.size:
            fail("E0617", f"`{name[:60]}` is not in the program: no query needs it, or it is given")
        entry = int(kept[0])
    return variable.start + entry


def _entries(variable: Variable) -> str:
    if variable.size == 0:
        return "it has no entries"
    if not variable.shape:
        return f"it is a single number: write `{variable.name}`"
    return f"its entries are `{variable.label(0)}` to `{variable.label(variable.size - 1)}`"


def _near_couplers(program: Program, i: int, j: int) -> str:
    edges = program.device.topology.edges
    of_cell = edges[(edges == i).any(axis=1)][:MOST]
    if not len(of_cell):
        return "`spucc targets` shows the device's couplers"
    return f"cell {i} has " + ", ".join(f"{a},{b}" for a, b in of_cell.tolist())


# --- the model ------------------------------------------------------------------------------------------------------


def _source(program: Program, coordinate: int) -> Iterator[str]:
    """Its declaration, and every statement that speaks of it."""
    texts = dict(program.provenance.sources)
    variable = program.source.variable_of(coordinate)
    if variable.span is not None:
        yield _quoted(variable.span, texts)
    narrow = sorted(program.source.origins, key=lambda o: (o.coordinates.size, o.span))
    found = {(o.span.file, o.span.line): o.span for o in narrow if coordinate in o.coordinates}
    if variable.span is not None:
        found.pop((variable.span.file, variable.span.line), None)
    spans = list(found.values())
    for span in spans[:MOST]:
        yield _quoted(span, texts)
    if len(spans) > MOST:
        yield f"… and {len(spans) - MOST} more statements"


def _quoted(span: Span, texts: dict[str, str]) -> str:
    """`model.spu:3   x[1:] ~ normal(…)`: the place and its line."""
    lines = texts.get(span.file, "").split("\n")
    text = lines[span.line - 1].strip() if span.line <= len(lines) else ""
    return f"{span.file}:{span.line}:{span.column}   {text}".rstrip()


def _couplings(energy: Energy, k: int) -> Iterator[str]:
    """Its own term and its neighbours in the energy."""
    row = sparse.csr_array(energy.quadratic.tocsr()[[k]])
    own = float(row[0, k])
    yield f"own term {own:.6g}, linear term {energy.linear[k]:.6g}"
    observed = np.flatnonzero(energy.observed.index == k)
    if observed.size:
        yield f"observed at {energy.observed.value[observed[0]]:.6g}"
    others = [(int(c), float(v)) for c, v in zip(row.indices, row.data) if c != k and v != 0]
    others.sort(key=lambda e: -abs(e[1]))
    listed = [f"{energy.label(c)} {v:+.4g}" for c, v in others[:MOST]]
    if listed:
        more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
        yield f"interacts with {', '.join(listed)}{more}"
    high = sum(int((t.index == k).any(axis=1).sum()) for t in energy.higher)
    if high:
        yield f"stands in {high} term{'s' if high > 1 else ''} of degree 3 or more"


def _fixed(program: Program, coordinate: int) -> str:
    observed = program.source.observed
    at = np.flatnonzero(observed.index == coordinate)
    if at.size:
        return f"observed at {observed.value[at[0]]:.6g}: no cell carries it"
    return "no cell carries it"


# --- the passes -----------------------------------------------------------------------------------------------------


def _passes(steps: Iterable[Step], at: np.ndarray) -> tuple[list[str], np.ndarray]:
    """What passes did to coordinates `at`, those that left them alone in one line, and what they are made of after them."""
    rows: list[str] = []
    idle: list[str] = []

    def rest() -> list[str]:
        found = block("unchanged", [f"by {', '.join(idle)}"]) if idle else []
        idle.clear()
        return found

    for step in steps:
        lines = list(_through(step, at))
        if lines:
            rows += [*rest(), *block(step.name, lines)]
        else:
            idle.append(step.name)
        at = inputs_of(step.readback, at)
    return rows + rest(), at


def _through(step: Step, at: np.ndarray) -> Iterator[str]:
    """What a pass did to the coordinates `at` of its input; y are those of its output. Nothing where it left them alone."""
    back = step.readback
    if isinstance(back, Affine) and back.n_out > at.max(initial=-1):
        made = {
            k: formula(sparse.csr_array(back.matrix[[k]]), float(back.offset[k])) for k in at.tolist()[:MOST]
        }
        if any(text != f"y{k}" for k, text in made.items()):
            yield from (f"y{k} ← {text}" if at.size > 1 else f"= {text}" for k, text in made.items())
    elif isinstance(back, Majority):
        held = {k: np.flatnonzero(back.chain == k).tolist() for k in at.tolist()[:MOST]}
        for k, cells in held.items():
            if cells != [k]:
                made_of = ", ".join(f"y{c}" for c in cells[:MOST]) + (" …" if len(cells) > MOST else "")
                text = made_of if len(cells) == 1 else f"majority of {made_of}"
                yield f"y{k} ← {text}" if at.size > 1 else f"= {text}"
    elif back is not None:
        yield describe(back)
    yield from step.notes


# --- the job --------------------------------------------------------------------------------------------------------


def _of_job(program: Program, job: Job, inside: np.ndarray) -> Iterator[str]:
    """A job's passes, and what carries coordinates `inside` of it."""
    if inside.size > _FEW:
        labels = ", ".join(f"`{job.target.label(int(k))}`" for k in inside[:MOST])
        more = " …" if inside.size > MOST else ""
        yield from block(
            f"job {job.name}", [f"its draws are made of {labels}{more} too, each of which can be explained"]
        )
        return
    listed = ", ".join(map(str, inside.tolist()))
    yield from block(f"job {job.name}", [f"coordinate {listed} of {job.target.n}"])
    rows, read = _passes(job.steps, inside)
    yield from rows
    yield from carried(program, job, inside, read)


def _of_coupler(program: Program, job: Job, edge: int) -> Iterator[str]:
    """One coupler of a job, backwards to the lines of the model."""
    codes = configuration(job).codes
    p, q = codes.edges[edge].tolist()
    _, between = settings_of(codes, program.device_of(job))
    names = names_of(codes, job.target)
    yield from block(
        f"job {job.name}", [f"joins {names[p]} (cell {codes.cell[p]}) and {names[q]} (cell {codes.cell[q]})"]
    )
    yield from block("setting", [between[edge]])
    if codes.chain[p] == codes.chain[q]:
        yield from block("purpose", ["holds a chain together: both cells stand for the same variable"])
        return
    a, b = int(codes.coordinate[p]), int(codes.coordinate[q])
    if a < 0 or b < 0:
        yield from block(
            "purpose", ["joins a cell that stands for no variable of its own (a border or an auxiliary cell)"]
        )
        return
    if a == b:
        yield from block("purpose", ["joins the two halves of a double cover"])
        return
    entry = float(job.target.quadratic.tocsr()[a, b])
    yield from block("model", [f"{job.target.label(a)} {job.target.label(b)}: {entry:.6g} in the energy"])
    origins = [o for o in job.target.origins if np.isin([a, b], o.coordinates).all()]
    texts = dict(program.provenance.sources)
    lines = [_quoted(o.span, texts) for o in sorted(origins, key=lambda o: (o.coordinates.size, o.span))]
    if entry == 0.0:
        lines.append("the model does not ask for it: the board cannot switch it off, or a pass made it")
    yield from block("source", lines[:MOST])
    yield from block("read-out", (readout(job, np.array([a, b]), [job.target.label(a), job.target.label(b)])))
    yield from block("errors", (errors(program, job, np.array([a, b]))))
