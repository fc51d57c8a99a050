"""The backend `spice`: ngspice runs the netlist of each load, its waveforms are read at the schedule's interval.

Every draw is that of a circuit simulator that knows nothing of the compiler. A run of d draws a chain simulates
settle + d·interval; each chain and member of an ensemble is a process of its own with its own noise.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.backend import Chunk, Progress, Request, Streams, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.readback import HostLoop
from spucc.stages import Configuration, Job, Program, Schedule
from spucc.targets.circuits import Board
from spucc.targets.exact import Ensemble, Reader, chunks, configuration_of, taken_before
from spucc.targets.law import cells, settled
from spucc.targets.netlist import Load, currents, load, netlist
from spucc.targets.netlist_check import verify_netlist
from spucc.targets.ngspice import Waveforms, find_ngspice, finish_ngspice, start_ngspice
from spucc.targets.noise_file import PHASE, RHO, Noise, write_noise

# Streams of the host and of the members' noise.
_HOST, _NOISE = 1, 1_000_000

# Steps a period of the fastest mode (physics §6).
STEPS_A_PERIOD = 20.0

# Bytes that a run may need on the disk, noise and waveforms of all processes that run at once.
DISK_LIMIT = 16 << 30


@dataclass(frozen=True)
class Timing:
    """`step` [s] of the simulation, the steps before the first draw and from one draw to the next."""

    step: float
    settle: int
    interval: int

    def steps(self, draws: int) -> int:
        return self.settle + self.interval * max(draws - 1, 0)


def timing(circuit: Board, schedule: Schedule, interval: float | None = None) -> Timing:
    """The step from the fastest pole of a circuit, at most 1/20 of its period, as a divisor of the interval."""
    from spucc.targets.linear import system

    rates = system(circuit).rates
    fastest = float(np.abs(rates).max())
    longest = 2 * np.pi / (STEPS_A_PERIOD * fastest)
    wanted = schedule.interval if interval is None else interval
    if wanted <= 0:
        wanted = settled(circuit)
    per_draw = int(np.ceil(wanted / longest))
    step = wanted / per_draw
    settle = schedule.settle if schedule.settle > 0 else 5.0 * settled(circuit)
    return Timing(step, int(np.ceil(settle / step)) + 4, per_draw)


def lost_share(circuit: Board, step: float) -> float:
    """At most what noise that is not quite white takes of the variance of any mode (`spucc.targets.noise_file`): its corner
    time over the mode's own, and that over a swing, squared."""
    from spucc.targets.linear import system

    rates = system(circuit).rates
    corner = (1.0 - RHO) / (1.0 + RHO) * step / 2.0
    return float(corner * 2.0 * rates.real.max() + (corner * np.abs(rates).max()) ** 2)


@dataclass
class SpiceCells:
    """The cells of one load, all draws of all chains simulated when the first is taken; kept on the disk."""

    one: Load
    plan: Timing
    streams: Streams
    chains: int
    draws: int
    folder: Path
    progress: Progress = silent
    _runs: list[NDArray[Any]] = field(default_factory=list)

    def take(self, first: int, count: int) -> NDArray[Any]:
        if not self._runs and self.draws:
            self._runs = simulate(
                self.one, self.plan, self.streams, range(self.chains), self.draws, self.folder, self.progress
            )
        return np.stack([run[first : first + count] for run in self._runs])

    @property
    def state(self) -> NDArray[Any]:
        return np.zeros((self.chains, 0))

    @property
    def note(self) -> str:
        lost = lost_share(self.one.board, self.plan.step)
        return f"ngspice's time step of {self.plan.step:.3g} s takes up to {lost:.2g} of a variance"


