"""What the statements say about definiteness, and which of them lets the energy fall along a direction."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Span
from spucc.grammar.assemble import touched
from spucc.grammar.context import Added, AddedBlock


class Evidence:
    """What the statements say about definiteness: which coordinates got a part that may be indefinite, and
    which lie in a part known to be positive definite."""

    def __init__(self, width: int) -> None:
        self.indefinite = np.zeros(width, dtype=bool)
        self.definite = np.zeros(width, dtype=bool)
        self.parts: list[Added | AddedBlock] = []

    def note(self, part: Added | AddedBlock, at: IntArray) -> None:
        """Remember what is known of one statement's contribution."""
        self.parts.append(part)
        if isinstance(part, Added) and not part.poly.terms:
            return
        self.note_part(at, part.psd, part.certified)

    def note_part(self, at: IntArray, psd: bool, certified: bool) -> None:
        if not psd:
            self.indefinite[at] = True
        if certified:
            self.definite[at] = True

    def falls(self, direction: FloatArray, degree: int, start: FloatArray | None = None) -> Span | None:
        """The statement whose part of a degree falls most along a direction, if one falls."""
        change = [slope(part, direction, degree, start) for part in self.parts]
        return self.parts[int(np.argmin(change))].span if change and min(change) < 0 else None

    def reading(self, at: IntArray, n: int, most: int) -> list[Span]:
        """The first statements that read one of some coordinates."""
        wanted = np.zeros(n, dtype=bool)
        wanted[at] = True
        found: dict[Span, None] = {}
        for part in self.parts:
            if len(found) < most and wanted[touched(part, n)].any():
                found[part.span] = None
        return list(found)


def slope(part: Added | AddedBlock, d: FloatArray, degree: int, start: FloatArray | None = None) -> float:
    """The coefficient of t^degree in a contribution at start + t · d; `start` is 0 where none is given.

    Of a block only what is of degree 2 counts.
    """
    if isinstance(part, AddedBlock):
        half = 0.5 if part.cols is None else 1.0
        at = part.rows if part.cols is None else part.cols
        return half * float(d[part.rows] @ part.matrix @ d[at]) if degree == 2 else 0.0
    forms = {id(f): f for t in part.poly.terms for f in t.factors}
    rows = {key: f.linear.csr(d.size) for key, f in forms.items()}
    along = {key: r @ d for key, r in rows.items()}
    at_start = {key: f.offset if start is None else f.offset + rows[key] @ start for key, f in forms.items()}
    total = float((part.poly.affine.linear.csr(d.size) @ d).sum()) if degree == 1 else 0.0
    for term in part.poly.terms:
        powers = [np.broadcast_to(np.asarray(term.weight, dtype=np.float64), (term.size,))]
        for f in term.factors:
            still = [p * at_start[id(f)] for p in powers] + [np.zeros(term.size)]
            once = [np.zeros(term.size)] + [p * along[id(f)] for p in powers]
            powers = [a + b for a, b in zip(still, once)]
        total += float(powers[degree].sum()) if degree < len(powers) else 0.0
    return total
