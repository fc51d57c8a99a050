"""What a real board adds to its file: parts that are not quite nominal, noise that is not quite white, a
converter.

`draw_board` makes a board from the device file and a number; `BoardModel` runs programs on it. What the
programs were compiled for is the file (and its calibration, if there is one), what they run on is the drawn
board: physics §5 says how large the differences are, and each run says how large they are on its board, since
no standard error of the draws knows of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, frozen
from spucc.backend import Chunk, Normals, Progress, Request, Streams, silent
from spucc.device import Adc, Bank, Calibration, Device, Faults
from spucc.diagnostics import fail
from spucc.readback import HostLoop
from spucc.stages import Configuration, Job, Quantized
from spucc.targets.circuits import Board, assert_parts, board, levels_of
from spucc.targets.exact import Cells, Circuits, chunks, configuration_of, reader
from spucc.targets.gaussian import factorise
from spucc.targets.law import Gaussian, cells, law
from spucc.targets.linear import repeated, system, updated
from spucc.targets.paths import LinearPaths, follow
from spucc.targets.stepper import GENERAL_STATES, Stepper, general, stepper
from spucc.targets.walk import Walk
from spucc.threads import one_blas_thread

# No part is below a twentieth of its nominal value, however wide its tolerance.
_LEAST = 0.05
# Updates of the noise that are so much quicker than the circuit make it white: variances differ by a third of
# this (physics §5).
_WHITE = 1e-7
# How long an update may last, in times of the circuit's quickest motion.
_STILL = 1e9
# What stands for any larger value, so that its square is a number.
_HUGE = 1e150
# Entries of a level table beyond which a board is not drawn.
_TABLE = 2**26
# Coordinates up to which a board's law is compared with the compiled one; the purpose of the stream of drift.
_COMPARED, _DRIFT = 256, 3_000_000


@dataclass(frozen=True, eq=False)
class Truth:
    """The true parameters of one board. `parts`: every cell's and coupler's true values, as `Calibration` has
    them; `temperature` [nodes]: the factor on each cell's injected noise power; `faults`: parts that fail
    without the compiler knowing."""

    parts: Calibration
    temperature: FloatArray
    faults: Faults = field(default_factory=Faults)


def draw_board(
    device: Device, number: int = 0, *, nodes: int | None = None, faults: Faults | None = None
) -> Truth:
    """Board number `number` of a device, any integer; the same parts whatever the target's braces change beside them. `nodes`
    says how many cells there are where the file does not, `faults` replaces the file's.

    Each part is its nominal value times 1 + tolerance · N(0, 1). A bank's part is each of its binary
    weights, so that levels are in error together as in a real switched bank; a bank given by its levels errs
    in each. Continuous banks are taken to be trimmed. Raises E0724 for tables that do not fit memory.
    """
    spec, graph = device.spec, device.topology
    n = graph.nodes if graph.nodes is not None else (nodes or 0)
    m = int(graph.edges.shape[0])
    streams = Streams(number, _base(device))

    def factors(purpose: int, shape: tuple[int, ...], tolerance: float) -> FloatArray:
        return np.maximum(_LEAST, 1.0 + tolerance * streams.at(purpose).standard_normal(shape))

    def table(purpose: int, parts: int, bank: Bank) -> FloatArray | None:
        if bank.continuous or bank.tolerance == 0 or parts == 0:
            return None
        if parts * bank.codes > _TABLE:
            fail("E0724", f"the level tables of {parts} parts of {bank.codes} codes do not fit memory")
        if bank.levels is not None:
            return frozen(bank.table() * factors(purpose, (parts, bank.codes), bank.tolerance))
        bits = bank.bits or 0
        weights = bank.step * 2.0 ** np.arange(bits) * factors(purpose, (parts, bits), bank.tolerance)
        code = (np.arange(bank.codes)[:, None] >> np.arange(bits)) & 1
        least = bank.min * factors(purpose + 1, (parts, 1), bank.tolerance)
        return frozen(least + weights @ code.T)

    circuit, strays = spec.circuit, spec.strays
    parts = Calibration(
        resistance=frozen(circuit.resistance * factors(0, (n,), circuit.resistance_tolerance)),
        inductance=frozen(circuit.inductance * factors(1, (n,), circuit.inductance_tolerance)),
        series_resistance=frozen(circuit.series_resistance * factors(2, (n,), circuit.resistance_tolerance)),
        stray_ground=frozen(strays.ground * factors(3, (n,), spec.ground.tolerance)),
        stray_coupling=frozen(strays.coupling * factors(4, (m,), spec.coupling.tolerance)) if m else None,
        ground_levels=table(5, n, spec.ground),
        coupling_levels=table(7, m, spec.coupling),
    )
    temperature = frozen(factors(9, (n,), spec.noise.temperature_tolerance))
    return Truth(parts, temperature, spec.faults if faults is None else faults)


def _base(device: Device) -> str:
    """A device's name without what its target's braces change."""
    return device.spec.name.partition("{")[0]


def calibrated_device(device: Device, truth: Truth, error: float = 0.0, seed: int = 0) -> Device:
    """The device as a lab that measured this board would know it: true values, each with a relative error."""
    streams = Streams(seed, device.name, 1)

    def measured(k: int, values: FloatArray | None) -> FloatArray | None:
        if values is None or error == 0.0:
            return values
        return frozen(values * (1.0 + error * streams.at(k).standard_normal(values.shape)))

    fields = vars(truth.parts)
    return replace(
        device, calibration=Calibration(**{f: measured(k, v) for k, (f, v) in enumerate(fields.items())})
    )


def true_circuit(codes: Quantized, member: int, device: Device, truth: Truth) -> tuple[Board, BoolArray]:
    """The circuit that codes really make, without its dead cells, and which positions are alive.

    The controller sets each source to κ_i = θ/R_i by the resistance that it knows; the board adds its factor.
    """
    known = board(codes, member, device)
    real = replace(device, calibration=truth.parts)
    seen, spare = faulty(codes, real, truth.faults)
    true = board(seen, member, real)
    noise = known.noise * truth.temperature[codes.cell]
    alive = ~np.isin(codes.cell, truth.faults.dead_cells)
    keep = np.flatnonzero(alive)
    found = (
        replace(
            true,
            matrix=sparse.csr_array((true.matrix + sparse.diags_array(spare))[keep][:, keep]),
            bias=true.bias[keep],
            resistance=true.resistance[keep],
            inductance=true.inductance[keep],
            series_resistance=true.series_resistance[keep],
            noise=noise[keep],
        ),
        alive,
    )
    assert_parts(found[0])
    return found


def faulty(codes: Quantized, device: Device, faults: Faults) -> tuple[Quantized, FloatArray]:
    """The codes at which a board with faults really stands, and what stuck couplers to cells that the program does not use
    add to ground [n] (such a cell is shorted, see `spucc.circuit.strays`)."""
    cell, edges, members = codes.cell, codes.edges, codes.members
    ground, coupling = np.array(codes.ground), np.array(codes.coupling)
    position = {int(c): p for p, c in enumerate(cell)}
    for c, code in faults.stuck_cells:
        if c in position:
            ground[:, position[c]] = code
    at = {pair: k for k, pair in enumerate(map(tuple, np.sort(cell[edges], axis=1).tolist()))}
    spare = np.zeros(codes.n)
    new: list[tuple[int, int]] = []
    values: list[float] = []
    for i, j, code in faults.stuck_couplers:
        pair = (min(i, j), max(i, j))
        if pair in at:
            coupling[:, at[pair]] = code
        elif i in position and j in position:
            new.append((min(position[i], position[j]), max(position[i], position[j])))
            values.append(code)
        elif device.family.springs and (i in position or j in position):
            spare[position[i] if i in position else position[j]] += abs(_value(device, pair, code))
    keep = np.ones(edges.shape[0], dtype=bool)
    # An open coupler leaves nothing, whatever its code.
    keep[[at[p] for i, j in faults.dead_couplers if (p := (min(i, j), max(i, j))) in at]] = False
    more = np.tile(np.array(values, dtype=coupling.dtype), (members, 1))
    return (
        replace(
            codes,
            ground=frozen(ground, ground.dtype),
            edges=frozen(
                np.concatenate([edges[keep], np.array(new, dtype=np.int64).reshape(-1, 2)]), np.int64
            ),
            coupling=frozen(np.concatenate([coupling[:, keep], more], axis=1), coupling.dtype),
        ),
        spare,
    )


def _value(device: Device, pair: tuple[int, int], code: float) -> float:
    """What a coupler makes of a code on a board."""
    table = device.calibration.coupling_levels
    if table is not None:
        table = table[device.coupler_ids(np.array([pair]))]
    return float(levels_of(device.spec.coupling, np.array([code]), table)[0])


class RealCircuits(Circuits):
    """The circuits of a drawn board, its noise sources and its converter."""

    def __init__(self, configuration: Configuration, device: Device, truth: Truth, seed: int = 0) -> None:
        codes = configuration.codes
        super().__init__([board(codes, m, device) for m in range(codes.members)])
        self._spec = device.spec
        self._true = [true_circuit(codes, m, device, truth) for m in range(codes.members)]
        self._laws: dict[int, Gaussian] = {}
        # All chains of all jobs are the same board's, and so is the wandering of its noise.
        self._power = Power(device.spec.noise.drift, Streams(seed, _base(device), _DRIFT))

    def _update(self, m: int) -> float:
        """The interval [s] at which noise is updated, 0 where it is white to seven digits or more."""
        tau, circuit = self._spec.noise.update_interval, self._true[m][0]
        if not tau or not circuit.n:
            return 0.0
        _small_enough(circuit)
        steps = tau * float(np.linalg.norm(system(circuit).drift, 1))
        if not steps < _STILL:
            fail(
                "E0720",
                f"noise that is updated every {tau:g} s stands still for this circuit",
                help="shorten noise.update_interval in the device file; 0 is white noise",
            )
        return 0.0 if steps < _WHITE else tau

    def law(self, m: int, dtype: str) -> Gaussian:
        if m not in self._laws:
            self._laws[m] = self._law(m)
        return self._laws[m]

    def _law(self, m: int) -> Gaussian:
        circuit, tau = self._true[m][0], self._update(m)
        if not tau:
            return cells(circuit)
        linear = system(circuit)
        f, q, before = updated(linear, tau, self._spec.noise.hold)
        covariance = repeated(f, q, None)[1][before:, before:]
        return Gaussian(linear.mean_read(), covariance=linear.read(covariance))

    def shown(self, m: int) -> Gaussian:
        """The law of what the converter shows of member m: dead cells at 0, its noise and its rounding (step²/12) added;
        neither clipping nor drift."""
        law, alive, adc = self.law(m, "float64"), self._true[m][1], self._spec.adc
        step = (
            0.0
            if adc.bits is None or not np.isfinite(adc.full_scale)
            else adc.full_scale * 2.0 ** (1 - adc.bits)
        )
        mean, covariance = np.zeros(alive.size), np.zeros((alive.size, alive.size))
        mean[alive], covariance[np.ix_(alive, alive)] = law.mean, law.cov()
        added = min(adc.noise, _HUGE) ** 2 + min(step, _HUGE) ** 2 / 12.0
        np.fill_diagonal(covariance, np.diagonal(covariance) + added)
        return Gaussian(mean, covariance=covariance)

    def path(self, m: int, interval: float, settle: float, dtype: str) -> Stepper | Walk:
        interval = self._apart(interval)
        circuit, tau = self._true[m][0], self._update(m)
        if not tau:
            return stepper(circuit, interval, settle, dtype)
        # Draws are whole numbers of updates apart.
        linear = system(circuit)
        f, q, _ = updated(linear, tau, self._spec.noise.hold)
        begin = repeated(f, q, None if settle == 0 else ceil(settle / tau))[1]
        return general(linear, *repeated(f, q, max(1, round(interval / tau))), begin, np.float64)

    def readout(self, m: int, source: Cells, interval: float, streams: Streams) -> Cells:
        circuit, alive = self._true[m]
        centre = factorise(circuit.matrix).solve(circuit.bias) if circuit.bias.any() else np.zeros(circuit.n)
        return Converted(source, alive, centre, self._spec.adc, self._power, self._apart(interval), streams)

    def loads(self, interval: float) -> list[PathLoad]:
        """The members as their paths are followed, read every `interval` s. Raises E0738 for noise that is updated at
        intervals and for a converter that is slower."""
        if any(self._update(m) for m in range(len(self._true))):
            fail(
                "E0738",
                "a path is followed with white noise, and this device updates its noise at intervals",
                help="set noise.update_interval = 0 in the device file, or ask for `sample` with --mode trajectory",
            )
        if interval * self._spec.adc.rate < 1.0 - 1e-9:
            fail(
                "E0738",
                f"the converter takes {self._spec.adc.rate:g} samples a second, and the path is read every {interval:.3g} s",
                help="ask for fewer --samples a chain, or a longer path",
            )
        # A path is short against the drift, whose quickest wave takes a second.
        power = self.power_at_start
        return [PathLoad(replace(c, noise=power * c.noise), alive, self._spec.adc) for c, alive in self._true]

    @property
    def power_at_start(self) -> float:
        """The factor on the power of all noise as a run begins."""
        return float(self._power.at(np.zeros(1))[0]) if self._power.drift else 1.0

    def _apart(self, interval: float) -> float:
        """The time [s] between two draws, which the converter's rate bounds."""
        return max(interval, 1.0 / self._spec.adc.rate)