def simulate(
    one: Load,
    plan: Timing,
    streams: Streams,
    chains: range,
    draws: int,
    folder: Path,
    progress: Progress = silent,
) -> list[NDArray[Any]]:
    """`draws` draws [draws, n] of each chain of a load, in V.

    Raises:
        SpuccError: E0730 without ngspice, E0732 for a run that failed, E0733 where ngspice's steps do not fall on
            the noise's rows, E0734 for runs that do not fit the disk.
    """
    n, steps = one.board.n, plan.steps(draws)
    at_once = max(1, min(len(chains), os.cpu_count() or 1))
    needed = at_once * steps * (8 * (n + 1) + 7 * n + 18)
    if needed > DISK_LIMIT:
        fail(
            "E0734",
            f"{draws} draws a chain are {steps} steps of ngspice, {needed / 2**30:.3g} GiB of noise and waveforms",
            help="ask for fewer --samples, or choose --backend exact --mode trajectory",
        )
    found: list[NDArray[Any]] = []
    for start in range(0, len(chains), at_once):
        group = chains[start : start + at_once]
        with ExitStack() as stack:
            started: list[tuple[int, subprocess.Popen[str]]] = []
            for c in group:
                _prepare(one, plan, streams, c, steps, folder)
                process = start_ngspice(folder, f"{c}.cir", f"{c}.raw")
                stack.callback(_end, process)
                started.append((c, process))
            for c, process in started:
                waves = finish_ngspice(process, folder, f"{c}.raw")
                found.append(read_draws(waves, one, plan, draws))
                for suffix in ("cir", "raw", "raw.log", "noise"):
                    (folder / f"{c}.{suffix}").unlink(missing_ok=True)
                progress("ngspice", len(found) / len(chains))
    return found


def _prepare(one: Load, plan: Timing, streams: Streams, chain: int, steps: int, folder: Path) -> None:
    name = f"{chain}.noise"
    noise = write_noise(folder / name, name, streams, chain, currents(one.board, plan.step), plan.step, steps)
    text = netlist([one], [noise], title="spucc")
    verify_netlist(text)
    (folder / f"{chain}.cir").write_text(text, encoding="utf-8")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def read_draws(waves: Waveforms, one: Load, plan: Timing, draws: int) -> NDArray[Any]:
    """The cells' voltages [draws, n] at the schedule's times. Raises E0733 where the steps are not the noise's, E0737 where
    they end too early."""
    names = {name.lower(): k + 1 for k, name in enumerate(waves.names)}
    columns = [names[f"v({node.lower()})"] for node in one.nodes]
    if waves.time[-1] < (plan.steps(draws) - 1) * plan.step:
        fail(
            "E0737",
            f"ngspice's waveforms end at {waves.time[-1]:.3g} s, before the last draw: the disk may be full",
            help="make room, or let TMPDIR name a folder that has room; fewer --samples need less",
        )
    # Steps are on the grid (k + phase) h from the second on; the last row is the end of the run.
    begin = int(np.searchsorted(waves.time, (plan.settle - 2) * plan.step))
    grid = waves.time[begin:-1] / plan.step - PHASE
    number = np.rint(grid)
    if number.size < 2 or np.abs(grid - number).max() > 1e-3 or (np.diff(number) != 1).any():
        fail(
            "E0733",
            "ngspice did not keep its steps on the rows of the noise file, so the noise is not white",
            help="this version of ngspice chooses its first steps otherwise; Debian's 39 and later are known to work",
        )
    first = plan.settle - int(number[0]) + begin - 1
    rows = first + plan.interval * np.arange(draws)
    return np.asarray(waves.table[rows][:, columns])


