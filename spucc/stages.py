"""The stages of the compiler, and nothing else: `docs/ir.md` shows them on one screen.

    Energy → (passes on the whole model) → Job: Energy → Couplings → Placed → Quantized → Configuration → Program

Every value is frozen, every array read-only, every order stable. A `State` is what stands between two passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, canonical, frozen
from spucc.device import Device, Family
from spucc.energy import Domain, Energy
from spucc.readback import Affine, ReadBack, fold

if TYPE_CHECKING:
    from spucc.running.results import Result


class Stage(StrEnum):
    """Where a state stands. The order below is the order of the pipeline."""

    ENERGY = "energy"
    JOBS = "jobs"
    COUPLINGS = "couplings"
    PLACED = "placed"
    QUANTIZED = "quantized"
    PROGRAM = "program"


class Role(IntEnum):
    """What a cell is to the coordinate that it stands for."""

    PLAIN = 0
    PLUS = 1
    """v⁺ of a double cover."""
    MINUS = 2
    """v⁻ of a double cover."""
    BORDER = 3
    """The cell whose covariances with the others are the mean."""
    AUXILIARY = 4
    """A cell that carries no coordinate of its own: hidden, or an auxiliary spin."""


@dataclass(frozen=True, eq=False)
class Couplings:
    """What the device must realise, before it has a place, in dimensionless cells y:

        E(y)/T = ½ yᵀ K y − bias·y + Σ_i quartic_i y_i⁴

    For real cells and no quartic term K is the precision. For spins K has a zero diagonal and −K is Ising's J, bias is h.
    `coordinate[c]` is the job's coordinate that cell c stands for (−1: none) and `role[c]` says how.
    Invariant: K is symmetric, and realisable by the family.
    """

    family: Family
    domain: Domain
    matrix: sparse.csr_array
    bias: FloatArray
    coordinate: IntArray
    role: IntArray
    quartic: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", canonical(self.matrix))

    @property
    def n(self) -> int:
        return int(self.bias.size)


@dataclass(frozen=True, eq=False)
class Placed:
    """Cells and couplers of the device with component values.

    Position p of the arrays is cell `cell[p]` of the device and carries logical cell `chain[p]` of the `Couplings`;
    several positions of one logical cell are a chain. Coupler k joins positions `edges[k] = (p, q)`, p < q in
    lexicographic order. `ground`, `coupling`, `bias` are in the units of the device's banks. The matrix that the components
    make is (`spucc.circuit.assemble`)

        springs (capacitors):  C_pp = ground_p + Σ_k |coupling_k|,  C_pq = −coupling_k
        otherwise:             C_pp = ground_p,                     C_pq = −coupling_k

    and the dimensionless K of the cells is C / scale: scale is θ [J] for capacitors and coils, κ0/C0 for resistive cells, 1 on
    families without units. A positive coupling is attractive, whatever the family. Strays are the device's, not in `ground`
    and `coupling`: `spucc.circuit.network` adds them. A capacitor bank with `min` 0 can be switched off. `coordinate` and
    `role` are those of the logical cell, one entry a position.
    """

    family: Family
    domain: Domain
    cell: IntArray
    chain: IntArray
    edges: IntArray
    ground: FloatArray
    coupling: FloatArray
    bias: FloatArray
    scale: float
    coordinate: IntArray
    role: IntArray
    quartic: FloatArray | None = None

    @property
    def n(self) -> int:
        return int(self.cell.size)

    @property
    def dimensionless(self) -> bool:
        """Whether the values are still those of K, before `fit` gave them units: then the scale is 1 and the board's strays
        are not among them."""
        return self.scale == 1.0

    def quantized(
        self,
        ground: IntArray | FloatArray,
        coupling: IntArray | FloatArray,
        bias: IntArray | FloatArray,
        scale: FloatArray,
        weight: FloatArray,
        readback: tuple[Affine, ...],
        quartic: IntArray | FloatArray | None = None,
    ) -> Quantized:
        """The same cells and couplers with codes for values, a row a member: see `Quantized`."""
        return Quantized(
            family=self.family,
            domain=self.domain,
            cell=self.cell,
            chain=self.chain,
            edges=self.edges,
            ground=ground,
            coupling=coupling,
            bias=bias,
            scale=scale,
            weight=weight,
            readback=readback,
            coordinate=self.coordinate,
            role=self.role,
            quartic=quartic,
        )


@dataclass(frozen=True, eq=False)
class Quantized:
    """`Placed` with integer codes for values, for an ensemble of one or more members (the first axis).

    `ground` [members, n], `coupling` [members, edges], `bias` [members, n] and `quartic` are codes of the device's banks
    (a negative code of a signed bank is the negative of its magnitude's value); on a continuous bank they are the values
    themselves. `scale` [members] as in `Placed`; `weight` [members] is the share of draws taken from each member, and
    `readback[m]` corrects member m's cells y to the cells that the stage before promised (the free diagonal scale and mean
    of mapping.md §0.2).
    """

    family: Family
    domain: Domain
    cell: IntArray
    chain: IntArray
    edges: IntArray
    ground: IntArray | FloatArray
    coupling: IntArray | FloatArray
    bias: IntArray | FloatArray
    scale: FloatArray
    weight: FloatArray
    readback: tuple[Affine, ...]
    coordinate: IntArray
    role: IntArray
    quartic: IntArray | FloatArray | None = None

    @property
    def n(self) -> int:
        return int(self.cell.size)

    @property
    def members(self) -> int:
        return int(self.scale.size)


@dataclass(frozen=True)
class Schedule:
    """When to read: `settle` [s] from cold, `interval` [s] between draws, `draws` a chain, `chains`; `ess_per_draw` the
    predicted effective sample size of one draw for the worst variance; on families without a clock the times are sweeps."""

    settle: float = 0.0
    interval: float = 0.0
    draws: int = 1000
    chains: int = 4
    ess_per_draw: float = 1.0
    host_operations: float = 0.0
    """Multiplications that the host does for one draw."""
    loads_per_draw: float = 0.0
    """Configurations that the device is loaded with for one draw (`spucc.running.turns`); 0: one load for all of them."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """What one load of the device is set to, and how its draws become the job's coordinates: `readback` is applied from
    last to first (`spucc.readback.fold`), after the member's own correction in `codes`."""

    codes: Quantized
    schedule: Schedule
    readback: tuple[ReadBack, ...]


