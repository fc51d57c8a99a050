"""Mixed models that do not separate: the two devices of a pair take turns, each loaded anew with what the other one drew.

    x ~ p(x | s) on the device of the reals,    s ~ p(s | x) on the device of the spins,    and again

is Gibbs sampling in two blocks (Geman and Geman 1984): the draws follow one another, and their law is the model's. In a spike
and slab, y ~ normal(X (s∘b), σ), b given s is Gaussian with a precision that s sets, s given b is an Ising model. The host
computes each load from the polynomial, and the passes of the device make it (`-O0`: rounded quickly).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.backend import Mode, Progress, Request
from spucc.device import Device
from spucc.diagnostics import SpuccError, fail
from spucc.energy import Energy
from spucc.pipeline import Context, Observer, Pass, parse_passes, run_passes
from spucc.running.mixed import obstacle, unobserved
from spucc.stages import Configuration, Job, LedgerEntry, Program, Provenance, Stage, State, Step
from spucc.threads import one_blas_thread

SETTLE = 100
"""Turns of each chain before its first draw."""

# Draws of all chains between two checkpoints; loads that are kept for when the same spins come again.
_CHUNK, _KEPT = 128, 4096


_QUICK = Context(optimize=0)


@dataclass(eq=False)
class _Side:
    """One half of the coordinates and the device that draws them."""

    name: str
    device: Device
    own: IntArray
    others: IntArray
    discrete: bool
    """Whether the others take two values each, so that loads come again."""
    steps: list[Pass] = field(default_factory=list)
    kept: dict[bytes, Job] = field(default_factory=dict)

    def load(self, model: Energy, z: FloatArray, observers: tuple[Observer, ...] = ()) -> State:
        """The configuration of p(own | others), the others' values taken from z [n]. Raises as the passes."""
        from spucc.conditioning import conditioned

        target = replace(conditioned(model, self.own, self.others, z[self.others]), constant=0.0, origins=())
        job = Job(self.name, target, frozen(np.arange(target.n), np.int64), target)
        state = State(Stage.JOBS, target, target, self.device, jobs=(job,))
        try:
            if observers:
                return run_passes(state, self.steps, _QUICK, observers)
            for step in self.steps:
                state = step.run(state, _QUICK)
            return state
        except SpuccError as error:
            given = ", ".join(f"{model.label(int(k))} = {z[k]:.4g}" for k in self.others[:8])
            more = ", …" if self.others.size > 8 else ""
            first = error.diagnostics[0]
            note = f"while `{self.device.name}` was loaded with its part given {given}{more}"
            raise SpuccError([replace(first, notes=(*first.notes, note)), *error.diagnostics[1:]]) from None

    def job(self, model: Energy, z: FloatArray) -> Job:
        """As `load`, from what is kept if these values have come before."""
        key = z[self.others].tobytes()
        found = self.kept.get(key)
        if found is None:
            found = self.load(model, z).jobs[0]
            if self.discrete and len(self.kept) < _KEPT:
                self.kept[key] = found
        return found


def _sides(model: Energy, device: Device) -> tuple[_Side, _Side]:
    from spucc.driver import default_passes
    from spucc.passes import registry

    assert device.partner is not None
    real, spin, bit = model.domains
    two = np.sort(np.concatenate([spin, bit]))
    sides = (_Side("reals", device.alone, real, two, True), _Side("spins", device.partner, two, real, False))
    for side in sides:
        steps = parse_passes(default_passes(side.device), registry())
        names = [s.name for s in steps]
        side.steps = steps[names.index("split") + 1 :]
    return sides


def takes_turns(program: Program) -> bool:
    """Whether a program's devices are loaded anew for every draw."""
    return any(isinstance(j.value, Configuration) and j.value.schedule.loads_per_draw for j in program.jobs)


def compile_turns(source: Energy, device: Device, provenance: Provenance | None = None) -> Program:
    """A program for a pair of devices that take turns. Its jobs are one load each, that of all spins up (bits 1) and x = 1.

    Raises E0515 for a model that given some state of its spins has no proper law, and as the passes for a load that a device
    does not take.
    """
    from spucc.driver import default_passes
    from spucc.fidelity.ledger import Fidelity

    model, back = unobserved(source)
    check_proper(model)
    jobs: list[Job] = []
    ledger: list[LedgerEntry] = []
    work = float(model.quadratic.tocsr().nnz + sum(t.degree * t.coefficient.size for t in model.higher))
    for side in _sides(model, device):
        state = side.load(model, np.ones(model.n), (Fidelity(),))
        (job,) = state.jobs
        assert isinstance(job.value, Configuration)
        plan = replace(
            job.value.schedule,
            loads_per_draw=1.0,
            host_operations=job.value.schedule.host_operations + work / 2,
        )
        jobs.append(
            replace(job, coordinates=frozen(side.own, np.int64), value=replace(job.value, schedule=plan))
        )
        ledger += [
            replace(
                e, basis="none" if e.basis == "none" else "estimate", note="of one load: spins up and x = 1"
            )
            for e in state.ledger
        ]
    seconds = sum(d.spec.timing.configure for d in (device.alone, device.partner) if d is not None)
    note = (
        f"{obstacle(model)}, so the devices take turns: each is loaded once a draw",
        f"{SETTLE} turns to settle; loading takes {seconds:g} s a draw"
        if seconds
        else f"{SETTLE} turns to settle",
    )
    return Program(
        device=device,
        source=source,
        model=replace(model, queries=(), origins=()),
        jobs=tuple(jobs),
        steps=(Step("take-turns", back, note),),
        ledger=tuple(ledger),
        provenance=provenance or Provenance(),
        pipeline=f"{default_passes(device.alone)};{default_passes(device.partner)}" if device.partner else "",
    )


