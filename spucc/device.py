"""A device is data: a TOML file checked into a frozen `Device`. A new board is a new file and no code.

The sections of the file are the classes below, field for field; units are SI unless a field says otherwise. `provenance`
says, for any field by its dotted name, where its figure comes from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import msgspec
import numpy as np

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen

Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]


class Family(StrEnum):
    """What the cells are. `physics.md` §1 and §3 give each family's equations."""

    IDEAL = "ideal"
    CAPACITIVE = "capacitive"
    RESISTIVE = "resistive"
    INDUCTIVE = "inductive"
    LANGEVIN = "langevin"
    PBIT = "pbit"

    @property
    def springs(self) -> bool:
        """Whether a coupler adds to both diagonals, as a capacitor between two nodes does."""
        return self is Family.CAPACITIVE

    @property
    def electric(self) -> bool:
        """Whether the cells are a linear circuit, which has a clock in seconds."""
        return self in (Family.CAPACITIVE, Family.RESISTIVE, Family.INDUCTIVE)


class Bank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The values that one kind of component can take. Without `bits` and `levels` any value in the range.

    `levels`, if given, are the values of the codes 0, 1, …; else code k stands for min + k·(max − min)/(2^bits − 1).
    With `signed` a code may be negative, and stands for the negative of its magnitude's value. `tolerance` is the
    relative standard deviation of a component about its nominal value.
    """

    unit: str = "1"
    min: float = 0.0
    max: float = float("inf")
    bits: Annotated[int, msgspec.Meta(ge=1, le=32)] | None = None
    levels: tuple[float, ...] | None = None
    signed: bool = False
    tolerance: NonNegative = 0.0

    @property
    def continuous(self) -> bool:
        return self.bits is None and self.levels is None

    @property
    def codes(self) -> int:
        """How many magnitudes there are."""
        if self.levels is not None:
            return len(self.levels)
        return 1 << (self.bits or 0)

    @property
    def step(self) -> float:
        """The distance of neighbouring levels of a uniform bank (0 for a continuous one)."""
        return 0.0 if self.continuous else (self.max - self.min) / max(self.codes - 1, 1)

    def table(self) -> FloatArray:
        """The nominal value of every magnitude code."""
        if self.levels is not None:
            return frozen(self.levels)
        return frozen(self.min + np.arange(self.codes) * self.step)

    def decode(self, codes: IntArray | FloatArray) -> FloatArray:
        """Nominal values of codes; a continuous bank's codes are its values."""
        if self.continuous:
            return np.asarray(codes, dtype=np.float64)
        magnitude = np.abs(codes).astype(np.int64)
        value = self.table()[magnitude] if self.levels is not None else self.min + magnitude * self.step
        return np.where(np.asarray(codes) < 0, -value, value)


class TopologySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which cells are joined by a coupler. `kind` is one of: any (no limit), complete, grid, king, torus, chimera,
    pegasus, bipartite, offset, list. `offset` adds (x+a, y+b), (x−b, y+a), (x−a, y−b), (x+b, y−a) for each rule (a, b)."""

    kind: str
    nodes: int | None = None
    rows: int | None = None
    cols: int | None = None
    shore: int = 4
    rules: tuple[tuple[int, int], ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    edges_file: str | None = None


class Circuit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The parts of a cell that are not programmed. Ω, H, F; `theta` [J] = κ0·R is the scale of the injected noise, and is
    programmable between its bounds. `capacitance` is C0 of a resistive cell; `mobility` μ and `temperature` kT of a
    Langevin unit; `coil_coupling` the largest |M|/√(L_p L_q) that two coils of an inductive device can have."""

    resistance: Positive = 1e3
    inductance: Positive = 100e-6
    series_resistance: NonNegative = 0.0
    capacitance: Positive = 1e-9
    theta_min: Positive = 1e-24
    theta_max: Positive = 1.0
    coil_coupling: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    resistance_tolerance: NonNegative = 0.0
    inductance_tolerance: NonNegative = 0.0
    mobility: Positive = 1.0
    temperature: Positive = 1.0