JobValue = Energy | Couplings | Placed | Quantized | Configuration


@dataclass(frozen=True)
class LedgerEntry:
    """What the realised distribution of a job has lost against the model once a pass is done (cumulative).

    `kl_forward` = KL(target ‖ realised) and `kl_reverse` are in nats per variable; `sd_error` is the worst relative error
    of a standard deviation, `mean_error` the worst shift of a mean in standard deviations, `correlation_error` the worst
    error of a correlation. `basis` is `exact`, `bound`, `estimate`, or `none` when nothing can be said.
    """

    job: str
    name: str
    kl_forward: float
    kl_reverse: float
    sd_error: float
    mean_error: float
    correlation_error: float
    basis: str = "exact"
    note: str = ""


@dataclass(frozen=True, eq=False)
class Step:
    """A pass that a job went through, as it prints, and its read-back."""

    name: str
    readback: ReadBack | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Job:
    """An independent part of the model. `target` is its own energy; coordinate k of it is coordinate `coordinates[k]` of
    the state's `model`. `value` is where the job stands now."""

    name: str
    target: Energy
    coordinates: IntArray
    value: JobValue
    steps: tuple[Step, ...] = ()

    def readbacks(self) -> tuple[ReadBack, ...]:
        """Every read-back so far, in the order of the passes."""
        return tuple(s.readback for s in self.steps if s.readback is not None)


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where a program comes from: the source files' text by name, digests of source and data, version."""

    sources: tuple[tuple[str, str], ...] = ()
    program_digest: str = ""
    data_digest: str = ""
    version: str = ""


