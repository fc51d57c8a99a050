"""Small states built by hand, one of every stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import (
    Bank,
    Calibration,
    Circuit,
    Dead,
    Device,
    DeviceSpec,
    Family,
    Strays,
    Topology,
    TopologySpec,
)
from spucc.diagnostics import Span
from spucc.energy import (
    Block,
    Domain,
    Energy,
    Form,
    Monomials,
    Observed,
    Origin,
    Product,
    Quadratic,
    Query,
    QueryKind,
    identity_form,
    layout,
)
from spucc.readback import Affine, HostLoop, Majority
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    LedgerEntry,
    Placed,
    Program,
    Provenance,
    Quantized,
    Role,
    Schedule,
    Stage,
    State,
    Step,
    plain_roles,
)

SOURCE = """var x: real[3]
x[0] ~ normal(0, 1)
x[1:] ~ normal(0.5 * x[:-1], 1)   # a chain
"""


def ints(*values: int) -> np.ndarray:
    return frozen(values, np.int64)


def device() -> Device:
    """Four capacitive cells in a ring, one of them dead."""
    spec = DeviceSpec(
        name="ring4",
        family=Family.CAPACITIVE,
        topology=TopologySpec(kind="list", nodes=4, edges=((0, 1), (0, 3), (1, 2), (2, 3))),
        description='Four cells in a ring — "for tests"',
        ground=Bank(unit="F", min=0.0, max=2.55e-9, bits=8),
        coupling=Bank(unit="F", min=0.0, max=2.55e-9, bits=8, signed=True),
        circuit=Circuit(resistance=2e3),
        strays=Strays(ground=3e-12),
        dead=Dead(cells=(3,)),
        provenance={"ground.max": "assumed", "strays.ground": "measured, 2024"},
    )
    edges = frozen([[0, 1], [0, 3], [1, 2], [2, 3]], np.int64)
    return Device(spec, Topology("list", 4, edges, frozen([[0, 0], [1, 0], [1, 1], [0, 1]])))


def chain_energy() -> Energy:
    variables = layout([("x", (3,), Domain.REAL, Span("chain.spu", 1, 1, 1, 15))])
    matrix = sparse.csr_array(np.array([[1.25, -0.5, 0.0], [-0.5, 1.25, -0.5], [0.0, -0.5, 1.0]]))
    query = Query("x", QueryKind.SAMPLE, identity_form(variables[0], 3), implicit=True)
    return Energy(
        variables,
        frozen(np.zeros(3)),
        Quadratic(matrix),
        queries=(query,),
        origins=(
            Origin(Span("chain.spu", 2, 1, 2, 20), ints(0)),
            Origin(Span("chain.spu", 3, 1, 3, 32), ints(0, 1, 2)),
        ),
    )


def states() -> dict[Stage, State]:
    """The chain of three at every stage."""
    energy = chain_energy()
    provenance = Provenance((("chain.spu", SOURCE),), "ab" * 32, "", "0.1.0")
    start = State(Stage.ENERGY, energy, energy, device(), provenance=provenance)
    job = Job("all", energy, ints(0, 1, 2), energy)
    jobs = replace(start, stage=Stage.JOBS, jobs=(job,))
    couplings = Couplings(
        Family.CAPACITIVE,
        Domain.REAL,
        sparse.csr_array(
            np.array([[1.0, -0.4, 0.0], [-0.4, 1.0, -0.4472135954999579], [0.0, -0.4472135954999579, 1.0]])
        ),
        frozen([0.0, 0.1, -0.0]),
        ints(0, 1, 2),
        plain_roles(3),
    )
    scaled = Step(
        "realise", Affine.diagonal(frozen([0.9, 0.8, 1.1]), frozen([0.0, 0.5, 0.0])), ("balanced as it is",)
    )
    made = replace(job, value=couplings, steps=(scaled,))
    entry = LedgerEntry("all", "realise", 0.0, 0.0, 0.0, 0.0, 0.0)
    second = replace(jobs, stage=Stage.COUPLINGS, jobs=(made,), ledger=(entry,))
    placed = Placed(
        Family.CAPACITIVE,
        Domain.REAL,
        ints(0, 1, 2),
        ints(0, 1, 2),
        frozen([[0, 1], [1, 2]], np.int64),
        frozen([1.2e-9, 3.1e-10, 1.0e-9]),
        frozen([8.0e-10, 9.0e-10]),
        frozen(np.zeros(3)),
        2e-9,
        ints(0, 1, 2),
        plain_roles(3),
    )
    put = replace(made, value=placed, steps=(scaled, Step("place{seed=1}", None)))
    third = replace(second, stage=Stage.PLACED, jobs=(put,))
    codes = Quantized(
        Family.CAPACITIVE,
        Domain.REAL,
        placed.cell,
        placed.chain,
        placed.edges,
        frozen([[120, 31, 100]], np.int64),
        frozen([[80, 90]], np.int64),
        frozen([[0.0, 0.0, 0.0]]),
        frozen([2.003e-9]),
        frozen([1.0]),
        (Affine.diagonal(frozen([1.0, 0.99, 1.01])),),
        placed.coordinate,
        placed.role,
    )
    rounded = replace(put, value=codes, steps=(*put.steps, Step("quantize{bits=8}", None)))
    loss = LedgerEntry(
        "all", "quantize", 3.2e-6, 3.1e-6, 1.2e-3, float("nan"), 4e-4, "bound", "an upper bound"
    )
    fourth = replace(third, stage=Stage.QUANTIZED, jobs=(rounded,), ledger=(entry, loss))
    loaded = Configuration(codes, Schedule(1e-4, 2e-5, 1000, 4, 0.98), (scaled.readback,))
    final = replace(rounded, value=loaded)
    last = replace(fourth, stage=Stage.PROGRAM, jobs=(final,))
    return {s.stage: s for s in (start, jobs, second, third, fourth, last)}


def program() -> Program:
    s = states()[Stage.PROGRAM]
    return Program(
        s.device, s.source, s.model, s.jobs, s.steps, s.ledger, s.provenance, "realise,place,quantize{bits=8}"
    )


def rich_energy() -> Energy:
    """Everything that an energy can hold: several variables of all domains, an empty one, dense blocks, terms of degree 3
    and 4, observations, every kind of query field."""
    span = Span('dir name/m "x" #1.spu', 3, 1, 4, 20)
    variables = layout(
        [
            ("mu", (), Domain.REAL, span),
            ("W", (2, 2), Domain.REAL, None),
            ("none", (0, 3), Domain.REAL, None),
            ("s", (3,), Domain.SPIN, span),
            ("b", (1,), Domain.BIT, None),
        ]
    )
    # Of b's three entries only the second is left.
    variables = (
        *variables[:-1],
        replace(variables[-1], shape=(3,), entries=ints(1), stands_for="inverse:Ai"),
    )
    n = 9
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.4)
    square = rng.normal(size=(2, 2))
    blocks = (
        Block(ints(1, 2), ints(1, 2), frozen(square + square.T)),
        Block(ints(0), ints(3, 4), frozen([[0.25, -0.0]])),
    )
    form = Form(sparse.csr_array(dense[:2]), frozen([0.5, -1e-300]), (2,))
    one = Form(sparse.csr_array(dense[2:3]), frozen([0.0]), ())
    empty = Form(sparse.csr_array((0, n)), frozen([]), (0,))
    gather = sparse.csr_array(np.array([[1.0], [2.0]]))
    queries = (
        Query('q "one"', QueryKind.EXPECTATION, form, (Product(one, one, gather),), span=span),
        Query("levels", QueryKind.QUANTILE, one, levels=frozen([0.05, 0.5, 0.95])),
        Query("grid", QueryKind.QUANTILE, empty, levels=frozen([[0.1], [1.0]])),
        Query(
            "A", QueryKind.SOLVE, one, matrix=sparse.csr_array(np.diag([2.0, 3.0])), rhs=frozen([1.0, 2.0])
        ),
        Query("B", QueryKind.INVERSE, one, matrix=frozen([[2.0, 0.5], [0.5, 1.0]])),
        Query("path", QueryKind.TRAJECTORY, form, duration=2.5, start=frozen(np.arange(9.0))),
        Query("best", QueryKind.ARGMIN),
        Query("all", QueryKind.SAMPLE, identity_form(variables[3], n), implicit=True),
    )
    return Energy(
        variables,
        frozen(rng.normal(size=n)),
        Quadratic(sparse.csr_array(dense + dense.T), blocks),
        constant=-0.0,
        higher=(
            Monomials(frozen([[0, 0, 1], [1, 2, 2]], np.int64), frozen([0.5, 5e-324])),
            Monomials(frozen([[0, 0, 0, 0]], np.int64), frozen([0.25])),
        ),
        temperature=0.1,
        observed=Observed(ints(2, 5), frozen([1.5, -1.0])),
        queries=queries,
        origins=(Origin(span, ints(0, 1, 2, 4, 7)), Origin(span, ints())),
    )


def free_device(family: Family, quartic: bool = False) -> Device:
    """As many cells as are wanted, continuous banks."""
    spec = DeviceSpec(
        name=f"free-{family}",
        family=family,
        topology=TopologySpec(kind="any"),
        bias=Bank(min=-5.0, max=5.0),
        quartic=Bank() if quartic else None,
    )
    return Device(spec, Topology("any", None, frozen(np.zeros((0, 2)), np.int64), frozen(np.zeros((0, 2)))))


def calibrated() -> Device:
    """The ring with measured values."""
    ring = device()
    rng = np.random.default_rng(1)
    table = Calibration(
        resistance=frozen(rng.uniform(1.9e3, 2.1e3, 4)),
        stray_coupling=frozen(np.zeros(4)),
        ground_levels=frozen(np.sort(rng.uniform(0, 2.55e-9, (4, 256)), axis=1)),
    )
    return replace(ring, calibration=table)


def ensemble() -> State:
    """Three members with chains of cells, a border, an auxiliary cell, and a majority vote, on a calibrated ring."""
    energy = chain_energy()
    rng = np.random.default_rng(5)
    n, edges = 3, frozen([[0, 1], [1, 2]], np.int64)
    codes = Quantized(
        Family.CAPACITIVE,
        Domain.SPIN,
        ints(2, 0, 1),
        ints(0, 0, 1),
        edges,
        frozen(rng.integers(0, 256, (3, n)), np.int64),
        frozen(rng.integers(-255, 256, (3, 2)), np.int64),
        frozen(rng.normal(size=(3, n))),
        frozen([1e-9, 2e-9, 3e-9]),
        frozen([0.5, 0.25, 0.25]),
        tuple(Affine.diagonal(frozen(rng.normal(size=n))) for _ in range(3)),
        ints(0, 0, -1),
        frozen([Role.PLUS, Role.MINUS, Role.BORDER], np.int64),
        frozen(rng.integers(0, 4, (3, n)), np.int64),
    )
    back = (Affine.select(ints(1, 0, 1), 2), Majority(ints(0, 0, 1), 2))
    job = Job(
        "chained",
        energy,
        ints(0, 1, 2),
        codes,
        (Step("a", back[0]), Step("b", back[1], ("one", 'two "three"'))),
    )
    return State(Stage.QUANTIZED, energy, energy, calibrated(), (job,))


def spins() -> State:
    """Spins with a quartic term and no device limits, two jobs, one of a single cell and one empty."""
    energy = rich_energy()
    device_ = free_device(Family.LANGEVIN, quartic=True)
    small = Energy(layout([("s", (1,), Domain.SPIN, None)]), frozen([0.5]), Quadratic.zero(1))
    nothing = Energy((), frozen([]), Quadratic.zero(0))
    one = Couplings(
        Family.LANGEVIN,
        Domain.SPIN,
        sparse.csr_array((1, 1)),
        frozen([-0.5]),
        ints(0),
        plain_roles(1),
        frozen([0.25]),
    )
    none = Couplings(
        Family.LANGEVIN, Domain.REAL, sparse.csr_array((0, 0)), frozen([]), ints(), plain_roles(0)
    )
    jobs = (Job("one", small, ints(5), one), Job("", nothing, ints(), none))
    steps = (
        Step("condition", Affine.identity(9)),
        Step("strange {a=1}", Affine(sparse.csr_array(np.eye(9)[::-1]), frozen(np.ones(9)))),
    )
    return State(Stage.COUPLINGS, energy, energy, device_, jobs, steps)


def looped() -> Program:
    """A host loop, a continuous device, a program without provenance."""
    energy = chain_energy()
    rng = np.random.default_rng(7)
    loop = HostLoop(energy.quadratic.sparse, frozen([0.1, 0.2, 0.3]), 12, 0.75)
    codes = Quantized(
        Family.RESISTIVE,
        Domain.REAL,
        ints(10, 11, 5),
        ints(0, 1, 2),
        frozen(np.zeros((0, 2)), np.int64),
        frozen(rng.uniform(1, 2, (1, 3))),
        frozen(np.zeros((1, 0))),
        frozen(rng.normal(size=(1, 3))),
        frozen([1.0]),
        frozen([1.0]),
        (Affine.identity(3),),
        ints(0, 1, 2),
        plain_roles(3),
    )
    mixed = sparse.csr_array(np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]]))
    backs = (Affine(mixed, frozen(np.zeros(3))), loop)
    job = Job(
        "all",
        energy,
        ints(2, 1, 0),
        Configuration(codes, Schedule(), backs),
        (Step("m", backs[0]), Step("h", loop)),
    )
    return Program(free_device(Family.RESISTIVE), energy, energy, (job,), (), (), Provenance())


def rich() -> list[State | Program]:
    """What the chain of three does not show."""
    energy = rich_energy()
    start = State(Stage.ENERGY, energy, replace(energy, queries=()), calibrated())
    nothing = Energy((), frozen([]), Quadratic.zero(0))
    empty = State(Stage.ENERGY, nothing, nothing, free_device(Family.PBIT))
    return [start, empty, ensemble(), spins(), looped()]


def everything() -> list[State | Program]:
    return [*states().values(), program(), *rich()]