def _small_enough(circuit: Board) -> None:
    if circuit.n > GENERAL_STATES // 2:
        fail(
            "E0724",
            f"{circuit.n} cells are too many for noise that is updated at intervals",
            help="set update_interval = 0 in the device file for white noise",
        )


@dataclass(frozen=True)
class Power:
    """The power of all the injected noise together as it wanders: a sum of slow waves, periods from a second to an hour, of
    relative standard deviation `drift`: a function of time, so that a run can be resumed anywhere."""

    drift: float
    streams: Streams

    def at(self, time: NDArray[Any]) -> FloatArray:
        """The factor on the power at times [k] in s."""
        waves = 12
        rate = 2.0 * np.pi / np.geomspace(1.0, 3600.0, waves)
        a, b = self.streams.at(0).standard_normal((2, waves))
        wave = (np.cos(np.outer(time, rate)) @ a + np.sin(np.outer(time, rate)) @ b) / np.sqrt(waves)
        return np.asarray(np.maximum(_LEAST, 1.0 + self.drift * wave))


@dataclass
class Converted:
    """The cells as the converter shows them: noise power that wanders, input noise, steps of
    2·full_scale/2^bits, and nothing beyond ±full_scale. Dead cells read 0.

    The power moves the fluctuations about `centre` [cells], which bias currents hold, and not the centre; so much slower than
    any circuit that these follow it at once.
    """

    source: Cells
    alive: BoolArray
    centre: FloatArray
    adc: Adc
    power: Power
    interval: float
    streams: Streams
    _noise: Normals | None = None

    def take(self, first: int, count: int) -> NDArray[Any]:
        shown = self.source.take(first, count)
        if self.power.drift:
            size = np.sqrt(self.power.at(np.arange(first, first + count) * self.interval)).astype(shown.dtype)
            centre = self.centre.astype(shown.dtype)
            shown = centre + (shown - centre) * size[:, None]
        if self.alive.all():
            y = shown
        else:
            y = np.zeros((*shown.shape[:2], self.alive.size), dtype=shown.dtype)
            y[:, :, self.alive] = shown
        if self.adc.noise:
            if self._noise is None:
                self._noise = Normals(self.streams, y.shape[0], y.shape[2], str(y.dtype))
            y = np.asarray(y + self.adc.noise * self._noise.take(first, count))
        return digitised(y, self.adc)

    @property
    def state(self) -> NDArray[Any]:
        return self.source.state

    @property
    def note(self) -> str:
        return self.source.note


