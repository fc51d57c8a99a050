"""From codes to the physical circuit: what the device really is once a configuration is loaded.

Shares nothing with the passes: it starts from the integer codes, the device's level tables (measured where
they were measured) and strays, and writes down the circuit's equations (physics §1, §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.circuit import network
from spucc.device import Bank, Device, Family
from spucc.diagnostics import fail
from spucc.stages import Quantized


@dataclass(frozen=True, eq=False)
class Board:
    """One load of a device, in SI units. n cells in the order of the configuration's positions.

    `matrix` [n, n]: C [F] of capacitors, G [S] of resistive cells, L [H] of coils, the quadratic part of the
    potential elsewhere. `bias` [n]: the injected current [A], or the linear part of the potential. `resistance`
    [Ω], `inductance` [H] of the coils beside capacitors, `series_resistance` [Ω], `noise` [n]: κ_i of each
    cell's source, A²/Hz of currents, V²/Hz of the voltages in series with coupled coils. `scale` as in
    `spucc.stages.Placed`: the precision of the cells is matrix/scale where the circuit is in equilibrium.
    """

    family: Family
    matrix: sparse.csr_array
    bias: FloatArray
    resistance: FloatArray
    inductance: FloatArray
    series_resistance: FloatArray
    noise: FloatArray
    capacitance: float
    mobility: float
    scale: float

    @property
    def n(self) -> int:
        return int(self.bias.size)

    @cached_property
    def equilibrium(self) -> bool:
        """Whether the law after infinite time is the Boltzmann law of the matrix, N(matrix⁻¹ bias,
        scale·matrix⁻¹).

        Every source is at the temperature of its resistor (`temperatures`); of capacitors none is lost in series
        with a coil.
        """
        if self.family is Family.CAPACITIVE and self.series_resistance.any():
            return False
        theta = self.temperatures
        return bool(np.ptp(theta) <= 1e-12 * theta.max(initial=0.0)) if theta.size else True

    @property
    def loop(self) -> FloatArray:
        """What a current through each coil meets [n], in Ω."""
        return self.resistance + self.series_resistance

    @property
    def temperatures(self) -> FloatArray:
        """The scale that each cell's noise really has [n]: κR of capacitors and κ/R of coils [J], κ/C0 of resistive
        cells, κ elsewhere."""
        if self.family is Family.CAPACITIVE:
            return self.noise * self.resistance
        if self.family is Family.INDUCTIVE:
            return self.noise / self.loop
        return self.noise / (self.capacitance if self.family is Family.RESISTIVE else 1.0)

    @property
    def temperature(self) -> float:
        """That of the first cell; of all in equilibrium."""
        return float(self.temperatures[0]) if self.n else self.scale


def levels_of(bank: Bank, codes: IntArray | FloatArray, table: FloatArray | None) -> FloatArray:
    """Values [n] of codes [n]; `table` [n, magnitudes] gives measured values of each part's codes."""
    if bank.continuous or table is None:
        return bank.decode(codes)
    magnitude = np.abs(codes).astype(np.int64)
    value = np.asarray(table)[np.arange(magnitude.size), magnitude]
    return np.where(np.asarray(codes) < 0, -value, value)


