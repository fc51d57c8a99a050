"""`quantize-langevin`: the codes of nonlinear units and their couplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.fidelity.langevin import target_points
from spucc.passes.langevin.code_descent import MOST, descend, features, fisher
from spucc.passes.langevin.langevin_fit import Kind, banks
from spucc.passes.spins.spin_rounding import nearest
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine, fold
from spucc.stages import Job, Placed, Stage


@dataclass(frozen=True)
class QuantizeLangevin(JobPass):
    """The codes whose law is nearest to the model's (`code_descent`), from the nearest value of each on; with `search` false
    these. A quartic term never becomes 0, which would let its unit escape."""

    search: bool = True

    name: ClassVar[str] = "quantize-langevin"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.QUANTIZED
    why: ClassVar[str] = "the values are in the banks' units"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed) and placed.domain is Domain.REAL
        quartic = np.zeros(placed.n) if placed.quartic is None else np.asarray(placed.quartic)
        kinds = banks(device, placed.ground, placed.coupling, placed.bias, quartic)
        codes, loss = [], 0.0
        for what, values, bank, _ in kinds:
            code = (
                np.asarray(values)
                if bank.continuous
                else nearest(bank, np.asarray(values)).astype(np.float64)
            )
            if what == "quartic term" and not bank.continuous:
                code = np.where((values > 0) & (code == 0), 1.0, code)
            codes.append(code)
            top = np.abs(values).max(initial=0.0)
            if top > 0:
                loss = max(loss, float(np.abs(bank.decode(code) - values).max() / top))
        note = f"values are off by up to {loss:.2g} of their bank's largest" if loss else ""
        if self.search and loss:
            codes, note = self._together(job, placed, kinds, codes, note)
        ground, coupling, bias, fourth = (
            frozen(code[None], np.float64 if bank.continuous else np.int64)
            for code, (_, _, bank, _) in zip(codes, kinds)
        )
        self._check(placed, device, ground[0], coupling[0], fourth[0])
        value = placed.quantized(
            ground=ground,
            coupling=coupling,
            bias=bias,
            scale=frozen([placed.scale]),
            weight=frozen([1.0]),
            readback=(Affine.identity(placed.n),),
            quartic=fourth,
        )
        return Outcome(value, None, (note,) if note else ())

    def _together(
        self, job: Job, placed: Placed, kinds: list[Kind], codes: list[FloatArray], note: str
    ) -> tuple[list[FloatArray], str]:
        """Codes by descent and what they gain; the nearest ones where the law has no points or the descent gains nothing."""
        wanted = np.concatenate([values for _, values, _, _ in kinds])
        law, y = target_points(job.target), None
        folded = fold(job.readbacks(), job.target.n)
        back = folded[0]
        if law is not None and len(folded) == 1 and isinstance(back, Affine) and back.matrix.nnz == placed.n:
            y = np.empty_like(law.x)
            y[:, back.matrix.indices] = (law.x - back.offset) / back.matrix.data
        if law is None or y is None or wanted.size > MOST:
            return codes, f"{note}; each is the nearest: the units are too many to choose them together"
        ends = np.cumsum([0, *(values.size for _, values, _, _ in kinds)])

        def decode(flat: FloatArray) -> FloatArray:
            return np.concatenate(
                [bank.decode(flat[a:b]) for (_, _, bank, _), a, b in zip(kinds, ends, ends[1:])]
            )

        start = np.concatenate(codes)
        low, high = start.copy(), start.copy()
        for (what, values, bank, _), a, b in zip(kinds, ends, ends[1:]):
            if not bank.continuous:
                # what the model has not stays off; what holds a unit stays on
                used = np.asarray(values) != 0
                least = 1.0 if what == "quartic term" else -(bank.codes - 1.0) if bank.signed else 0.0
                low[a:b] = np.where(used, least, start[a:b])
                high[a:b] = np.where(used, bank.codes - 1.0, start[a:b])
        f = features(y, placed.edges) / placed.scale
        found = descend(start, wanted, fisher(law, f), decode, low, high)
        before, after = (law.moved(f @ (decode(c) - wanted)) for c in (start, found))
        how = f"{len(law.x)} quadrature nodes" if law.exact else f"{len(law.x)} draws"
        if not (after.kl_forward < before.kl_forward and after.share > 0.05):
            return codes, f"{note}; no other codes are nearer, by {how}"
        gain = f"chosen together: KL a unit {before.kl_forward:.1e} → {after.kl_forward:.1e}, by {how}"
        return np.split(found, ends[1:-1]), f"{note}; {gain}"

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
