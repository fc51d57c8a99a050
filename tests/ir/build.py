"""Small states built by hand, one of every stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import Bank, Circuit, Dead, Device, DeviceSpec, Family, Strays, Topology, TopologySpec
from spucc.diagnostics import Span
from spucc.energy import Domain, Energy, Origin, Quadratic, Query, QueryKind, identity_form, layout
from spucc.readback import Affine
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    LedgerEntry,
    Placed,
    Program,
    Provenance,
    Quantized,
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