@dataclass(frozen=True, eq=False)
class State:
    """What stands between two passes. `source` is the energy as written, `model` the one that is left after the passes on
    the whole model, whose read-backs are in `steps`; `jobs` are empty until the model is split."""

    stage: Stage
    source: Energy
    model: Energy
    device: Device
    jobs: tuple[Job, ...] = ()
    steps: tuple[Step, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def _repr_html_(self) -> str:
        from spucc.report.notebook import state_html

        return state_html(self)


@dataclass(frozen=True, eq=False)
class Program:
    """Complete: a backend and the read-out need nothing else. `jobs` hold `Configuration`s in the order to run them;
    `source` gives names, queries and observations; `steps` lead from the jobs' coordinates back to the source's."""

    device: Device
    source: Energy
    model: Energy
    jobs: tuple[Job, ...]
    steps: tuple[Step, ...]
    ledger: tuple[LedgerEntry, ...]
    provenance: Provenance
    pipeline: str = ""

    def device_of(self, job: Job) -> Device:
        """The device that carries a job: of a pair, the one of its cells' family."""
        value = job.value
        return self.device.of(value.codes.family) if isinstance(value, Configuration) else self.device

    def run(self, **options: Any) -> Result:
        """Run on a backend and answer the queries: `spucc.running.run.run_program`."""
        from spucc.running.run import run_program

        return run_program(self, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to a `.spuc` file: `spucc.ir.write_program`."""
        from spucc.ir import write_program

        write_program(self, path)

    def _repr_html_(self) -> str:
        from spucc.report.notebook import program_html

        return program_html(self)


def source_maps(program: Program) -> tuple[list[sparse.csr_array], FloatArray]:
    """For each job the matrix that takes its coordinates to those of the source [n, n_job], and the offset [n]."""
    back = fold([s.readback for s in program.steps if s.readback is not None], program.source.n)[0]
    assert isinstance(back, Affine)
    columns = sparse.csc_array(back.matrix)
    return [sparse.csr_array(columns[:, job.coordinates]) for job in program.jobs], back.offset


def cells_of(couplings: Couplings, energy: Energy) -> list[str]:
    """The names of logical cells in the user's words: `x[3]`, `x[3]+`, `border`."""
    suffix = {
        Role.PLAIN: "",
        Role.PLUS: "+",
        Role.MINUS: "-",
        Role.BORDER: "border",
        Role.AUXILIARY: "hidden",
    }
    return [
        (energy.label(int(c)) if c >= 0 else "") + suffix[Role(int(r))]
        for c, r in zip(couplings.coordinate, couplings.role)
    ]


def plain_roles(n: int) -> IntArray:
    """Roles of n cells that carry one coordinate each."""
    return frozen(np.full(n, Role.PLAIN), np.int64)


def edge_list(matrix: sparse.csr_array) -> tuple[IntArray, FloatArray]:
    """The upper triangle of a symmetric sparse matrix: pairs [m, 2] with i < j in lexicographic order, and entries."""
    upper = sparse.coo_array(sparse.triu(matrix, k=1))
    order = np.lexsort((upper.col, upper.row))
    pairs = np.stack([upper.row[order], upper.col[order]], axis=1)
    return frozen(pairs, np.int64), frozen(upper.data[order])


def symmetric(n: int, edges: IntArray, values: FloatArray, diagonal: FloatArray) -> sparse.csr_array:
    """The symmetric sparse matrix with the given upper triangle and diagonal."""
    i, j = edges[:, 0], edges[:, 1]
    d = np.arange(n)
    rows, cols = np.concatenate([i, j, d]), np.concatenate([j, i, d])
    data = np.concatenate([values, values, diagonal])
    matrix = sparse.csr_array(sparse.coo_array((data, (rows, cols)), shape=(n, n)))
    matrix.sort_indices()
    return matrix


def notes(*texts: str | Sequence[str]) -> tuple[str, ...]:
    """Notes of a step, empty ones left out."""
    flat: list[str] = []
    for text in texts:
        flat.extend([text] if isinstance(text, str) else text)
    return tuple(t for t in flat if t)
