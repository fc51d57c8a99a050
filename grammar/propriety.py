"""Whether the density can be normalised where it is asked about, and if not, along which direction it cannot."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import Diagnostic
from spucc.energy import Energy
from spucc.grammar.context import Added, AddedBlock


class Evidence:
    """What the statements say about definiteness: which coordinates only ever got positive semidefinite parts, and
    which blocks are known to be positive definite."""

    def __init__(self, width: int) -> None:
        self.indefinite = np.zeros(width, dtype=bool)
        self.definite: list[FloatArray] = []

    def note(self, part: Added | AddedBlock, mask: FloatArray) -> None:
        if isinstance(part, Added) and not part.poly.terms:
            return
        self.note_part(mask, part.psd, part.certified)

    def note_part(self, mask: FloatArray, psd: bool, certified: bool) -> None:
        if not psd:
            self.indefinite |= mask
        if certified:
            self.definite.append(mask)


def settle(energy: Energy, evidence: Evidence) -> tuple[Energy, list[Diagnostic]]:
    return energy, []