def board(codes: Quantized, member: int, device: Device) -> Board:
    """The circuit that member `member` of a configuration makes on a device.

    Noise is injected at θ/R_i (in loops of coils at θR_i) with the resistance that is known (measured, else
    nominal), so that a calibrated board of unequal resistors is in equilibrium.

    Raises:
        SpuccError: E0722 for a device whose cells do not obey a linear equation.
    """
    spec, measured, cells = device.spec, device.calibration, codes.cell
    if device.family is Family.PBIT or (codes.quartic is not None and np.any(codes.quartic)):
        fail(
            "E0722",
            f"the cells of `{device.name}` are not linear, so the exact simulation cannot run them",
            help="choose the stochastic simulation of the device's family",
        )
    ground_table = measured.ground_levels
    coupling_table = measured.coupling_levels
    if coupling_table is not None and codes.edges.size:
        coupling_table = coupling_table[device.coupler_ids(cells[codes.edges])]
    ground = levels_of(
        spec.ground, codes.ground[member], None if ground_table is None else ground_table[cells]
    )
    coupling = levels_of(spec.coupling, codes.coupling[member], coupling_table)
    bias = np.asarray((spec.bias or Bank()).decode(codes.bias[member]), dtype=np.float64)

    def known(table: FloatArray | None, nominal: float) -> FloatArray:
        return np.full(codes.n, nominal) if table is None else np.asarray(table[cells], dtype=np.float64)

    circuit = spec.circuit
    scale = float(codes.scale[member])
    resistance = known(measured.resistance, circuit.resistance)
    series = known(measured.series_resistance, circuit.series_resistance)
    if device.family is Family.CAPACITIVE:
        with np.errstate(all="ignore"):
            noise = scale / resistance
    elif device.family is Family.INDUCTIVE:
        noise = scale * (resistance + series)
    elif device.family is Family.RESISTIVE:
        noise = np.full(codes.n, scale * circuit.capacitance)
    else:
        noise = np.full(codes.n, scale)
    made = Board(
        family=device.family,
        matrix=network(device, cells, codes.edges, ground, coupling),
        bias=bias,
        resistance=resistance,
        inductance=known(measured.inductance, circuit.inductance),
        series_resistance=series,
        noise=noise,
        capacitance=circuit.capacitance,
        mobility=circuit.mobility,
        scale=scale,
    )
    assert_parts(made)
    return made


# What a part may be in base units: what any board could be built of.
BOUNDS = {"R": (1e-6, 1e15, "Ω"), "C": (1e-21, 1e3, "F"), "L": (1e-15, 1e6, "H")}
# How much quicker than the slowest motion of a circuit the quickest may be for rounding to leave a law of both.
_SPAN = 1e12


def assert_parts(circuit: Board) -> None:
    """Raises E0720 for parts that no board could be built of, and for values that are no numbers. Totals that are not positive
    are left to the factor of the matrix (E0721)."""
    own = np.asarray(circuit.matrix.diagonal())
    parts: dict[str, tuple[str, FloatArray]] = {}
    if circuit.family is Family.CAPACITIVE:
        parts = {
            "resistance": ("R", circuit.resistance),
            "inductance": ("L", circuit.inductance),
            "series resistance": ("R", circuit.series_resistance[circuit.series_resistance != 0]),
            "capacitance": ("C", own[~(own <= 0)]),
        }
    elif circuit.family is Family.INDUCTIVE:
        parts = {"resistance": ("R", circuit.loop), "inductance": ("L", own[~(own <= 0)])}
    elif circuit.family is Family.RESISTIVE:
        good = own[~(own <= 0)]
        parts = {"capacitance": ("C", np.array([circuit.capacitance])), "resistance": ("R", 1.0 / good)}
    for name, (kind, values) in parts.items():
        low, high, unit = BOUNDS[kind]
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            _refuse(f"a {name} is {values[bad][0]:g} {unit}, which no part has")
    numbers = (
        circuit.matrix.data,
        circuit.bias,
        circuit.noise,
        np.array([circuit.capacitance, circuit.mobility]),
    )
    if not all(np.isfinite(x).all() and (np.abs(x) < 1e100).all() for x in numbers):
        _refuse("its values are not all numbers that can be calculated with")


def assert_followed(circuit: Board) -> None:
    """Raises E0720 for a circuit whose quickest and slowest motions are too far apart for double precision."""
    if circuit.family is not Family.CAPACITIVE or not circuit.n:
        return
    own = np.asarray(circuit.matrix.diagonal())
    own = own[own > 0] if (own > 0).any() else np.ones(1)
    with np.errstate(all="ignore"):
        # A mode swings at ω = 1/√(l c) and dies out with 1/(2Rc); one that does not swing has the rates 1/(Rc) and R/l; a
        # series resistor adds r/l.
        swing = 1.0 / np.sqrt(circuit.inductance * own.min())
        loss = 1.0 / circuit.resistance
        quick = max(
            swing.max(), (loss / own.min()).max(), (circuit.series_resistance / circuit.inductance).max()
        )
        slow = min((0.5 * loss / own.max()).min(), (circuit.resistance / circuit.inductance).min())
        span = float(quick / slow)
    if not span <= _SPAN:
        _refuse(
            f"its quickest motion is {span:.1g} times as quick as its slowest, which cannot be calculated in double precision"
        )


def _refuse(why: str) -> None:
    fail(
        "E0720",
        f"the circuit cannot be simulated: {why}",
        help="check the values in the device file and its calibration",
    )
