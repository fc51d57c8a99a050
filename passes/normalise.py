"""`normalise`: the one form in which the passes take a Gaussian model, at kT = 1 and without couplings that are only rounding.

    p(x) ∝ exp(−E(x)/T) = exp(−E'(x)),   E' = E/T

The temperature of spins and of nonlinear units stays: it is free on p-bits (`quantize-spins`), and the device's own on
Langevin units (`fit-langevin`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.energy import Energy, Quadratic
from spucc.pipeline import Context, Pass
from spucc.readback import Affine
from spucc.stages import Stage, State, Step

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""A coupling below this, in units of its variables' own terms, is a sum of larger ones that cancel."""

# Coordinates up to which dense blocks are looked through for such couplings.
_DENSE = 4096


@dataclass(frozen=True)
class Normalise(Pass):
    """Divides a Gaussian model by its temperature and takes out couplings that are rounding noise."""

    name: ClassVar[str] = "normalise"
    takes: ClassVar[Stage] = Stage.ENERGY
    gives: ClassVar[Stage] = Stage.ENERGY
    why: ClassVar[str] = (
        "a coupling that is only rounding noise would cost a coupler, and no device has the user's kT"
    )

    def run(self, state: State, context: Context) -> State:
        model, notes = state.model, []
        if model.is_gaussian and not (model.domains[1].size or model.domains[2].size):
            if model.temperature != 1.0:
                notes.append(f"everything divided by the temperature {model.temperature:g}")
            real = without_rounding(model.quadratic)
            if real is not model.quadratic:
                notes.append(
                    f"{(model.quadratic.tocsr().nnz - real.sparse.nnz) // 2} couplings were rounding noise"
                )
            model = at_unit_temperature(replace(model, quadratic=real))
        step = Step(str(self), Affine.identity(model.n), tuple(notes))
        return replace(state, model=model, steps=(*state.steps, step))


def at_unit_temperature(energy: Energy) -> Energy:
    """E/T at temperature 1, for an energy without higher terms."""
    t = energy.temperature
    if t == 1.0:
        return energy
    return replace(
        energy,
        linear=frozen(np.asarray(energy.linear) / t),
        quadratic=energy.quadratic.scaled(1.0 / t),
        constant=energy.constant / t,
        temperature=1.0,
    )


def without_rounding(quadratic: Quadratic) -> Quadratic:
    """The same matrix without the entries |Q_ij| ≤ `ROUNDING` √(Q_ii Q_jj), i ≠ j; itself when there is none, or when dense
    blocks make it too large to look through."""
    if quadratic.blocks and quadratic.n > _DENSE:
        return quadratic
    q = quadratic.tocsr() if quadratic.blocks else quadratic.sparse
    d = np.sqrt(np.abs(q.diagonal()))
    rows = np.repeat(np.arange(quadratic.n), np.diff(q.indptr))
    real = (rows == q.indices) | (np.abs(q.data) > ROUNDING * d[rows] * d[q.indices])
    if real.all():
        return quadratic
    kept = sparse.coo_array((q.data[real], (rows[real], q.indices[real])), shape=q.shape)
    return Quadratic(sparse.csr_array(kept))
