"""Whether the density can be normalised where it is asked about, and if not, along which direction it cannot.

Certificates from the cheapest: parts that are definite by what was checked before; diagonal dominance; a
factorisation. Only connected components that a query reads are looked at, with the observed coordinates taken
out. A component that is flat along directions no query sees (an intrinsic field asked for its contrasts) is
grounded there: one coordinate for each flat direction gets a spring, which leaves the law of what is asked
unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.conditioning import inserted
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.energy import Domain, Energy, QueryKind
from spucc.grammar.components import components
from spucc.grammar.definiteness import DENSE, component
from spucc.grammar.dominance import dominant
from spucc.grammar.evidence import Evidence
from spucc.grammar.grounding import grounded
from spucc.grammar.impropriety import Fault, improper


def settle(energy: Energy, evidence: Evidence) -> tuple[Energy, list[Diagnostic]]:
    """The energy, grounded where need be, and warnings; or an error that names a direction."""
    free = np.zeros(energy.n, dtype=bool)
    for v in energy.variables:
        free[v.start : v.stop] = v.domain is Domain.REAL
    free[energy.observed.index] = False
    asked = asked_coordinates(energy) & free
    if not asked.any():
        return energy, []
    given = inserted(energy, energy.observed.index, energy.observed.value)
    if any((free[m.index].sum(axis=1) >= 2).any() for m in given.higher):
        from spucc.grammar.boundedness import bounded

        return energy, bounded(given, free, evidence)
    q = given.quadratic
    if (not q.blocks or energy.n > DENSE) and asked.all() and dominant(q, free):
        return energy, []
    if not evidence.indefinite.any() and not (asked & ~evidence.definite).any():
        return energy, []
    grounds = _by_component(given, evidence, free, asked)
    return grounded(energy, grounds) if grounds else energy, []


def asked_coordinates(energy: Energy) -> Any:
    """The coordinates that the queries read."""
    seen = np.zeros(energy.n, dtype=bool)
    for query in energy.queries:
        if query.kind in (QueryKind.ARGMIN, QueryKind.LOGZ):
            mine = [v for v in energy.variables if not v.stands_for]
            for v in mine:
                seen[v.start : v.stop] = True
        for form in query.forms():
            seen[form.matrix.indices] = True
    return seen


def _by_component(energy: Energy, evidence: Evidence, free: Any, asked: Any) -> list[tuple[int, float]]:
    """The springs that hold flat directions which no query sees; an error for any other direction without curvature."""
    keep = np.flatnonzero(free)
    part = energy.quadratic.restrict(keep) if keep.size < energy.n else energy.quadratic
    label = components(part.pattern())
    read = np.zeros(label.size, dtype=bool)
    read[label[asked[keep]]] = True
    wanted = np.flatnonzero(read)
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], wanted)
    stops = np.searchsorted(label[order], wanted, side="right")
    faults: list[Fault] = []
    grounds: list[tuple[int, float]] = []
    small: list[IntArray] = []
    diagonal = part.diagonal()
    singles = stops - starts == 1
    alone = order[starts[singles]]
    for k in alone[~(diagonal[alone] > 0)][:5]:
        faults.append(improper(energy, keep[[k]], np.ones(1), float(diagonal[k])))
    for begin, end in zip(starts[~singles], stops[~singles]):
        small.append(np.sort(order[begin:end]))
    if len(small) > 1 and sum(c.size for c in small) > DENSE and dominant(part, read[label]):
        small = []
    for members in small:
        at = keep[members]
        if not evidence.indefinite[at].any() and evidence.definite[at].all():
            continue  # definite parts that cover all coordinates, the rest semidefinite: the sum is definite
        fault, ground = component(energy, part, members, at)
        faults += fault
        grounds += ground
        if len(faults) >= 5:
            break
    if faults:
        raise SpuccError([f.blamed(evidence, energy.n) for f in faults])
    return grounds
