"""Where a variable of a program went, and what a coupler of the device is there for: the way through every pass, in words.

Nothing here computes a program anew: it reads what the passes left in it. The errors of one variable come from the exact
moments of target and realised law, where `spucc.fidelity` can give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import linalg, sparse

from spucc.diagnostics import Span, did_you_mean, fail
from spucc.energy import Energy, Variable
from spucc.fidelity import DENSE_LIMIT, realised_law
from spucc.ir.facts import describe, scale, settings_of
from spucc.ir.show import names_of, si
from spucc.readback import Affine, Majority, ReadBack
from spucc.stages import Configuration, Job, Program, Quantized, Step

_INDEXED = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\])?\s*", re.ASCII)

# Divergences below it are what double precision leaves.
_ROUNDING = 1e-14

# Neighbours, couplers and cells that are listed before the rest is only counted.
_MOST = 12


def explain_variable(program: Program, name: str) -> str:
    """From the line of the model to the cells, couplers, component values, codes and read-out that carry one entry of a
    variable, with its part of the errors. `name` as the user writes it: `x[3]`, `W[1, 2]`, `mu`.

    Raises E0617 for a name that the program does not have.
    """
    coordinate = _coordinate(program.source, name)
    label = program.source.label(coordinate)
    rows = [label, ""]
    rows += _block("source", _source(program, coordinate))
    rows += _block("model", _couplings(program.source, coordinate))
    at: np.ndarray = np.array([coordinate])
    for step in program.steps:
        rows += _block(step.name, _through(step, at))
        at = _inputs(step.readback, at)
    jobs = [(job, np.flatnonzero(np.isin(job.coordinates, at))) for job in program.jobs]
    jobs = [(job, inside) for job, inside in jobs if inside.size]
    if not jobs:
        rows += _block("value", [_fixed(program, coordinate)])
    for job, inside in jobs:
        rows += _of_job(program, job, inside)
    return "\n".join(rows).rstrip()


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
        codes = _codes(job)
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
            rows += _block(f"job {job.name}", [f"joins {names[p]} and {names[q]}, and is switched off"])
    if not used:
        rows.append("no job of this program uses both cells: the coupler is idle")
    return "\n".join(rows).rstrip()


# --- names ----------------------------------------------------------------------------------------------------------


def _coordinate(energy: Energy, name: str) -> int:
    """The coordinate that a name such as `x[3]` stands for; negative indices count from the end."""
    match = _INDEXED.fullmatch(name)
    by_name = {v.name: v for v in energy.variables if not v.stands_for}
    if match is None or match[1] not in by_name:
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
    of_cell = edges[(edges == i).any(axis=1)][:_MOST]
    if not len(of_cell):
        return "`spucc targets` shows the device's couplers"
    return f"cell {i} has " + ", ".join(f"{a},{b}" for a, b in of_cell.tolist())


_WIDTH = 12


def _block(title: str, lines: Iterable[str]) -> list[str]:
    """A paragraph with its title to the left of the first line, or above it when it is long."""
    lines = list(lines)
    if lines and len(title) >= _WIDTH:
        return [title, *(" " * _WIDTH + line for line in lines)]
    return [f"{title if k == 0 else '':<{_WIDTH}}{line}" for k, line in enumerate(lines)]


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
    for span in spans[:_MOST]:
        yield _quoted(span, texts)
    if len(spans) > _MOST:
        yield f"… and {len(spans) - _MOST} more statements"


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
    listed = [f"{energy.label(c)} {v:+.4g}" for c, v in others[:_MOST]]
    if listed:
        more = f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
        yield f"interacts with {', '.join(listed)}{more}"
    high = sum(int((t.index == k).any(axis=1).sum()) for t in energy.higher)
    if high:
        yield f"stands in {high} terms of degree 3 or more"


def _fixed(program: Program, coordinate: int) -> str:
    observed = program.source.observed
    at = np.flatnonzero(observed.index == coordinate)
    if at.size:
        return f"observed at {observed.value[at[0]]:.6g}: no cell carries it"
    return "no cell carries it"


# --- the passes -----------------------------------------------------------------------------------------------------


def _rows(back: ReadBack | None, at: np.ndarray) -> sparse.csr_array | None:
    return (
        sparse.csr_array(back.matrix[at])
        if isinstance(back, Affine) and back.n_out > at.max(initial=-1)
        else None
    )


def _inputs(back: ReadBack | None, at: np.ndarray) -> np.ndarray:
    """The coordinates of a read-back's input that its outputs `at` are made of."""
    rows = _rows(back, at)
    if rows is not None:
        return np.unique(rows.indices[rows.data != 0])
    if isinstance(back, Majority):
        return np.flatnonzero(np.isin(back.chain, at))
    return at


