"""Heat, work and dissipated energy of single trajectories (Sekimoto 2010).

While the potential is led from V₀ to V₁ a trajectory at fixed x gains work when V changes, and at fixed V
gives heat to the bath when x moves: V_end − V_start = W − Q for each one, exactly. W − ΔF is what the drive
dissipates; ⟨e^{−W/kT}⟩ = e^{−ΔF/kT} (Jarzynski 1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.targets.langevin.potential import Potential
from spucc.targets.langevin.walkers import Walkers


@dataclass(frozen=True, eq=False)
class Ledger:
    """Of each trajectory, in the unit of the energy: work done on it, heat given to the bath, change of V."""

    work: FloatArray
    heat: FloatArray
    change: FloatArray

    def free_energy(self, temperature: float) -> tuple[float, float]:
        """Jarzynski's estimate of F₁ − F₀ and its standard error; trajectories must start in V₀'s
        equilibrium."""
        reduced = -self.work / temperature
        top = reduced.max()
        share = np.exp(reduced - top)
        mean = share.mean()
        error = share.std(ddof=1) / mean / np.sqrt(share.size)
        return -temperature * float(top + np.log(mean)), temperature * float(error)

    def dissipated(self, free_energy: float) -> FloatArray:
        """W − ΔF of each trajectory: on average, kT times the entropy produced."""
        return self.work - free_energy


def drive(walkers: Walkers, final: Potential, shares: FloatArray, step: float, inner: int = 1) -> Ledger:
    """Lead the walkers' potential to `final` along (1 − λ)V₀ + λV₁.

    `shares` [k] are the values of λ after 0; after each change the overdamped dynamics runs `inner` steps of
    `step` (Heun). The walkers keep the last potential.
    """
    first = walkers.potential
    begin = walkers.energies()
    work, heat = np.zeros(walkers.count), np.zeros(walkers.count)
    before = begin
    for share in shares:
        walkers.potential = first.mixed(final, float(share))
        changed = walkers.energies()
        work += changed - before
        walkers.heun(step, inner)
        before = walkers.energies()
        heat -= before - changed
    return Ledger(work, heat, before - begin)