@dataclass(frozen=True, eq=False)
class PathLoad:
    """One load of a board whose path is followed (`spucc.targets.paths.Load`)."""

    circuit: Board
    alive: BoolArray
    adc: Adc

    def read(self, cells: FloatArray, streams: Streams) -> FloatArray:
        """What the converter shows, [paths, times, n], of cells [paths, times, working]; dead ones read 0."""
        y = np.zeros((*cells.shape[:2], self.alive.size))
        y[:, :, self.alive] = cells
        if self.adc.noise:
            y += self.adc.noise * Normals(streams, y.shape[0], y.shape[2]).take(0, y.shape[1])
        return np.asarray(digitised(y, self.adc))


def digitised(y: NDArray[Any], adc: Adc) -> NDArray[Any]:
    """What a converter makes of voltages [V]: the nearest step within full scale."""
    if not np.isfinite(adc.full_scale):
        return y
    if adc.bits is None:
        return np.asarray(np.clip(y, -adc.full_scale, adc.full_scale), dtype=y.dtype)
    step = 2.0 * adc.full_scale / 2**adc.bits
    codes = np.clip(np.rint(y / step), -(2 ** (adc.bits - 1)), 2 ** (adc.bits - 1) - 1)
    return np.asarray(codes * step, dtype=y.dtype)