def run_turns(
    program: Program,
    request: Request,
    progress: Progress,
    states: Sequence[FloatArray | None],
    notes: dict[str, str],
) -> Iterator[tuple[list[FloatArray], list[FloatArray | None]]]:
    """Draws of every job and the states to go on from, chunk by chunk; as `spucc.running.run` asks of the jobs of a program.

    Turn t of chain c depends on the seed, c, t and the draw before it alone. `notes` takes what the backend
    says of the first load of each job of which it says anything. Raises E0728 for `trajectory`.
    """
    from spucc.targets import backend_of

    if request.mode is not Mode.INDEPENDENT:
        fail(
            "E0728", "devices that take turns have no path of their own", help="leave out `--mode trajectory`"
        )
    model = program.model
    sides = _sides(model, program.device)
    engines: list[Any] = [backend_of(None, side.device.family) for side in sides]
    lengths = [
        e.length(job, side.device) if hasattr(e, "length") else 0.0
        for e, job, side in zip(engines, program.jobs, sides)
    ]
    z = np.empty((request.chains, model.n))
    if request.first:
        for job, state in zip(program.jobs, states):
            assert state is not None
            z[:, job.coordinates] = state
    else:
        for c in range(request.chains):
            z[c] = _start(model, request.seed, c)
            with one_blas_thread():
                for t in range(-SETTLE, 0):
                    _turn(model, sides, engines, lengths, z[c], request.seed, c, t, notes)
            progress("settling", (c + 1) / request.chains)
    width = max(1, _CHUNK // max(request.chains, 1))
    done, end = request.first, request.first + request.draws
    while done < end:
        count = min(width, end - done)
        out = np.empty((request.chains, count, model.n))
        with one_blas_thread():
            for t in range(count):
                for c in range(request.chains):
                    _turn(model, sides, engines, lengths, z[c], request.seed, c, done + t, notes)
                out[:, t] = z
        done += count
        yield (
            [out[:, :, j.coordinates] for j in program.jobs],
            [z[:, j.coordinates].copy() for j in program.jobs],
        )


def _turn(
    model: Energy,
    sides: tuple[_Side, _Side],
    engines: list[Any],
    lengths: list[float],
    z: FloatArray,
    seed: int,
    chain: int,
    turn: int,
    notes: dict[str, str],
) -> None:
    """Both sides of z [n] drawn once, the reals first."""
    fresh = _seed(seed, chain, turn)
    for side, engine, length in zip(sides, engines, lengths):
        job = side.job(model, z)
        if length:
            z[side.own] = engine.onward(job, side.device, z[side.own], length, fresh)
        else:
            (chunk,) = engine.run(job, side.device, Request(draws=1, chains=1, seed=fresh))
            z[side.own] = chunk.values[0, 0]
            if chunk.note:
                notes.setdefault(side.name, chunk.note)


def _seed(*key: int) -> int:
    """A seed of its own for each turn of each chain."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def _start(model: Energy, seed: int, chain: int) -> FloatArray:
    """Real variables at 0, spins and bits by the toss of a coin: chains that agree have forgotten where they began."""
    real, spin, _ = model.domains
    toss = np.random.Generator(np.random.Philox(_seed(seed, chain, -SETTLE - 1))).integers(0, 2, model.n)
    z = toss.astype(np.float64)
    z[real] = 0.0
    z[spin] = 2 * z[spin] - 1
    return z


def check_proper(model: Energy) -> None:
    """Raises E0515 where, given the spins, the reals have no proper Gaussian law: of up to 12 spins every state is looked at,
    of more 4,096 of them. Terms above degree 2 in the reals are their device's to judge."""
    from spucc.conditioning import conditioned

    real, spin, bit = model.domains
    if any(np.isin(t.index, real).sum(axis=1).max(initial=0) > 2 for t in model.higher) or real.size > 200:
        return
    two = np.sort(np.concatenate([spin, bit]))
    low = np.where(np.isin(two, spin), -1.0, 0.0)
    if two.size <= 12:
        states = (np.arange(2**two.size)[:, None] >> np.arange(two.size)) & 1
    else:
        states = np.random.Generator(np.random.Philox(0)).integers(0, 2, (4096, two.size))
    values = np.where(states == 1, 1.0, low)
    for state in values:
        q = conditioned(model, real, two, state).quadratic.tocsr().toarray()
        eigenvalue = np.linalg.eigvalsh(q)
        if eigenvalue[0] <= 1e-13 * max(abs(float(eigenvalue[-1])), 1e-300):
            given = ", ".join(f"{model.label(int(k))} = {v:g}" for k, v in zip(two[:12], state))
            fail(
                "E0515",
                f"given {given}, the real variables (`{model.label(int(real[int(np.argmin(np.diagonal(q)))]))}` among them) have "
                "no proper Gaussian law",
                help="hold them by a prior",
            )
