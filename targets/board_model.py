"""What a real board adds to its file: parts that are not quite nominal, noise that is not quite white, a
converter.

`draw_board` makes a board from the device file and a number; `BoardModel` runs programs on it. What the
programs were compiled for is the file (and its calibration, if there is one), what they run on is the drawn
board: physics §5 says how large the differences are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, frozen
from spucc.backend import Chunk, Normals, Progress, Request, Streams, silent
from spucc.device import Adc, Bank, Calibration, Dead, Device
from spucc.diagnostics import fail
from spucc.stages import Configuration, Job, Quantized
from spucc.targets.circuits import Board, board
from spucc.targets.exact import Cells, Circuits, chunks, configuration_of, reader
from spucc.targets.law import Gaussian, cells
from spucc.targets.linear import repeated, system, updated
from spucc.targets.stepper import GENERAL_STATES, Stepper, general, stepper
from spucc.targets.walk import Walk

# No part is below a twentieth of its nominal value, however wide its tolerance.
_LEAST = 0.05
# Updates of the noise that are so much quicker than the circuit make it white: variances differ by a third of
# this (physics §5).
_WHITE = 1e-7
# Entries of a level table beyond which a board is not drawn.
_TABLE = 2**26


@dataclass(frozen=True, eq=False)
class Truth:
    """The true parameters of one board. `parts`: every cell's and coupler's true values, as `Calibration` has
    them; `temperature` [nodes]: the factor on each cell's injected noise power; `faults`: parts that fail
    without the file saying so (a dead cell is shorted to ground and reads 0, a dead coupler is open)."""

    parts: Calibration
    temperature: FloatArray
    faults: Dead = field(default_factory=Dead)


def draw_board(
    device: Device, number: int = 0, *, nodes: int | None = None, faults: Dead | None = None
) -> Truth:
    """Board number `number` of a device. `nodes` says how many cells there are where the file does not.

    Each part is its nominal value times 1 + tolerance · N(0, 1). A bank's part is each of its binary
    weights, so that levels are in error together as in a real switched bank; a bank given by its levels errs
    in each. Continuous banks are taken to be trimmed. Raises E0724 for tables that do not fit memory.
    """
    spec, graph = device.spec, device.topology
    n = graph.nodes if graph.nodes is not None else (nodes or 0)
    m = int(graph.edges.shape[0])
    streams = Streams(number, spec.name)

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
    return Truth(parts, temperature, faults or Dead())


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
    cell, edges = codes.cell, codes.edges
    alive = ~np.isin(cell, truth.faults.cells)
    broken = {tuple(sorted(pair)) for pair in truth.faults.couplers}
    if broken and edges.size:
        pairs = np.sort(cell[edges], axis=1)
        open_now = np.array([tuple(p) in broken for p in pairs.tolist()])
        # An open coupler leaves nothing, whatever its code; 0 is the value of a switched-off one.
        off = replace(codes, edges=frozen(edges[~open_now], np.int64), coupling=codes.coupling[:, ~open_now])
        codes = off
    true = board(codes, member, replace(device, calibration=truth.parts))
    noise = known.noise * truth.temperature[cell]
    keep = np.flatnonzero(alive)
    return (
        replace(
            true,
            matrix=sparse.csr_array(true.matrix[keep][:, keep]),
            bias=true.bias[keep],
            resistance=true.resistance[keep],
            inductance=true.inductance[keep],
            series_resistance=true.series_resistance[keep],
            noise=noise[keep],
        ),
        alive,
    )


class RealCircuits(Circuits):
    """The circuits of a drawn board, its noise sources and its converter."""

    def __init__(self, configuration: Configuration, device: Device, truth: Truth) -> None:
        codes = configuration.codes
        super().__init__([board(codes, m, device) for m in range(codes.members)])
        self._spec = device.spec
        self._true = [true_circuit(codes, m, device, truth) for m in range(codes.members)]

    def _update(self, m: int) -> float:
        """The interval [s] at which noise is updated, 0 where it is white to seven digits or more."""
        tau, circuit = self._spec.noise.update_interval, self._true[m][0]
        if not tau or not circuit.n:
            return 0.0
        _small_enough(circuit)
        return 0.0 if tau * float(np.linalg.norm(system(circuit).drift, 1)) < _WHITE else tau

    def law(self, m: int, dtype: str) -> Gaussian:
        circuit, tau = self._true[m][0], self._update(m)
        if not tau:
            return cells(circuit)
        linear = system(circuit)
        f, q, before = updated(linear, tau, self._spec.noise.hold)
        covariance = repeated(f, q, None)[1][before:, before:]
        return Gaussian(linear.mean_read(), covariance=linear.read(covariance))

    def path(self, m: int, interval: float, settle: float, dtype: str) -> Stepper | Walk:
        interval = max(interval, 1.0 / self._spec.adc.rate)
        circuit, tau = self._true[m][0], self._update(m)
        if not tau:
            return stepper(circuit, interval, settle, dtype)
        # Draws are whole numbers of updates apart.
        linear = system(circuit)
        f, q, _ = updated(linear, tau, self._spec.noise.hold)
        begin = repeated(f, q, None if settle == 0 else ceil(settle / tau))[1]
        return general(linear, *repeated(f, q, max(1, round(interval / tau))), begin, np.float64)

    def readout(self, m: int, source: Cells, interval: float, streams: Streams) -> Cells:
        alive = self._true[m][1]
        return Converted(source, alive, self._spec.adc, self._spec.noise.drift, interval, streams)


def _small_enough(circuit: Board) -> None:
    if circuit.n > GENERAL_STATES // 2:
        fail(
            "E0724",
            f"{circuit.n} cells are too many for noise that is updated at intervals",
            help="set update_interval = 0 in the device file for white noise",
        )


@dataclass
class Converted:
    """The cells as the converter shows them: noise power that wanders, input noise, steps of
    2·full_scale/2^bits, and nothing beyond ±full_scale. Dead cells read 0.

    The wandering is a sum of slow waves, periods from a second to an hour, of relative standard deviation
    `drift` together: a function of time, so that a run can be resumed anywhere.
    """

    source: Cells
    alive: BoolArray
    adc: Adc
    drift: float
    interval: float
    streams: Streams
    _noise: Normals | None = None

    def take(self, first: int, count: int) -> NDArray[Any]:
        shown = self.source.take(first, count)
        if self.drift:
            gain = self._gain(first, count, shown.shape[0])[:, :, None]
            shown = np.asarray(shown * gain.astype(shown.dtype))
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

    def _gain(self, first: int, count: int, chains: int) -> FloatArray:
        time = np.arange(first, first + count) * self.interval
        waves = 12
        rate = 2.0 * np.pi / np.geomspace(1.0, 3600.0, waves)
        out = np.empty((chains, count))
        for c in range(chains):
            a, b = self.streams.at(c, 2**62).standard_normal((2, waves))
            out[c] = (np.cos(np.outer(time, rate)) @ a + np.sin(np.outer(time, rate)) @ b) / np.sqrt(waves)
        # Power wanders by `drift`, amplitude by half of it.
        return np.asarray(np.sqrt(np.maximum(_LEAST, 1.0 + self.drift * out)))

    @property
    def state(self) -> NDArray[Any]:
        return self.source.state

    @property
    def note(self) -> str:
        return self.source.note


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
    """Runs programs on board number `number` of their device, with `faults` that the file does not know of,
    or on the board `truth`."""

    name: str = "board-model"
    number: int = 0
    faults: Dead = field(default_factory=Dead)
    truth: Truth | None = None

    def board(self, device: Device, codes: Quantized) -> Truth:
        """The board that a program would run on."""
        if self.truth is not None:
            return self.truth
        return draw_board(device, self.number, nodes=int(codes.cell.max(initial=-1)) + 1, faults=self.faults)

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend` and `spucc.targets.exact.reader`."""
        configuration = configuration_of(job)
        circuits = RealCircuits(configuration, device, self.board(device, configuration.codes))
        yield from chunks(reader(configuration, circuits, job.name, request), job, request, progress)