def _through(step: Step, at: np.ndarray) -> Iterator[str]:
    """What a pass did to the coordinates `at` of its input; y are those of its output."""
    back = step.readback
    rows = _rows(back, at)
    if rows is not None and isinstance(back, Affine):
        for k, target in enumerate(at.tolist()[:_MOST]):
            made = _sum(rows[[k]], float(back.offset[target]))
            yield (
                "unchanged"
                if made == f"y{target}"
                else (f"[{target}] = {made}" if at.size > 1 else f"= {made}")
            )
    elif back is not None:
        yield describe(back)
    yield from step.notes
    if back is None and not step.notes:
        yield "unchanged"


def _sum(row: sparse.csr_array, offset: float, names: Sequence[str] | None = None) -> str:
    """A row of a read-back as a formula: `0.9 y3 + 0.5`."""
    entries = list(zip(row.indices.tolist(), row.data.tolist()))
    terms = []
    for c, v in entries[:_MOST]:
        name = names[c] if names is not None else f"y{c}"
        terms.append(name if v == 1.0 else f"{v:.6g} {name}")
    if len(entries) > _MOST:
        terms.append(f"{len(entries) - _MOST} more")
    if offset or not terms:
        terms.append(f"{offset:.6g}")
    return " + ".join(terms).replace("+ -", "- ")


# --- the job --------------------------------------------------------------------------------------------------------


def _codes(job: Job) -> Quantized:
    value = job.value
    assert isinstance(value, Configuration), "the jobs of a program are configurations"
    return value.codes


def _of_job(program: Program, job: Job, inside: np.ndarray) -> Iterator[str]:
    """Cells, couplers, read-out and errors of coordinates `inside` of a job."""
    codes, labels = _codes(job), [job.target.label(int(k)) for k in inside[:_MOST]]
    yield from _block(
        f"job {job.name}", [f"coordinate {', '.join(map(str, inside[:_MOST].tolist()))} of {job.target.n}"]
    )
    at: np.ndarray = inside
    for step in job.steps:
        yield from _block(step.name, (_through(step, at)))
        at = _inputs(step.readback, at)
    cells = np.flatnonzero(np.isin(codes.coordinate, inside))
    if not cells.size:
        cells = at[at < codes.n]
    yield from _block("cells", (_cells(program, job, cells)))
    yield from _block("couplers", (_couplers(program, job, cells)))
    yield from _block("read-out", (_readout(job, inside, labels)))
    yield from _block("schedule", (_schedule(job)))
    yield from _block("errors", (_errors(program, job, inside)))


def _cells(program: Program, job: Job, cells: np.ndarray) -> Iterator[str]:
    codes = _codes(job)
    own, _ = settings_of(codes, program.device)
    names = names_of(codes, job.target)
    for p in cells.tolist()[:_MOST]:
        chain = int((codes.chain == codes.chain[p]).sum())
        held = f", one of a chain of {chain}" if chain > 1 else ""
        yield f"{names[p]} on cell {codes.cell[p]}: ground {own[p]}{held}"
    if cells.size > _MOST:
        yield f"… and {cells.size - _MOST} more cells"
    if cells.size:
        yield f"scale {scale(codes.family, float(codes.scale[0]))}"


def _couplers(program: Program, job: Job, cells: np.ndarray) -> Iterator[str]:
    codes = _codes(job)
    _, between = settings_of(codes, program.device)
    names = names_of(codes, job.target)
    touching = np.flatnonzero(np.isin(codes.edges, cells).any(axis=1))
    strength = np.abs(codes.coupling[0])[touching]
    for e in touching[np.argsort(-strength, kind="stable")].tolist()[:_MOST]:
        p, q = codes.edges[e].tolist()
        inner = " (holds a chain together)" if codes.chain[p] == codes.chain[q] else ""
        yield f"{codes.cell[p]}–{codes.cell[q]}: {between[e]}, {names[p]} to {names[q]}{inner}"
    if touching.size > _MOST:
        yield f"… and {touching.size - _MOST} more couplers"


def _readout(job: Job, inside: np.ndarray, labels: Sequence[str]) -> Iterator[str]:
    """The formula from cells to the coordinates, or what else happens on the way."""
    value = job.value
    assert isinstance(value, Configuration)
    codes = value.codes
    cells = [f"v{c}" for c in codes.cell.tolist()]
    for back in value.readback:
        if not isinstance(back, Affine):
            yield describe(back)
    if len(value.readback) == 1 and isinstance(value.readback[0], Affine):
        for m in range(min(codes.members, 2)):
            whole = value.readback[0].after(codes.readback[m])
            mark = f" (member {m} of {codes.members})" if codes.members > 1 else ""
            for k, label in zip(inside.tolist(), labels):
                yield f"{label} = {_sum(whole.matrix[[k]], float(whole.offset[k]), cells)}{mark}"