@dataclass(frozen=True)
class BoardModel:
    """Runs programs on a board of their device: number `number`, by default that of the run's seed, with the device file's
    faults or `faults` in their place; or on the board `truth`."""

    name: str = "board-model"
    number: int | None = None
    faults: Faults | None = None
    truth: Truth | None = None

    def on_board(self, board: int | None, seed: int) -> BoardModel:
        """The same on board `board`; without one on its own, or if it has none on that of a run's seed."""
        number = board if board is not None else self.number if self.number is not None else seed
        return replace(self, number=number, truth=self.truth if board is None else None)

    def board(self, device: Device, codes: Quantized, seed: int = 0) -> Truth:
        """The board that a program would run on."""
        if self.truth is not None:
            return self.truth
        number = seed if self.number is None else self.number
        return draw_board(device, number, nodes=int(codes.cell.max(initial=-1)) + 1, faults=self.faults)

    def circuits(self, job: Job, device: Device, seed: int) -> RealCircuits:
        """A job's circuits on the board of a run. Raises E0726 for a job that is not compiled, E0722 for cells that are not
        linear."""
        configuration = configuration_of(job)
        return RealCircuits(configuration, device, self.board(device, configuration.codes, seed), seed)

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend` and `spucc.targets.exact.reader`."""
        circuits = self.circuits(job, device, request.seed)
        yield from chunks(reader(configuration_of(job), circuits, job.name, request), job, request, progress)

    def follow(
        self,
        job: Job,
        device: Device,
        start: FloatArray,
        *,
        duration: float,
        times: int,
        paths: int,
        seed: int = 0,
    ) -> LinearPaths:
        """Paths of the board's own circuit: see `spucc.targets.paths.follow`. Raises E0738 besides."""
        loads = self.circuits(job, device, seed).loads(duration / times)
        return follow(job, device, start, duration=duration, times=times, paths=paths, seed=seed, loads=loads)

    def about(self, jobs: Iterable[tuple[Job, Device]], seed: int) -> dict[str, float]:
        """How far the law of the board of a run is from the compiled one, the worst over jobs (`board_error`): `sd_error`,
        `mean_error_in_sd`, `correlation_error`, and the `drift` of its noise with its `power_at_start`. Without the first three
        where a job is too large or in a loop with the host."""
        made = [(job, device, self.circuits(job, device, seed)) for job, device in jobs]
        out = {"drift": max((device.spec.noise.drift for _, device, _ in made), default=0.0)}
        if out["drift"]:
            out["power_at_start"] = made[0][2].power_at_start
        found = [board_error(*one) for one in made]
        known = [e for e in found if e is not None]
        if not known or len(known) < len(found):
            return out
        return {
            "sd_error": max(e.sd for e in known),
            "mean_error_in_sd": max(e.mean for e in known),
            "correlation_error": max(e.correlation for e in known),
            **out,
        }


@dataclass(frozen=True)
class BoardError:
    """How far the law of a board is from the compiled one, the worst coordinate or pair: standard deviations relative, means
    in standard deviations, correlations."""

    sd: float
    mean: float
    correlation: float


@one_blas_thread()
def board_error(job: Job, device: Device, circuits: RealCircuits) -> BoardError | None:
    """What a board's parts and converter (clipping and drift apart) change of the law that the codes stand for. None for jobs
    of more than 256 coordinates or cells, and for those in a loop with the host, which takes the board to be as its file
    says."""
    configuration = configuration_of(job)
    codes = configuration.codes
    looped = any(isinstance(b, HostLoop) for b in configuration.readback)
    if looped or max(codes.n, job.target.n) > _COMPARED:
        return None
    if not job.target.n:
        return BoardError(0.0, 0.0, 0.0)
    wanted = law(configuration, device)
    found = law(configuration, device, [circuits.shown(m) for m in range(codes.members)])
    want, have = wanted.cov(), found.cov()
    sd, realised = np.sqrt(np.diagonal(want)), np.sqrt(np.diagonal(have))
    with np.errstate(invalid="ignore", divide="ignore"):
        # A cell that reads nothing is correlated with nothing.
        correlation = np.nan_to_num(have / np.outer(realised, realised))
    np.fill_diagonal(correlation, 1.0)
    return BoardError(
        float(np.abs(realised / sd - 1.0).max()),
        float(np.abs((found.mean - wanted.mean) / sd).max()),
        float(np.abs(correlation - want / np.outer(sd, sd)).max()),
    )
