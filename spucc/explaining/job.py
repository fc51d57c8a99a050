"""What carries a job's coordinates on the device: cells, couplers, read-out, schedule, and their part of the errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import sparse

from spucc.device import Device, Family
from spucc.explaining.replay import replayed
from spucc.fidelity.moments import Moments, moments_of, target_moments
from spucc.ir.facts import ROUNDING, describe, duration, figure, percent, scale, settings_of
from spucc.ir.show import names_of
from spucc.readback import Affine, Majority, ReadBack, fold
from spucc.stages import Configuration, Job, Program, Step

# Cells, couplers and terms that are listed before the rest is only counted.
MOST = 12

WIDTH = 12
_NAME = 15
_NOT_OFF = "sd 0 %, mean 0 sd"


def block(title: str, lines: Iterable[str]) -> list[str]:
    """A paragraph with its title to the left of the first line, or above it when it is long."""
    lines = list(lines)
    if lines and len(title) >= WIDTH:
        return [title, *(" " * WIDTH + line for line in lines)]
    return [f"{title if k == 0 else '':<{WIDTH}}{line}" for k, line in enumerate(lines)]


def configuration(job: Job) -> Configuration:
    """What a job of a program holds."""
    assert isinstance(job.value, Configuration), "the jobs of a program are configurations"
    return job.value


def carried(program: Program, job: Job, inside: np.ndarray, read: np.ndarray) -> Iterator[str]:
    """The paragraphs about coordinates `inside` of a job; `read` are the positions that the read-out makes them of."""
    codes, device = configuration(job).codes, program.device_of(job)
    labels = [job.target.label(int(k)) for k in inside[:MOST]]
    own = np.flatnonzero(np.isin(codes.coordinate, inside))
    also = np.setdiff1d(read[read < codes.n], own)
    yield from block("cells", _cells(device, job, own, also))
    yield from block("couplers", _couplers(device, job, own if own.size else also))
    yield from block("read-out", readout(job, inside, labels))
    yield from block("schedule", _schedule(job))
    yield from block("errors", errors(program, job, inside))


def _cells(device: Device, job: Job, own: np.ndarray, also: np.ndarray) -> Iterator[str]:
    codes = configuration(job).codes
    words, _ = settings_of(codes, device)
    names = names_of(codes, job.target)
    for group, mark in ((own, ""), (also, ", which its read-out needs")):
        for p in group.tolist()[:MOST]:
            chain = int((codes.chain == codes.chain[p]).sum())
            held = f", one of a chain of {chain}" if chain > 1 else ""
            yield f"{names[p]} on cell {codes.cell[p]}: {words[p]}{held}{mark}"
        if group.size > MOST:
            yield f"… and {group.size - MOST} more cells{mark}"
    if own.size + also.size:
        each = "" if codes.members == 1 else f" (of {codes.members} members the first)"
        yield f"scale {scale(codes.family, float(codes.scale[0]))}{each}"


def _couplers(device: Device, job: Job, cells: np.ndarray) -> Iterator[str]:
    codes = configuration(job).codes
    _, between = settings_of(codes, device)
    names = names_of(codes, job.target)
    touching = np.flatnonzero(np.isin(codes.edges, cells).any(axis=1))
    strength = np.abs(codes.coupling[0])[touching]
    for e in touching[np.argsort(-strength, kind="stable")].tolist()[:MOST]:
        p, q = codes.edges[e].tolist()
        inner = " (holds a chain together)" if codes.chain[p] == codes.chain[q] else ""
        yield f"{codes.cell[p]}–{codes.cell[q]}: {between[e]}, {names[p]} to {names[q]}{inner}"
    if touching.size > MOST:
        yield f"… and {touching.size - MOST} more couplers"


# --- the read-out ---------------------------------------------------------------------------------------------------


def readout(job: Job, inside: np.ndarray, labels: Sequence[str]) -> Iterator[str]:
    """How draws of the cells v become the coordinates, stage by stage where it is not one formula."""
    value = configuration(job)
    codes = value.codes
    cells = [f"v{c}" for c in codes.cell.tolist()]
    backs = fold(value.readback, job.target.n)
    if len(backs) == 1 and isinstance(backs[0], Affine):
        wholes = [backs[0].after(correction) for correction in codes.readback[:MOST]]
        rows = [
            [f"{label} = {formula(w.matrix[[k]], float(w.offset[k]), cells)}" for w in wholes]
            for k, label in zip(inside.tolist(), labels)
        ]
        for row in rows:
            if len(set(row)) == 1:
                yield row[0] + (f", in each of {codes.members} members" if codes.members > 1 else "")
            else:
                yield from (f"{text} (member {m} of {codes.members})" for m, text in enumerate(row))
        return
    at, names = inside, dict(zip(inside.tolist(), labels))
    for k, back in enumerate(backs):
        inputs = inputs_of(back, at)
        last = k + 1 == len(backs)
        after = {i: cells[i] if last and i < codes.n else f"{'yzw'[k % 3]}{i}" for i in inputs.tolist()}
        for target in at.tolist()[:MOST]:
            yield f"{names.get(target, f'y{target}')} = {_made(back, target, after)}"
        at, names = inputs, after


def _made(back: ReadBack, target: int, names: dict[int, str]) -> str:
    """An output of a read-back in terms of its inputs."""
    if isinstance(back, Affine):
        return formula(back.matrix[[target]], float(back.offset[target]), names)
    if isinstance(back, Majority):
        held = [names[i] for i in np.flatnonzero(back.chain == target).tolist()]
        return held[0] if len(held) == 1 else f"majority of {', '.join(held)}"
    return describe(back)


def inputs_of(back: ReadBack | None, at: np.ndarray) -> np.ndarray:
    """The coordinates of a read-back's input that its outputs `at` are made of."""
    if isinstance(back, Affine) and back.n_out > at.max(initial=-1):
        rows = sparse.csr_array(back.matrix[at])
        return np.unique(rows.indices[rows.data != 0])
    if isinstance(back, Majority):
        return np.flatnonzero(np.isin(back.chain, at))
    return at