def _schedule(job: Job) -> Iterator[str]:
    value = job.value
    assert isinstance(value, Configuration)
    s = value.schedule
    yield (
        f"settle {si(s.settle, 's')}, a draw every {si(s.interval, 's')}, {s.draws} draws of {s.chains} chains, "
        f"{s.ess_per_draw:.3g} effective a draw"
    )


def _errors(program: Program, job: Job, inside: np.ndarray) -> Iterator[str]:
    """The job's ledger by pass, and the variable's own error where exact moments can be had."""
    before = 0.0
    for entry in program.ledger:
        if entry.job != job.name or entry.basis == "none":
            continue
        if abs(entry.kl_forward - before) > _ROUNDING:
            yield (
                f"{entry.name}: KL of the job {before:.3g} → {entry.kl_forward:.3g} nats a variable, "
                f"worst sd {100 * entry.sd_error:.2g} %, worst mean {entry.mean_error:.2g} sd"
            )
        before = entry.kl_forward
    yield from _own_errors(program, job, inside)


def _own_errors(program: Program, job: Job, inside: np.ndarray) -> Iterator[str]:
    gaussian = job.target.is_gaussian and _codes(job).domain == "real"
    if not gaussian or job.target.n > DENSE_LIMIT:
        return
    try:
        precision = job.target.quadratic.toarray() / job.target.temperature
        cov = linalg.inv(precision)
        mean = cov @ (-job.target.linear / job.target.temperature)
        realised_mean, realised_cov = realised_law(job, program.device)
    except (linalg.LinAlgError, np.linalg.LinAlgError):
        return
    if not (np.diagonal(cov) > 0).all() or not (np.diagonal(realised_cov) > 0).all():
        return
    for k in inside.tolist()[:_MOST]:
        sd, got = float(np.sqrt(cov[k, k])), float(np.sqrt(realised_cov[k, k]))
        shift = (float(realised_mean[k]) - float(mean[k])) / sd
        ratio = (got / sd) ** 2
        own = 0.5 * (1 / ratio - 1 + np.log(ratio) + shift**2 / ratio)
        correlation = np.abs(
            realised_cov[k] / (got * np.sqrt(np.diagonal(realised_cov)))
            - cov[k] / (sd * np.sqrt(np.diagonal(cov)))
        )
        worst = int(np.argmax(correlation))
        yield (
            f"{job.target.label(k)} alone: sd {sd:.6g} asked, {got:.6g} made ({100 * (got / sd - 1):+.2g} %); mean "
            f"{mean[k]:.6g} asked, {realised_mean[k]:.6g} made ({shift:+.2g} sd); KL of its marginal {max(own, 0.0):.2g} nats"
        )
        if correlation[worst] > 0:
            yield f"worst correlation: with {job.target.label(worst)}, off by {correlation[worst]:.2g}"


def _of_coupler(program: Program, job: Job, edge: int) -> Iterator[str]:
    """One coupler of a job, backwards to the lines of the model."""
    codes = _codes(job)
    p, q = codes.edges[edge].tolist()
    _, between = settings_of(codes, program.device)
    names = names_of(codes, job.target)
    yield from _block(
        f"job {job.name}", [f"joins {names[p]} (cell {codes.cell[p]}) and {names[q]} (cell {codes.cell[q]})"]
    )
    yield from _block("setting", [between[edge]])
    if codes.chain[p] == codes.chain[q]:
        yield from _block("purpose", ["holds a chain together: both cells stand for the same variable"])
        return
    a, b = int(codes.coordinate[p]), int(codes.coordinate[q])
    if a < 0 or b < 0:
        yield from _block(
            "purpose", ["joins a cell that stands for no variable of its own (a border or an auxiliary cell)"]
        )
        return
    if a == b:
        yield from _block("purpose", ["joins the two halves of a double cover"])
        return
    entry = float(job.target.quadratic.tocsr()[a, b])
    yield from _block("model", [f"{job.target.label(a)} {job.target.label(b)}: {entry:.6g} in the energy"])
    origins = [o for o in job.target.origins if np.isin([a, b], o.coordinates).all()]
    texts = dict(program.provenance.sources)
    lines = [_quoted(o.span, texts) for o in sorted(origins, key=lambda o: (o.coordinates.size, o.span))]
    if entry == 0.0:
        lines.append("the model does not ask for it: the board cannot switch it off, or a pass made it")
    yield from _block("source", lines[:_MOST])
    yield from _block(
        "read-out", (_readout(job, np.array([a, b]), [job.target.label(a), job.target.label(b)]))
    )
    yield from _block("errors", (_errors(program, job, np.array([a, b]))))
