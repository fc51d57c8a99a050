"""Energies of degree 3 and 4 in real variables: bounded below, not bounded (with a direction), or not
decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.diagnostics import Diagnostic, Span, SpuccError
from spucc.energy import Energy
from spucc.grammar.assemble import Accumulator
from spucc.grammar.context import Added, AddedBlock
from spucc.grammar.dominance import dominant
from spucc.grammar.evidence import Evidence
from spucc.grammar.impropriety import at_statement, spelled
from spucc.grammar.poly import nothing

_TRIES = 64
_LARGEST = 4000


def bounded(energy: Energy, free: BoolArray, evidence: Evidence) -> list[Diagnostic]:
    """Warnings; an error if a direction was found along which the energy falls without end."""
    if not free.any():
        return []
    directions = np.flatnonzero(free)
    fall = _falling(energy, directions)
    if fall is not None:
        direction, degree = fall
        d = np.zeros(energy.n)
        d[directions] = direction
        found = Diagnostic(
            "E0409",
            "the energy is not bounded below: it falls without end along "
            f"{spelled(energy, directions, direction)}",
            energy.variable_of(int(directions[int(np.argmax(np.abs(direction)))])).span,
            notes=(f"its part of degree {degree} is negative there",),
            help="give every direction a positive quartic, or a positive quadratic where there is no quartic",
        )
        raise SpuccError(at_statement(found, evidence.falls(d, degree)))
    if _surely(energy, free):
        return []
    rest = _without_even(energy, evidence.parts)
    if rest is not None and _surely(rest, free):
        return []
    return [
        Diagnostic(
            "W0401",
            "it could not be decided whether this energy of degree 4 is bounded below",
            _statement(energy),
            help="a positive `J4` on every variable that occurs in a term of degree 3 or 4 decides it",
        )
    ]


def _without_even(energy: Energy, parts: Sequence[Added | AddedBlock]) -> Energy | None:
    """The energy without the statements that are sums of fourth powers and of products of squares: what is left is a lower
    bound."""
    kept = [part for part in parts if not _is_even(part)]
    if len(kept) == len(parts):
        return None
    total = Accumulator(energy.variables, energy.n)
    for part in kept:
        total.add(part)
    higher = total.higher()
    return replace(energy, linear=frozen(total.linear), quadratic=total.quadratic(), higher=higher)


def _is_even(part: Added | AddedBlock) -> bool:
    """Whether a contribution is Σ weight · f² g² with no negative weight, and nothing else; fourth powers of single
    coordinates are left, since what else there is may need them."""
    if isinstance(part, AddedBlock) or not part.poly.terms or not nothing(part.poly.affine):
        return False
    for t in part.poly.terms:
        factors = sorted(id(f) for f in t.factors)
        if len(factors) != 4 or factors[::2] != factors[1::2] or np.any(np.asarray(t.weight) < 0):
            return False
    slots = [f.linear.slots for t in part.poly.terms for f in t.factors]
    return not all(s is not None and len(s) == 1 for s in slots)


def _statement(energy: Energy) -> Span | None:
    """The narrowest statement around a term of the highest degree, a mixed one if there is any."""
    top = energy.higher[-1].index
    mixed = (top != top[:, :1]).any(axis=1)
    row = top[int(np.argmax(mixed))]
    owners = [o for o in energy.origins if np.isin(row, o.coordinates).all()]
    return min(reversed(owners), key=lambda o: o.coordinates.size).span if owners else None


def _surely(energy: Energy, free: BoolArray) -> bool:
    """Every monomial of top degree is dominated by pure fourth powers, and what has none has a definite
    quadratic."""
    n = energy.n
    pure = np.zeros(n)
    load = np.zeros(n)
    touched = np.zeros(n, dtype=bool)
    for m in energy.higher:
        real = free[m.index]
        degree = real.sum(axis=1)
        same = (m.index == m.index[:, :1]).all(axis=1)
        fourth = same & (degree == 4) & (m.degree == 4)
        np.add.at(pure, m.index[fourth, 0], m.coefficient[fourth])
        rest = ~fourth & (degree > 0)
        touched[m.index[fourth, 0]] = True
        touched[m.index[rest][real[rest]]] = True
        signed = rest & (degree == 4)
        if m.degree == 4:
            even = (m.index[:, 0] == m.index[:, 1]) & (m.index[:, 2] == m.index[:, 3])
            signed &= ~(even & (m.coefficient > 0))
        # |abcd| is at most the mean of the fourth powers.
        np.add.at(load, m.index[signed][real[signed]], np.repeat(np.abs(m.coefficient[signed]) / 4.0, 4))
    if (touched & free & ~(pure > load)).any():
        return False
    rest = np.flatnonzero(free & ~touched)
    if not rest.size:
        return True
    if rest.size > _LARGEST:
        mask = np.zeros(n, dtype=bool)
        mask[rest] = True
        return dominant(energy.quadratic, mask)
    try:
        np.linalg.cholesky(energy.quadratic.restrict(rest).toarray())
    except np.linalg.LinAlgError:
        return False
    return True


def _falling(energy: Energy, directions: IntArray) -> tuple[FloatArray, int] | None:
    """A direction along which the leading part is negative: single coordinates, pairs of one monomial, a few
    random."""
    n = energy.n
    position = np.full(n, -1)
    position[directions] = np.arange(directions.size)
    top = np.zeros(n)
    cubic = np.zeros(n)
    for m in energy.higher:
        same = (m.index == m.index[:, :1]).all(axis=1) & (position[m.index[:, 0]] >= 0)
        target = top if m.degree == 4 else cubic
        if m.degree in (3, 4):
            np.add.at(target, m.index[same, 0], m.coefficient[same])
    diagonal = energy.quadratic.diagonal()
    for k in np.flatnonzero((position >= 0) & ((top < 0) | ((top == 0) & (cubic != 0)))):
        e = np.zeros(directions.size)
        e[position[k]] = 1.0 if top[k] < 0 else -np.sign(cubic[k])
        return e, 4 if top[k] < 0 else 3
    for k in np.flatnonzero((position >= 0) & (top == 0) & (cubic == 0) & (diagonal < 0)):
        e = np.zeros(directions.size)
        e[position[k]] = 1.0
        return e, 2
    return _falling_together(energy, directions, position)


def _falling_together(
    energy: Energy, directions: IntArray, position: IntArray
) -> tuple[FloatArray, int] | None:
    """Signs of the coordinates of one mixed monomial of degree 4, tried for a few of them."""
    rng = np.random.default_rng(0)
    for m in energy.higher:
        if m.degree != 4:
            continue
        mixed = np.flatnonzero((m.index != m.index[:, :1]).any(axis=1) & (position[m.index] >= 0).all(axis=1))
        for row in m.index[rng.permutation(mixed)[:_TRIES]]:
            at = np.unique(row)
            near = np.isin(m.index, at).all(axis=1)
            index, coefficient = np.searchsorted(at, m.index[near]), m.coefficient[near]
            for _ in range(8):
                signs = rng.choice([-1.0, 1.0], at.size)
                if float(coefficient @ np.prod(signs[index], axis=1)) < -1e-12:
                    e = np.zeros(directions.size)
                    e[position[at]] = signs
                    return e, 4
    return None
