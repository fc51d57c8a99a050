"""The backend of p-bit lattices: the device's own sweeps, simulated.

A configuration's cells are spins with couplings decode(codes)/scale and fields decode(bias)/scale. In
`trajectory` mode every chain is swept colour by colour as the lattice does it (`spucc.targets.spins`),
settled, and read after every `interval` sweeps. In `independent` mode a lattice that is narrow enough is
summed out spin by spin and drawn from exactly; a wider one is swept, cooled from high temperature while it
settles, and its draws are correlated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from spucc.arrays import FloatArray
from spucc.backend import Chunk, Mode, Normals, Progress, Request, Streams, members_of, pieces, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.fidelity.spin_law import Sampler
from spucc.readback import HostLoop
from spucc.stages import Configuration, Job, Quantized, edge_list
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel, spin_model
from spucc.targets.spins.tempering import Ladders, ladder


@dataclass(frozen=True)
class Pbit:
    """Gibbs sweeps in compiled kernels. `method` is `heat-bath` or `metropolis`; `threads` sweep blocks of 64
    chains. With `tempering` a lattice that is too wide to be summed out is drawn by parallel tempering, each chain a ladder
    of replicas up to ten times the temperature, its rungs where replicas exchange often enough: the same law, for lattices
    where plain sweeps mix slowly."""

    method: str = "heat-bath"
    threads: int = 1
    name: str = "pbit"
    tempering: bool = False

    def independent(self, job: Job, device: Device) -> bool:
        """Whether `independent` draws of the job are: the lattice is narrow enough to be summed out."""
        return samplers(configuration_of(job, Domain.SPIN).codes, device) is not None

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`. Raises E0726 for a job that is not compiled to the end and E0728 for
        one whose cells are not spins."""
        configuration = configuration_of(job, Domain.SPIN)
        if request.mode is Mode.INDEPENDENT:
            exact = samplers(configuration.codes, device)
            if exact is not None:
                yield from exact_draws(job, configuration, request, progress, exact)
                return
        if self.tempering and request.mode is Mode.TRAJECTORY:
            fail(
                "E0728",
                "parallel tempering is not what the device does in time",
                help="leave out `--mode trajectory`, or choose `--backend pbit`",
            )
        runs: list[Any] = []
        for m in range(configuration.codes.members):
            model = cells(configuration.codes, m, device)
            key = (*seed_of(request.seed, job.name), m)
            if self.tempering:
                betas = ladder(model, key, threads=self.threads)
                runs.append(LadderRun(Ladders(model, betas, request.chains, key, threads=self.threads)))
            else:
                chains = Chains(model, request.chains, key, method=self.method, threads=self.threads)
                runs.append(SpinRun(chains))
        yield from read(job, configuration, request, progress, runs)


def configuration_of(job: Job, domain: Domain) -> Configuration:
    """The job's configuration, of cells of the given kind."""
    if not isinstance(job.value, Configuration):
        fail("E0726", f"job `{job.name}` is not compiled to the end, so it cannot run")
    if job.value.codes.domain is not domain:
        fail(
            "E0728",
            f"job `{job.name}` has {job.value.codes.domain} cells",
            help="leave `--backend` out: the simulator of the device's family runs it",
        )
    if any(isinstance(b, HostLoop) for b in job.value.readback):
        fail("E0728", f"job `{job.name}` has a host loop, which only Gaussian backends run")
    return job.value


def seed_of(seed: int, name: str) -> tuple[int, ...]:
    """Any integer and a job's name as non-negative words."""
    digest = hashlib.sha256(name.encode()).digest()
    return (
        2 * seed if seed >= 0 else -2 * seed - 1,
        int.from_bytes(digest[:4], "big"),
        int.from_bytes(digest[4:8], "big"),
    )


def cells(codes: Quantized, m: int, device: Device) -> SpinModel:
    """The spin system of member m's codes."""
    coupling = device_values(codes.coupling[m], codes, device)
    bias = codes.bias[m] if device.spec.bias is None else device.spec.bias.decode(codes.bias[m])
    i, j = codes.edges.T
    both = (np.concatenate([i, j]), np.concatenate([j, i]))
    matrix = sparse.coo_array((np.tile(coupling / codes.scale[m], 2), both), shape=(codes.n, codes.n))
    return spin_model(sparse.csr_array(matrix), np.asarray(bias, dtype=np.float64) / codes.scale[m])


def device_values(codes: NDArray[Any], placed: Quantized, device: Device) -> FloatArray:
    """The couplers' values [edges], by the measured level tables where there are any."""
    bank = device.spec.coupling
    if bank.continuous or device.topology.nodes is None or not placed.edges.size:
        return np.asarray(bank.decode(codes), dtype=np.float64)
    table = device.coupling_levels(device.coupler_ids(placed.cell[placed.edges]))
    size = table[np.arange(codes.size), np.abs(codes)]
    return np.asarray(np.where(codes < 0, -size, size))


# Lattices with more cells, or whose tables would be larger, are swept.
_NARROW = 400
_TABLE = 2**18


def samplers(codes: Quantized, device: Device) -> list[Sampler] | None:
    """An exact sampler for each member, or None where a lattice is too wide."""
    if codes.n > _NARROW:
        return None
    found = []
    for m in range(codes.members):
        model = cells(codes, m, device)
        pairs, values = edge_list(model.couplings)
        one = Sampler.of(pairs, values, model.field, _TABLE)
        if one is None:
            return None
        found.append(one)
    return found


