"""Printing and reading back stages with 10⁶ couplings, as a container and as one text, against the bound of 5 s.

    OMP_NUM_THREADS=1 python benchmarks/ir_roundtrip.py [couplings]

CPU time, as the machine may be shared.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import Bank, Device, DeviceSpec, Family, Topology, TopologySpec
from spucc.energy import Domain, Energy, Observed, Quadratic, layout, restrict_variables
from spucc.ir import identical, pack_program, pack_state, read_any
from spucc.readback import Affine
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    JobValue,
    Placed,
    Program,
    Provenance,
    Quantized,
    Schedule,
    Stage,
    State,
    Step,
    plain_roles,
    symmetric,
)

BOUND = 5.0


def stages(couplings: int) -> dict[str, State | Program]:
    """One value of each kind with a band of ten neighbours a variable. Each holds its model beside what the passes made of it,
    so that all but the first have twice as many couplings."""
    n, per = couplings // 10, 10
    rng = np.random.default_rng(0)
    i = np.repeat(np.arange(n), per)
    j = i + 1 + np.tile(np.arange(per), n)
    edges = frozen(np.stack([i[j < n], j[j < n]], axis=1), np.int64)
    values, index = frozen(rng.normal(size=len(edges))), frozen(np.arange(n), np.int64)
    matrix = symmetric(n, edges, values, np.full(n, 20.0))
    energy = Energy(layout([("x", (n,), Domain.REAL, None)]), frozen(rng.normal(size=n)), Quadratic(matrix))
    spec = DeviceSpec(
        name="free", family=Family.RESISTIVE, topology=TopologySpec(kind="any"), ground=Bank(bits=8, max=1.0)
    )
    device = Device(spec, Topology("any", None, frozen(np.zeros((0, 2)), np.int64), frozen(np.zeros((0, 2)))))
    zeros, roles = frozen(np.zeros(n)), plain_roles(n)
    made = Couplings(Family.RESISTIVE, Domain.REAL, matrix, zeros, index, roles)
    own = frozen(rng.uniform(1, 2, n))
    placed = Placed(
        Family.RESISTIVE, Domain.REAL, index, index, edges, frozen(1e-9 * own), frozen(1e-9 * values), zeros, 1.0, index, roles
    )  # fmt: skip
    codes = Quantized(
        Family.RESISTIVE, Domain.REAL, index, index, edges, frozen(rng.integers(0, 256, (1, n)), np.int64),
        frozen(values[None]), frozen(zeros[None]), frozen([1.0]), frozen([1.0]), (Affine.identity(n),), index, roles,
    )  # fmt: skip
    start = State(Stage.ENERGY, energy, energy, device)
    observed = Observed(frozen([0], np.int64), frozen([0.5]))
    rest = Energy(
        restrict_variables(energy.variables, index[1:]), frozen(energy.linear[1:] + 0.5 * matrix[[0], 1:].toarray()[0]),
        energy.quadratic.restrict(index[1:]),
    )  # fmt: skip
    given = Step("condition", Affine(sparse.csr_array(sparse.eye_array(n, n - 1, k=-1)), zeros))
    job = Job("all", energy, index, energy, (Step("realise", Affine.diagonal(own)),))

    def at(stage: Stage, value: JobValue) -> State:
        return replace(start, stage=stage, jobs=(replace(job, value=value),))

    done = at(Stage.PROGRAM, Configuration(codes, Schedule(), ()))
    return {
        "energy": start,
        "conditioned": replace(start, source=replace(energy, observed=observed), model=rest, steps=(given,)),
        "couplings": at(Stage.COUPLINGS, made),
        "placed": at(Stage.PLACED, placed),
        "quantized": at(Stage.QUANTIZED, codes),
        "program": Program(device, energy, energy, done.jobs, (), (), Provenance(), "realise"),
    }


def main() -> None:
    couplings = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{'stage':<13}{'form':<12}{'print':>9}{'read':>9}{'bytes':>14}{'of 5 s':>9}")
    for name, value in stages(couplings).items():
        for form, limit in (("container", 64), ("text", None)):
            start = time.process_time()
            data = pack_program(value, limit) if isinstance(value, Program) else pack_state(value, limit)
            middle = time.process_time()
            again = read_any(data)
            stop = time.process_time()
            assert identical(value, again)
            print(
                f"{name:<13}{form:<12}{middle - start:>7.2f} s{stop - middle:>7.2f} s{len(data):>14,}"
                f"{(stop - start) / BOUND:>9.2f}"
            )


if __name__ == "__main__":
    main()
