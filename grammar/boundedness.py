"""Energies of degree 3 and 4 in real variables, or of degree 2 with spins and bits in their coefficients: bounded below, not
bounded (with a direction), or not decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.conditioning import inserted
from spucc.diagnostics import Diagnostic, Span, SpuccError
from spucc.energy import Energy
from spucc.grammar.assemble import Accumulator
from spucc.grammar.context import Added, AddedBlock
from spucc.grammar.evidence import Evidence
from spucc.grammar.impropriety import at_statement, spelled
from spucc.grammar.poly import Affine, nothing
from spucc.grammar.settings import Fall, proved

_TRIES = 64


def bounded(energy: Energy, free: BoolArray, evidence: Evidence) -> list[Diagnostic]:
    """Warnings; an error if a direction was found along which the energy falls without end.

    No monomial of `energy` holds an observed coordinate; `free` marks the real ones that are not observed.
    """
    if not free.any():
        return []
    directions = np.flatnonzero(free)
    fall = _falling(energy, directions)
    if fall is not None:
        direction, degree = fall
        d = np.zeros(energy.n)
        d[directions] = direction
        found = _unbounded(energy, directions, direction, f"its part of degree {degree} is negative there")
        raise SpuccError(at_statement(found, evidence.falls(d, degree)))
    verdict = _surely(energy, free)
    if isinstance(verdict, Fall):
        given = ", ".join(f"{energy.label(k)} = {v:g}" for k, v in zip(verdict.given, verdict.values))
        found = _unbounded(energy, verdict.at, verdict.direction, f"where {given}")
        d, start = np.zeros((2, energy.n))
        d[verdict.at] = verdict.direction
        start[energy.observed.index] = energy.observed.value
        start[list(verdict.given)] = verdict.values
        raise SpuccError(at_statement(found, evidence.falls(d, 2, start)))
    if verdict:
        return []
    rest = _without_nonnegative(energy, evidence.parts)
    if rest is not None and _surely(rest, free) is True:
        return []
    degree, at = _highest(energy, free)
    what = "of degree 2 in the reals" if degree == 2 else f"of degree {degree}"
    return [
        Diagnostic(
            "W0401",
            f"it could not be decided whether this energy {what} is bounded below"
            + (" for every setting of the spins and bits" if degree == 2 else ""),
            _narrowest(energy, at),
            help="a narrower prior on the real variables in it decides it"
            if degree == 2
            else "a positive `J4` on every variable that occurs in a term of degree 3 or 4 decides it",
        )
    ]


def _unbounded(energy: Energy, at: IntArray, direction: FloatArray, note: str) -> Diagnostic:
    return Diagnostic(
        "E0409",
        f"the energy is not bounded below: it falls without end along {spelled(energy, at, direction)}",
        energy.variable_of(int(at[int(np.argmax(np.abs(direction)))])).span,
        notes=(note,),
        help="give every direction a positive quartic, or a positive quadratic where there is no quartic",
    )


def _without_nonnegative(energy: Energy, parts: Sequence[Added | AddedBlock]) -> Energy | None:
    """The energy without the statements that cannot be negative: what is left is a lower bound."""
    spin, bit = (np.zeros(energy.n) for _ in range(2))
    spin[energy.domains[1]], bit[energy.domains[2]] = 1.0, 1.0
    kept = [part for part in parts if not _is_nonnegative(part, spin, bit)]
    if len(kept) == len(parts):
        return None
    total = Accumulator(energy.variables, energy.n)
    for part in kept:
        total.add(part)
    rest = replace(energy, higher=total.higher(), linear=frozen(total.linear), quadratic=total.quadratic())
    return inserted(rest, energy.observed.index, energy.observed.value)


def _is_nonnegative(part: Added | AddedBlock, spin: FloatArray, bit: FloatArray) -> bool:
    """Whether a contribution is Σ weight · f² g² s with no negative weight and s ≥ 0 forms of spins and bits, and nothing else.

    Squares, and powers of single real coordinates, are left: what else there is may need them.
    """
    if isinstance(part, AddedBlock) or not part.poly.terms or not nothing(part.poly.affine):
        return False
    single = True
    lowest: dict[int, float] = {}
    for t in part.poly.terms:
        if np.any(np.asarray(t.weight) < 0):
            return False
        odd: dict[int, Affine] = {}
        for f in t.factors:
            if odd.pop(id(f), None) is None:
                odd[id(f)] = f
        if not odd and len(t.factors) == 2:
            return False
        for key, f in odd.items():
            if key not in lowest:
                lowest[key] = _lowest(f, spin, bit)
            if not lowest[key] >= 0:
                return False
        slots = [f.linear.slots for f in t.factors if id(f) not in odd]
        single &= all(s is not None and len(s) == 1 for s in slots)
    return not single


def _lowest(form: Affine, spin: FloatArray, bit: FloatArray) -> float:
    """The least value of an affine form of spins and bits; −∞ of one that reads real variables."""
    rows = form.linear.csr(spin.size)
    if not (spin[rows.indices] + bit[rows.indices] > 0).all():
        return -np.inf
    below = form.offset - abs(rows) @ spin + rows.minimum(0) @ bit
    return float(np.min(below, initial=np.inf))


def _highest(energy: Energy, free: BoolArray) -> tuple[int, IntArray]:
    """The highest degree in the real variables, and the coordinates of a term of it, a mixed one if there is any."""
    degree, at = 0, np.empty(0, np.int64)
    for m in energy.higher:
        real = free[m.index].sum(axis=1)
        mixed = (m.index != m.index[:, :1]).any(axis=1)
        row = int(np.argmax(2 * real + mixed))
        if real[row] >= degree:
            degree, at = int(real[row]), m.index[row]
    return degree, at


def _narrowest(energy: Energy, at: IntArray) -> Span | None:
    """The narrowest statement around some coordinates."""
    owners = [o for o in energy.origins if np.isin(at, o.coordinates).all()]
    return min(reversed(owners), key=lambda o: o.coordinates.size).span if owners else None


def _surely(energy: Energy, free: BoolArray) -> bool | Fall:
    """Whether every monomial of degree 3 or 4 in the reals is dominated by pure fourth powers, and the others have a definite
    quadratic for every setting of the spins and bits; or how they fall for one."""
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
        rest = ~fourth & (degree >= 3)
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
    return proved(energy, free, rest) if rest.size else True


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