def formula(row: sparse.csr_array, offset: float, names: Sequence[str] | dict[int, str] | None = None) -> str:
    """A row of a read-back, the largest factors first: `0.9 y3 + 0.5`."""
    entries = [(c, v) for c, v in zip(row.indices.tolist(), row.data.tolist()) if v != 0]
    entries.sort(key=lambda e: -abs(e[1]))
    terms = []
    for c, v in entries[:MOST]:
        name = names[c] if names is not None else f"y{c}"
        terms.append(name if v == 1.0 else f"-{name}" if v == -1.0 else f"{v:.6g} {name}")
    if len(entries) > MOST:
        terms.append(f"{len(entries) - MOST} more")
    if offset or not terms:
        terms.append(f"{offset:.6g}")
    return " + ".join(terms).replace("+ -", "- ")


def _schedule(job: Job) -> Iterator[str]:
    s, family = configuration(job).schedule, configuration(job).codes.family
    when = (
        "drawn at once"
        if family is Family.IDEAL
        else f"settle {duration(s.settle, family)}, a draw every {duration(s.interval, family)}"
    )
    yield f"{when}, {s.draws} draws of {s.chains} chains, {s.ess_per_draw:.3g} effective a draw"


# --- errors ---------------------------------------------------------------------------------------------------------


def errors(program: Program, job: Job, inside: np.ndarray) -> Iterator[str]:
    """By pass the job's ledger and the variables' own errors, then what they are in the end: of a variable what is exact."""
    device, picked = program.device_of(job), inside[:MOST].tolist()
    asked, made = target_moments(job, device), moments_of(job, device)
    if asked is None or made is None:
        yield from _by_pass(program, job, {})
        yield "what is made of a single variable cannot be computed exactly here: `spucc verify` draws and compares"
        return
    laws = {name: moments_of(at, device) for name, at in replayed(program, job).items()}
    off = {
        name: [(job.target.label(k), _off(job, k, asked, asked if law is None else law)) for k in picked]
        for name, law in laws.items()
    }
    yield from _by_pass(program, job, off)
    missing = [name for step in job.steps if (name := _plain(step)) not in laws]
    if missing:
        yield f"what {', '.join(missing)} left was not kept, and is too large, or was chosen with another seed, to be made again"
    for k in picked:
        yield _own(job, k, asked, made)


def _plain(step: Step) -> str:
    return step.name.partition("{")[0]


def _by_pass(program: Program, job: Job, off: dict[str, list[tuple[str, str]]]) -> Iterator[str]:
    """The passes that changed the job's KL, or how far a variable is off."""
    entries = {e.name: e for e in program.ledger if e.job == job.name and e.basis != "none"}
    kl, last = 0.0, dict[str, str]()
    for name in map(_plain, job.steps):
        entry, rows = entries.get(name), []
        if entry is not None and abs(entry.kl_forward - kl) > ROUNDING:
            about = "" if entry.basis == "exact" else f" ({entry.basis})"
            rows.append(
                f"KL of the job {figure(kl)} → {figure(entry.kl_forward)} nats a variable{about}, "
                f"worst sd {percent(entry.sd_error)}, worst mean {figure(entry.mean_error)} sd, "
                f"worst correlation {figure(entry.correlation_error)}"
            )
        kl = entry.kl_forward if entry is not None else kl
        for label, text in off.get(name, []):
            if text != last.get(label, _NOT_OFF):
                rows.append(f"{label}: {text}")
            last[label] = text
        yield from (f"{name + ':' if n == 0 else '':<{_NAME}} {row}" for n, row in enumerate(rows))


def _off(job: Job, k: int, asked: Moments, made: Moments) -> str:
    """How far one coordinate is off: sd, mean and its worst correlation."""
    shift = (made.mean[k] - asked.mean[k]) / asked.sd[k]
    text = f"sd {percent(made.sd[k] / asked.sd[k] - 1, '+')}, mean {figure(shift, '+')} sd"
    off = made.correlation[k] - asked.correlation[k]
    off[k] = 0.0
    worst = int(np.argmax(np.abs(off)))
    return text + (
        f", correlation with {job.target.label(worst)} {figure(off[worst], '+')}"
        if abs(off[worst]) > ROUNDING
        else ""
    )


def _own(job: Job, k: int, asked: Moments, made: Moments) -> str:
    """One coordinate's marginal: asked, and made."""
    label = job.target.label(k)
    m, s, m2, s2 = (float(a[k]) for a in (asked.mean, asked.sd, made.mean, made.sd))
    if not job.target.domains[0].size:
        up, up2 = ((v if k in job.target.domains[2] else (1 + v) / 2) for v in (m, m2))
        kl = _bernoulli(up, up2)
        text = f"{label} alone: probability of its upper value {up:.6g} asked, {up2:.6g} made"
    else:
        ratio = (s2 / s) ** 2
        shift = (m2 - m) / s
        kl = 0.5 * (1 / ratio - 1 + np.log(ratio) + shift**2 / ratio)
        text = (
            f"{label} alone: sd {s:.6g} asked, {s2:.6g} made ({percent(s2 / s - 1, '+')}); mean {m:.6g} asked, {m2:.6g} made "
            f"({figure(shift, '+')} sd)"
        )
    return f"{text}; KL of its marginal {figure(max(kl, 0.0))} nats"


def _bernoulli(p: float, q: float) -> float:
    """KL of two laws of one bit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [a * np.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0]
    return float(sum(parts))
