"""`embed-spins`: the strength of chains of p-bits, found so that the distribution read out is right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.energy import Domain
from spucc.passes.spins.spin_chains import Chained, Tuned, chained, tune
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage


@dataclass(frozen=True)
class EmbedSpins(JobPass):
    """Tie the cells of each spin so weakly that the device's range is spent on the model, and so firmly that
    the read-out's moments are the model's within `tolerance`; what the chains weaken is put back into the
    inputs.

    `strength` > 0 fixes the coupling inside chains (in units of the spin's load
    |h| + Σ|J|), 0 leaves it to the compiler.
    `compensate=false` leaves the inputs as they are.
    """

    strength: float = 0.0
    tolerance: float = 0.01
    compensate: bool = True

    name: ClassVar[str] = "embed-spins"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = (
        "the chains are known, and rounding needs their couplings; without chains it does nothing"
    )

    def __post_init__(self) -> None:
        if not (np.isfinite(self.strength) and self.strength >= 0 and self.tolerance > 0):
            raise ValueError("`strength` is a finite number ≥ 0 and `tolerance` one > 0")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if placed.domain is not Domain.SPIN or np.bincount(placed.chain).max(initial=1) == 1:
            return Outcome(placed)
        structure = chained(placed.chain, placed.edges, placed.coupling, placed.bias)
        j, h = logical(placed, structure)
        best = self._search(structure, j, h, context)
        value = replace(
            placed, coupling=frozen(best.coupling), bias=frozen(best.bias), ground=frozen(np.zeros(placed.n))
        )
        basis = "exact" if structure.exact else f"from draws, ±{best.noise:.1g}"
        note = (
            f"chains of up to {np.bincount(placed.chain).max()} cells tied by {best.strength:.3g} of their load; the "
            f"read-out's means and correlations are off by at most {best.error:.1g} ({basis})"
        )
        # every cell shows its chain's reader, so that the majority that `place` takes is the reader's
        back = Affine.select(structure.reader[placed.chain], placed.n)
        return Outcome(value, back, (note,))

    def _search(self, structure: Chained, j: FloatArray, h: FloatArray, context: Context) -> Tuned:
        """The weakest strength on a geometric grid whose error is within the tolerance; the best one where
        none is."""
        rounds = None if self.compensate else 1
        grid = [self.strength] if self.strength > 0 else np.geomspace(0.15, 2.4, 9).tolist()
        best: Tuned | None = None
        for k, strength in enumerate(grid):
            found = tune(structure, j, h, strength, context.rng(0x5C41, k), rounds)
            if best is None or found.error < best.error:
                best = found
            if best.error <= max(self.tolerance, 2 * best.noise) or context.stop.is_set():
                break
        assert best is not None
        return best


def logical(placed: Placed, structure: Chained) -> tuple[FloatArray, FloatArray]:
    """J [n, n] and h [n] of the spins that the placed cells stand for: sums over the couplers of a pair,
    cells of a chain."""
    n = structure.spins
    outer = structure.logical >= 0
    sums = np.bincount(structure.logical[outer], placed.coupling[outer], structure.pairs.shape[0])
    j = np.zeros((n, n))
    a, b = structure.pairs.T
    j[a, b] = j[b, a] = sums
    return j, np.asarray(np.bincount(placed.chain, placed.bias, n), dtype=np.float64)
