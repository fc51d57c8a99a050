"""Printing and reading back stages with 10⁶ couplings, as a container and as one text, against the bound of 5 s each.

python benchmarks/ir_roundtrip.py [couplings]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from spucc.arrays import frozen
from spucc.device import Bank, Device, DeviceSpec, Family, Topology, TopologySpec
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.ir import identical, pack_state, read_state
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Placed, Quantized, Stage, State, Step, plain_roles, symmetric

BOUND = 5.0


def stages(couplings: int) -> list[State]:
    """One state of each stage with a band of ten neighbours a variable."""
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
    placed = Placed(Family.RESISTIVE, Domain.REAL, index, index, edges, own, values, zeros, 1.0, index, roles)
    codes = Quantized(
        Family.RESISTIVE, Domain.REAL, index, index, edges, frozen(rng.integers(0, 256, (1, n)), np.int64),
        frozen(values[None]), frozen(zeros[None]), frozen([1.0]), frozen([1.0]), (Affine.identity(n),), index, roles,
    )  # fmt: skip
    start = State(Stage.ENERGY, energy, energy, device)
    job = Job("all", energy, index, energy, (Step("realise", Affine.diagonal(own)),))
    later = ((Stage.COUPLINGS, made), (Stage.PLACED, placed), (Stage.QUANTIZED, codes))
    return [start, *(replace(start, stage=s, jobs=(replace(job, value=v),)) for s, v in later)]


def main() -> None:
    couplings = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{'stage':<12}{'form':<12}{'print':>9}{'read':>9}{'bytes':>14}{'of 5 s':>9}")
    for state in stages(couplings):
        for form, limit in (("container", 64), ("text", None)):
            start = time.process_time()
            data = pack_state(state, limit)
            middle = time.process_time()
            again = read_state(data)
            stop = time.process_time()
            assert identical(state, again)
            print(
                f"{state.stage:<12}{form:<12}{middle - start:>7.2f} s{stop - middle:>7.2f} s{len(data):>14,}"
                f"{(stop - start) / BOUND:>9.2f}"
            )


if __name__ == "__main__":
    main()