@dataclass(frozen=True)
class Spice:
    """Runs programs for capacitive and resistive devices with ngspice. Always a trajectory from cold, so a run that
    goes on from a draw simulates those before it again."""

    name: str = "spice"
    trajectories: bool = True
    follows: bool = False
    """Whether a path can begin at a given state: the noise file's sources start from rest."""

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`. Raises E0730 to E0734, E0737."""
        configuration = configuration_of(job)
        find_ngspice()
        end = request.first + request.draws
        with work_folder() as place:
            source = _reader(configuration, job, device, request, end, place, progress)
            whole = Request(
                draws=end,
                chains=request.chains,
                seed=request.seed,
                dtype=request.dtype,
                memory=request.memory,
            )
            for chunk in chunks(source, job, whole, progress):
                skip = max(0, request.first - chunk.first)
                if skip < chunk.values.shape[1]:
                    yield Chunk(chunk.first + skip, chunk.values[:, skip:], note=chunk.note)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for ngspice's files, gone afterwards. Raises E0737 where files cannot be written there."""
    try:
        with tempfile.TemporaryDirectory(prefix="spucc-") as place:
            yield Path(place)
    except OSError as error:
        where = f"`{tempfile.tempdir}`" if tempfile.tempdir else "a folder for temporary files"
        fail(
            "E0737",
            f"ngspice's files cannot be written to {where}: {error.strerror or error}",
            help="make room there, or let TMPDIR name a folder that has room; fewer --samples need less",
        )


def _reader(
    configuration: Configuration,
    job: Job,
    device: Device,
    request: Request,
    end: int,
    folder: Path,
    progress: Progress,
) -> Reader:
    codes = configuration.codes
    needed = Reader.sweeps_before(configuration, end)
    loads = [load(codes, m, device, job.target, "n") for m in range(codes.members)]
    counts = np.array([needed]) if codes.members == 1 else taken_before(codes, needed)
    members = []
    for m, one in enumerate(loads):
        place = folder / str(m)
        place.mkdir()
        plan = timing(one.board, configuration.schedule, request.interval)
        streams = Streams(request.seed, job.name, _NOISE + m)
        members.append(SpiceCells(one, plan, streams, request.chains, int(counts[m]), place, progress))
    looped = any(isinstance(b, HostLoop) for b in configuration.readback)
    laws = [cells(one.board) for one in loads] if looped else []
    host = Streams(request.seed, job.name, _HOST)
    return Reader(
        configuration, Ensemble(codes, members, taken_before(codes, 0)), laws, host, request.chains, None
    )


def emit_spice(
    program: Program, noise_file: Path | None = None, *, seed: int = 0, draws: int | None = None
) -> str:
    """A commented netlist of every job and member of a program, and one chain of noise for it beside it.

    `noise_file` is written when it is given; of several loads the files are numbered. The netlist names them without
    folders. Raises E0731 for a device that is no circuit.
    """
    loads, noises = [], []
    plans: list[tuple[Load, Timing, str, Schedule]] = []
    for j, job in enumerate(program.jobs):
        configuration = configuration_of(job)
        for m in range(configuration.codes.members):
            if not configuration.codes.n:
                continue
            prefix = "n" if len(program.jobs) == configuration.codes.members == 1 else f"j{j}m{m}_"
            one = load(configuration.codes, m, program.device_of(job), job.target, prefix)
            plans.append((one, timing(one.board, configuration.schedule), job.name, configuration.schedule))
    if not plans:
        fail("E0731", "the program has no cells to write down as a circuit")
    step = min(plan.step for _, plan, _, _ in plans)
    header: list[str] = []
    name = "spucc.noise" if noise_file is None else noise_file.name
    for k, (one, plan, job_name, schedule) in enumerate(plans):
        own = name if len(plans) == 1 else f"{name}.{k}"
        share = plan.step / step
        count = schedule.draws if draws is None else draws
        steps = int(np.ceil(plan.steps(count) * share))
        sd = currents(one.board, step)
        if noise_file is not None:
            path = noise_file.with_name(own)
            noise = write_noise(path, own, Streams(seed, job_name, _NOISE + k), 0, sd, step, steps)
        else:
            noise = Noise(own, step, steps, np.asarray(sd))
        loads.append(one)
        noises.append(noise)
        header.append(
            f"{job_name}: cells {one.prefix}*, settle {plan.settle * plan.step:.6g} s, then a draw every "
            f"{plan.interval * plan.step:.6g} s"
        )
    header = [
        *header,
        f"program {program.provenance.program_digest[:16]} data {program.provenance.data_digest[:16]} "
        f"device {program.device.name} {program.device.fingerprint}",
        "values in F, H, Ohm, A, s",
        f"noise: seed {seed}, files {', '.join(noise.name for noise in noises)} beside this one",
        "run: ngspice -b -r out.raw THIS_FILE (the folder of the noise files has to be the current one)",
    ]
    text = netlist(loads, noises, title=f"spucc {program.device.name}", header=header)
    verify_netlist(text)
    return text


def write_spice(program: Program, path: Path, *, seed: int = 0, draws: int | None = None) -> str:
    """`emit_spice` with the noise beside `path`; the text is returned, not written. Raises E0392 for a place that
    cannot be written."""
    try:
        return emit_spice(program, path.with_suffix(".noise"), seed=seed, draws=draws)
    except OSError as error:
        fail(
            "E0392",
            f"cannot write beside `{path}`: {error.strerror or error}",
            help="choose another place with -o",
        )
