"""`condition`: what was observed leaves the energy. See `spucc.conditioning`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.conditioning import conditioned
from spucc.pipeline import Context, Pass
from spucc.readback import Affine
from spucc.stages import Stage, State, Step


@dataclass(frozen=True)
class Condition(Pass):
    """Removes the observed coordinates from the model."""

    name: ClassVar[str] = "condition"
    takes: ClassVar[Stage] = Stage.ENERGY
    gives: ClassVar[Stage] = Stage.ENERGY
    why: ClassVar[str] = "an observed variable needs no cell, and deleting it adds no coupling"

    def run(self, state: State, context: Context) -> State:
        model = state.model
        index, value = model.observed.index, model.observed.value
        keep = np.setdiff1d(np.arange(model.n), index, assume_unique=True)
        rows = sparse.csr_array(
            (np.ones(keep.size), (keep, np.arange(keep.size))), shape=(model.n, keep.size), dtype=np.float64
        )
        offset = np.zeros(model.n)
        offset[index] = value
        back = Affine(rows, frozen(offset))
        note = (f"{index.size} observed, {keep.size} left",) if index.size else ()
        return replace(
            state,
            model=conditioned(model, keep, index, value) if index.size else model,
            steps=(*state.steps, Step(str(self), back, note)),
        )