def exact_draws(
    job: Job, configuration: Configuration, request: Request, progress: Progress, exact: list[Sampler]
) -> Iterator[Chunk]:
    """Independent draws; draw t of chain c hangs on the seed, the job's name, c and t alone."""
    codes = configuration.codes
    numbers = Normals(Streams(request.seed, job.name), request.chains, codes.n)
    for done, count in pieces(request, 4 * max(codes.n, job.target.n)):
        u = special.ndtr(numbers.take(done, count))
        who = members_of(codes.weight, done, count)
        out: NDArray[Any] = np.empty((request.chains, count, codes.readback[0].n_out))
        for m in range(codes.members):
            at = np.flatnonzero(who == m)
            y = exact[m].draws(u[:, at].reshape(-1, codes.n)).reshape(request.chains, at.size, codes.n)
            out[:, at] = codes.readback[m].draws(y)
        out = through(configuration, out)
        progress(job.name, (done + count - request.first) / request.draws)
        yield Chunk(done, out.astype(request.dtype, copy=False))


def through(configuration: Configuration, y: NDArray[Any]) -> NDArray[Any]:
    """Draws of the cells as draws of the job's coordinates."""
    for back in reversed(configuration.readback):
        assert not isinstance(back, HostLoop)
        y = back.draws(y)
    return y


class SpinRun:
    """Chains as `read` steps them."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    def settle(self, count: int) -> None:
        """Half of the sweeps while cooling from a tenth of β, half at the law's own."""
        stages = min(16, count // 2)
        for beta in np.linspace(0.1, 1.0, stages, endpoint=False):
            self._chains.beta = float(beta)
            self._chains.sweep(count // 2 // stages)
        self._chains.beta = 1.0
        self._chains.sweep(count - (count // 2 // stages * stages if stages else 0))

    def step(self, count: int) -> None:
        self._chains.sweep(count)

    def values(self) -> NDArray[Any]:
        return self._chains.spins().astype(np.float64)

    @property
    def parts(self) -> dict[str, NDArray[Any]]:
        return self._chains.export()

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        self._chains.restore(parts)


class LadderRun:
    """Ladders as `read` steps them."""

    def __init__(self, ladders: Ladders) -> None:
        self._ladders = ladders
        # the shares while it settled, so that what is said of a run does not hang on where it was stopped
        self._exchanged = np.full_like(ladders.exchanged, -1.0)

    def settle(self, count: int) -> None:
        self._ladders.sweep(count)
        self._exchanged = self._ladders.exchanged

    def step(self, count: int) -> None:
        self._ladders.sweep(count)

    def values(self) -> NDArray[Any]:
        return self._ladders.top().astype(np.float64)

    @property
    def note(self) -> str:
        """How many rungs there are, and how often replicas exchange them."""
        low, high = 100 * self._exchanged.min(), 100 * self._exchanged.max()
        return f"parallel tempering on {self._ladders.rungs} rungs; neighbours exchange in {low:.0f} to {high:.0f} % of tries"

    @property
    def parts(self) -> dict[str, NDArray[Any]]:
        return {**self._ladders.export(), "exchanged": self._exchanged.copy()}

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        self._ladders.restore(parts)
        self._exchanged = parts["exchanged"].copy()


def read(
    job: Job, configuration: Configuration, request: Request, progress: Progress, runs: list[Any]
) -> Iterator[Chunk]:
    """Draws of the job's coordinates in chunks: settle, then a draw after every interval, members taking
    turns by weight."""
    codes, schedule = configuration.codes, configuration.schedule
    interval = int(schedule.interval if request.interval is None else request.interval)
    interval, settle = max(interval, 1), int(schedule.settle)
    if request.state is not None:
        unpack(request.state, runs)
    else:
        who = members_of(codes.weight, 0, request.first)
        for m, run in enumerate(runs):
            run.settle(settle)
            run.step(interval * int((who == m).sum()))
    for done, count in pieces(request, 3 * max(codes.n, job.target.n)):
        who = members_of(codes.weight, done, count)
        out: NDArray[Any] = np.empty((request.chains, count, codes.readback[0].n_out))
        for t in range(count):
            m = int(who[t])
            runs[m].step(interval)
            out[:, t] = codes.readback[m].draws(runs[m].values())
        out = through(configuration, out)
        progress(job.name, (done + count - request.first) / request.draws)
        said = "; ".join(sorted({note for run in runs if (note := getattr(run, "note", ""))}))
        yield Chunk(done, out.astype(request.dtype, copy=False), pack(runs), said)


def pack(runs: list[Any]) -> FloatArray:
    """The state of runs as float64 numbers, each of which is exact: bytes, 32-bit words, floats."""
    flat = [
        np.asarray(part, dtype=np.float64).ravel() for run in runs for _, part in sorted(run.parts.items())
    ]
    return np.concatenate(flat)[None, :] if flat else np.zeros((1, 0))


def unpack(state: FloatArray, runs: list[Any]) -> None:
    """The reverse of `pack`. Raises E0555 for the state of another run."""
    flat, at = np.asarray(state).ravel(), 0
    for run in runs:
        parts = {}
        for name, part in sorted(run.parts.items()):
            parts[name] = (
                flat[at : at + part.size].astype(part.dtype).reshape(part.shape)
                if at + part.size <= flat.size
                else None
            )
            at += part.size
        if any(p is None for p in parts.values()):
            fail("E0555", "the checkpoint is of a run with other spins or chains", help="start the run again")
        run.restore(parts)
    if at != flat.size:
        fail("E0555", "the checkpoint is of a run with other spins or chains", help="start the run again")