class Strays(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is there although nobody set it [F, S or H]: at each cell to ground, across every coupler of the board."""

    ground: NonNegative = 0.0
    coupling: NonNegative = 0.0


class Noise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The injected noise: 0 update interval [s] is white; `hold` is `held` or `linear`; `temperature_tolerance` the
    relative standard deviation of a cell's noise power, `drift` that of the slow wandering of all of it together (a
    fraction, over periods from a second to an hour)."""

    update_interval: NonNegative = 0.0
    hold: str = "held"
    temperature_tolerance: NonNegative = 0.0
    drift: NonNegative = 0.0


class Adc(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The read-out: `bits` over ±`full_scale` [V, of coils A], input noise [V or A rms], samples a second."""

    bits: int | None = None
    full_scale: Positive = float("inf")
    noise: NonNegative = 0.0
    rate: Positive = float("inf")


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds to load a configuration; updates a second of a spin cell."""

    configure: NonNegative = 0.0
    update_rate: Positive | None = None


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Joules an operation; an absent price is unknown, not zero."""

    sample: float | None = None
    update: float | None = None
    configure: float | None = None


class Dead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parts that do not work: cells by number, couplers by their two cells."""

    cells: tuple[int, ...] = ()
    couplers: tuple[tuple[int, int], ...] = ()


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parts that fail although the compiler takes them to work: only the board model sees them, on each of its boards. (What is
    known not to work belongs in `dead`, which the compiler keeps away from.)

    `dead_cells` are shorted to ground and read 0; `dead_couplers` are open. `stuck_cells` (cell, code) and `stuck_couplers`
    (cell, cell, code) stay at a code of their bank, on a continuous bank at a value, whatever they are set to."""

    dead_cells: tuple[int, ...] = ()
    dead_couplers: tuple[tuple[int, int], ...] = ()
    stuck_cells: tuple[tuple[int, float], ...] = ()
    stuck_couplers: tuple[tuple[int, int, float], ...] = ()


class DeviceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device file, field for field."""

    name: str
    family: Family
    topology: TopologySpec
    description: str = ""
    ground: Bank = Bank()
    coupling: Bank = Bank()
    bias: Bank | None = None
    quartic: Bank | None = None
    circuit: Circuit = Circuit()
    strays: Strays = Strays()
    noise: Noise = Noise()
    adc: Adc = Adc()
    timing: Timing = Timing()
    energy: Prices = Prices()
    dead: Dead = Dead()
    faults: Faults = Faults()
    calibration: str | None = None
    provenance: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Topology:
    """The graph of a device: `nodes` cells (None: as many as wanted, all joined), `edges` [m, 2] with i < j in
    lexicographic order, `position` [nodes, 2] where a drawing puts the cells."""

    kind: str
    nodes: int | None
    edges: IntArray
    position: FloatArray

    @cached_property
    def degree(self) -> IntArray:
        return frozen(np.bincount(self.edges.ravel(), minlength=self.nodes or 0), np.int64)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Measured values that replace nominal ones; an absent table leaves the nominal value.

    Per cell [nodes]: `resistance`, `inductance`, `series_resistance`, `stray_ground`. Per coupler [edges]:
    `stray_coupling`. Level tables: `ground_levels` [nodes, codes], `coupling_levels` [edges, codes].
    """

    resistance: FloatArray | None = None
    inductance: FloatArray | None = None
    series_resistance: FloatArray | None = None
    stray_ground: FloatArray | None = None
    stray_coupling: FloatArray | None = None
    ground_levels: FloatArray | None = None
    coupling_levels: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Device:
    """A device that programs are compiled for: its file, its graph, and what was measured of it.

    Of a pair that carries a model of real variables and spins together, this is the reals' device and `partner` the spins'.
    """

    spec: DeviceSpec
    topology: Topology
    calibration: Calibration = Calibration()
    partner: Device | None = None

    @property
    def name(self) -> str:
        return self.spec.name + ("" if self.partner is None else f"+{self.partner.name}")

    @cached_property
    def alone(self) -> Device:
        """The device without its partner."""
        return self if self.partner is None else replace(self, partner=None)

    def of(self, family: Family) -> Device:
        """The one of a pair whose cells are of a family."""
        return self.partner if self.partner is not None and self.partner.family is family else self.alone

    @property
    def family(self) -> Family:
        return self.spec.family

    @cached_property
    def alive(self) -> BoolArray:
        """Which cells work; only for a device with a fixed number of cells."""
        ok = np.ones(self.topology.nodes or 0, dtype=bool)
        ok[list(self.spec.dead.cells)] = False
        return ok

    @cached_property
    def live_edges(self) -> BoolArray:
        """Which couplers work and join working cells."""
        edges = self.topology.edges
        ok = self.alive[edges].all(axis=1) if edges.size else np.zeros(0, dtype=bool)
        dead = {(min(i, j), max(i, j)) for i, j in self.spec.dead.couplers}
        if dead:
            n = self.topology.nodes or 0
            ok = ok & ~np.isin(edges[:, 0] * n + edges[:, 1], [i * n + j for i, j in dead])
        return np.asarray(ok, dtype=bool)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything that a program depends on: the file's content but for faults, the graph, the measurements."""
        spec = msgspec.to_builtins(self.spec)
        del spec["faults"]
        if self.family is not Family.INDUCTIVE:
            # Says nothing of other families, whose digests are older than it.
            del spec["circuit"]["coil_coupling"]
        h = hashlib.sha256(msgspec.json.encode(spec, order="sorted"))
        h.update(self.topology.edges.tobytes())
        for table in vars(self.calibration).values():
            h.update(b"-" if table is None else table.tobytes())
        return h.hexdigest()[:16] + ("" if self.partner is None else f"+{self.partner.fingerprint}")

    def without(self, cells: Iterable[int] = (), couplers: Iterable[tuple[int, int]] = ()) -> Device:
        """The same device with more parts dead."""
        old = self.spec.dead
        dead = Dead(
            cells=tuple(sorted({*old.cells, *cells})),
            couplers=tuple(sorted({*old.couplers, *((min(i, j), max(i, j)) for i, j in couplers)})),
        )
        return replace(self, spec=msgspec.structs.replace(self.spec, dead=dead))

    def ground_levels(self, cells: IntArray) -> FloatArray:
        """Values [len(cells), codes] of the self bank's codes, measured where they were measured."""
        table = self.calibration.ground_levels
        if table is not None:
            return np.asarray(table[cells])
        return np.broadcast_to(self.spec.ground.table(), (len(cells), self.spec.ground.codes))

    def coupling_levels(self, couplers: IntArray) -> FloatArray:
        """Values [len(couplers), codes] of the magnitudes of the couplers' codes."""
        table = self.calibration.coupling_levels
        if table is not None:
            return np.asarray(table[couplers])
        return np.broadcast_to(self.spec.coupling.table(), (len(couplers), self.spec.coupling.codes))

    def coupler_ids(self, pairs: IntArray) -> IntArray:
        """Numbers of the couplers that join pairs [m, 2] of cells; −1 where there is none."""
        edges, n = self.topology.edges, self.topology.nodes or 0
        low, high = pairs.min(axis=1), pairs.max(axis=1)
        key, wanted = edges[:, 0] * n + edges[:, 1], low * n + high
        at = np.searchsorted(key, wanted)
        at = np.minimum(at, max(key.size - 1, 0))
        found = key[at] == wanted if key.size else np.zeros(wanted.size, dtype=bool)
        return np.where(found, at, -1)
