"""What a pass changed, and how two programs differ, for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spucc.device import Device
from spucc.energy import Energy
from spucc.ir.equal import identical
from spucc.ir.facts import Facts, describe, facts, figure, percent
from spucc.ir.text import aligned
from spucc.stages import Job, LedgerEntry, Program, State, Step

MOST = 40
"""Rows of a comparison that are shown."""


def diff_states(before: State, after: State, most: int = MOST) -> str:
    """What a pass changed, as text: the stage, the model, each job's entries by the user's names (at most `most` a job),
    the steps it left behind with their notes and read-backs, and what the ledger gained."""
    rows: list[str] = []
    if before.stage is not after.stage:
        rows.append(f"stage: {before.stage} → {after.stage}")
    if not identical(before.device, after.device):
        rows.append(f"device: {before.device.name} → {after.device.name}")
    rows += _steps(after.steps[len(before.steps) :], "")
    if not identical(before.model, after.model):
        rows.append("model:")
        rows += _compared(_of(before.model, before), _of(after.model, after), most)
    rows += _jobs(before.jobs, after.jobs, before.device, after.device, most)
    rows += _gained(before.ledger, after.ledger)
    return "\n".join(rows) if rows else "nothing changed"


def diff_programs(a: Program, b: Program, most: int = MOST) -> str:
    """How program b differs from program a, as text: device, pipeline, sources, variables, placement and codes by the
    user's names (at most `most` rows a job), schedule, predicted errors."""
    rows: list[str] = []
    heads = {
        "device": (a.device.name, b.device.name),
        "device fingerprint": (a.device.fingerprint, b.device.fingerprint),
        "pipeline": (a.pipeline, b.pipeline),
        "spucc": (a.provenance.version, b.provenance.version),
        "program text": (_short(a.provenance.program_digest), _short(b.provenance.program_digest)),
        "data": (_short(a.provenance.data_digest), _short(b.provenance.data_digest)),
    }
    rows += _compared({k: v[0] for k, v in heads.items()}, {k: v[1] for k, v in heads.items()}, most)
    rows += _headed("variables:", _compared(_variables(a.source), _variables(b.source), most))
    rows += _headed("queries:", _compared(_queries(a.source), _queries(b.source), most))
    if not identical(a.model, b.model):
        rows += _headed("model:", _compared(_of(a.model, a), _of(b.model, b), most))
    rows += _jobs(a.jobs, b.jobs, a.device, b.device, most)
    rows += _headed("predicted errors:", _compared(_errors(a.ledger), _errors(b.ledger), most))
    if rows:
        return "\n".join(rows)
    return (
        "the programs are the same"
        if identical(a, b)
        else "the programs differ only in what a board does not see"
    )


def _short(digest: str) -> str:
    return digest[:12]


def _of(energy: Energy, owner: State | Program) -> Facts:
    return facts(energy, energy, owner.device)


def _variables(energy: Energy) -> Facts:
    return {v.name: f"{v.domain}{list(v.shape) if v.shape else ''}" for v in energy.variables}


def _queries(energy: Energy) -> Facts:
    return {q.name: f"{q.kind} of {q.form.size} entries" if q.form else str(q.kind) for q in energy.queries}


def _headed(title: str, rows: Sequence[str]) -> list[str]:
    return [title, *rows] if rows else []


def _jobs(before: Sequence[Job], after: Sequence[Job], old: Device, new: Device, most: int) -> Iterator[str]:
    """Jobs by name: gone, new, changed."""
    was = {job.name: job for job in before}
    now = {job.name: job for job in after}
    for name in was:
        if name not in now:
            yield f"job {name}: gone"
    for name, job in now.items():
        if name not in was:
            yield f"job {name}: new, {job.target.n} of the model's coordinates"
            continue
        earlier = was[name]
        head = f"job {name}:"
        if type(earlier.value) is not type(job.value):
            head += f" {type(earlier.value).__name__} → {type(job.value).__name__}"
        rows = list(_steps(job.steps[len(earlier.steps) :], "  "))
        if not identical(earlier.value, job.value):
            rows += _compared(
                facts(earlier.value, earlier.target, old), facts(job.value, job.target, new), most
            )
        if rows or type(earlier.value) is not type(job.value):
            yield head
            yield from rows


def _steps(steps: Sequence[Step], indent: str) -> Iterator[str]:
    for step in steps:
        back = f": read back {describe(step.readback)}" if step.readback is not None else ""
        yield f"{indent}+ {step.name}{back}"
        for note in step.notes:
            yield f"{indent}    {note}"


def _compared(before: Mapping[str, str], after: Mapping[str, str], most: int) -> list[str]:
    """Rows for the facts that differ: `~ name  old → new`, `- name  old`, `+ name  new`."""
    found = []
    for key in [*after, *(k for k in before if k not in after)]:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if new is None:
            found.append(["-", key, str(old), "", ""])
        elif old is None:
            found.append(["+", key, "", "", new])
        else:
            found.append(["~", key, old, "→", new])
    lines = [f"  {line}" for line in aligned(found[:most], lambda column: True)] if found else []
    if len(found) > most:
        lines.append(f"  … and {len(found) - most} more")
    return lines


def _errors(ledger: Sequence[LedgerEntry]) -> Facts:
    """The last entry of each job."""
    return {entry.job: _error(entry) for entry in ledger}


def _error(entry: LedgerEntry) -> str:
    if entry.basis == "none":
        return entry.note or "nothing can be said"
    text = (
        f"KL {figure(entry.kl_forward, '', 3)} nats a variable, sd {percent(entry.sd_error, '', 3)}, "
        f"mean {figure(entry.mean_error, '', 3)} sd, correlation {figure(entry.correlation_error, '', 3)}"
    )
    return text + ("" if entry.basis == "exact" else f" ({entry.basis})")


def _gained(before: Sequence[LedgerEntry], after: Sequence[LedgerEntry]) -> Iterator[str]:
    """What the ledger says now, and what it said before."""
    last: dict[str, Any] = _errors(before)
    for entry in after[len(before) :]:
        text = _error(entry)
        was = last.get(entry.job)
        if was != text:
            yield f"lost by job {entry.job} up to {entry.name}: {text}" + (
                f"   (before: {was})" if was else ""
            )
        last[entry.job] = text
