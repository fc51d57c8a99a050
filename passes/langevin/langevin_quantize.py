"""`quantize-langevin`: the codes of nonlinear units and their couplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.passes.langevin.langevin_fit import banks
from spucc.passes.spins.spin_rounding import nearest
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Quantized, Stage


@dataclass(frozen=True)
class QuantizeLangevin(JobPass):
    """Each value to the nearest code; a quartic term never to 0, which would let its unit escape."""

    name: ClassVar[str] = "quantize-langevin"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.QUANTIZED
    why: ClassVar[str] = "the values are in the banks' units"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed) and placed.domain is Domain.REAL
        quartic = np.zeros(placed.n) if placed.quartic is None else np.asarray(placed.quartic)
        codes, loss = [], 0.0
        for what, values, bank, _ in banks(device, placed.ground, placed.coupling, placed.bias, quartic):
            code = np.asarray(values) if bank.continuous else nearest(bank, np.asarray(values))
            if what == "quartic term" and not bank.continuous:
                code = np.where((values > 0) & (code == 0), 1.0, code)
            codes.append(frozen(code[None], np.float64 if bank.continuous else np.int64))
            decoded = bank.decode(codes[-1][0])
            top = np.abs(values).max(initial=0.0)
            if top > 0:
                loss = max(loss, float(np.abs(decoded - values).max() / top))
        ground, coupling, bias, fourth = codes
        self._check(placed, device, ground[0], coupling[0], fourth[0])
        value = Quantized(
            family=placed.family,
            domain=placed.domain,
            cell=placed.cell,
            chain=placed.chain,
            edges=placed.edges,
            ground=ground,
            coupling=coupling,
            bias=bias,
            scale=frozen([placed.scale]),
            weight=frozen([1.0]),
            readback=(Affine.identity(placed.n),),
            coordinate=placed.coordinate,
            role=placed.role,
            quartic=fourth,
        )
        return Outcome(
            value, None, (f"values are off by up to {loss:.2g} of their bank's largest",) if loss else ()
        )

    def _check(
        self, placed: Placed, device: Device, ground: FloatArray, coupling: FloatArray, fourth: FloatArray
    ) -> None:
        """Rounding must not tip a unit that only its quadratic term holds."""
        free = fourth == 0
        if not free.any():
            return
        d = device.spec.ground.decode(ground)
        load = np.zeros(placed.n)
        size = np.abs(device.spec.coupling.decode(coupling))
        both = free[placed.edges].all(axis=1)
        np.add.at(load, placed.edges[both].ravel(), np.repeat(size[both], 2))
        if (d[free] > load[free]).all():
            return
        k = np.diag(d)
        i, j = placed.edges.T
        k[i, j] = k[j, i] = -device.spec.coupling.decode(coupling)
        if np.linalg.eigvalsh(k[np.ix_(free, free)])[0] <= 0:
            fail(
                "E0560",
                f"rounded to the codes of `{device.name}`, the energy is no longer bounded below",
                help="choose a target with more bits, or give the loose units a quartic term",
            )
