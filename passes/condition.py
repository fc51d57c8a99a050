"""`condition`: what was observed leaves the energy, and what it did to its neighbours stays.

E(x_u | x_o = v): with u the unobserved and o the observed coordinates,

    constant + linear_o·v + ½ vᵀQ_oo v,   linear_u + Q_uo v,   Q_uu,

and every higher monomial loses its observed factors to its coefficient (a cell is deleted; nothing fills in: physics §2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.energy import Energy, Monomials, Observed, Origin, restrict_variables
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


def conditioned(model: Energy, keep: IntArray, index: IntArray, value: FloatArray) -> Energy:
    """The energy over the coordinates `keep` given that those of `index` have `value`; its queries are dropped, for they
    speak of the coordinates of the source."""
    full = np.zeros(model.n)
    full[index] = value
    pulled = model.quadratic @ full
    constant = model.constant + float(model.linear[index] @ value) + 0.5 * float(value @ pulled[index])
    linear = (model.linear + pulled)[keep]
    quadratic = model.quadratic.restrict(frozen(keep, np.int64))
    higher: list[Monomials] = []
    for terms in _substituted(model.higher, keep, full):
        if terms.degree >= 3:
            higher.append(terms)
        elif terms.degree == 2:
            quadratic = replace(
                quadratic, sparse=sparse.csr_array(quadratic.sparse + _pairs(terms, keep.size))
            )
        elif terms.degree == 1:
            linear = linear + np.bincount(terms.index[:, 0], terms.coefficient, keep.size)
        else:
            constant += float(terms.coefficient.sum())
    return Energy(
        variables=restrict_variables(model.variables, keep),
        linear=frozen(linear),
        quadratic=quadratic,
        constant=constant,
        higher=tuple(sorted(higher, key=lambda t: t.degree)),
        temperature=model.temperature,
        observed=Observed.none(),
        origins=restrict_origins(model.origins, keep),
    )


def restrict_origins(origins: tuple[Origin, ...], keep: IntArray) -> tuple[Origin, ...]:
    """The same statements over the coordinates `keep` (sorted), renumbered."""
    kept = []
    for origin in origins:
        at = np.searchsorted(keep, origin.coordinates)
        inside = at < keep.size
        inside[inside] = keep[at[inside]] == origin.coordinates[inside]
        if inside.any():
            kept.append(Origin(origin.span, frozen(at[inside], np.int64)))
    return tuple(kept)


def merge(index: IntArray, coefficient: FloatArray) -> Monomials:
    """Monomials with rows sorted, equal ones added up and zeros dropped."""
    index = np.sort(index, axis=1)
    if index.shape[1] == 0:
        return Monomials(
            frozen(index[:1], np.int64), frozen(coefficient.sum(keepdims=True)[: index.shape[0]])
        )
    rows, inverse = np.unique(index, axis=0, return_inverse=True)
    total = np.bincount(inverse.ravel(), coefficient, rows.shape[0])
    stay = total != 0
    return Monomials(frozen(rows[stay], np.int64), frozen(total[stay]))


def _substituted(higher: tuple[Monomials, ...], keep: IntArray, full: FloatArray) -> Iterator[Monomials]:
    """The monomials over `keep` once the other coordinates have their values, grouped by the degree that is left."""
    position = np.full(full.size, -1, dtype=np.int64)
    position[keep] = np.arange(keep.size)
    found: dict[int, list[tuple[IntArray, FloatArray]]] = {}
    for terms in higher:
        at = position[terms.index]
        fixed = at < 0
        coefficient = terms.coefficient * np.prod(np.where(fixed, full[terms.index], 1.0), axis=1)
        left = terms.degree - fixed.sum(axis=1)
        order = np.argsort(fixed, axis=1, kind="stable")
        at = np.take_along_axis(at, order, axis=1)
        for degree in np.unique(left):
            rows = left == degree
            found.setdefault(int(degree), []).append((at[rows, :degree], coefficient[rows]))
    for parts in found.values():
        terms = merge(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
        if terms.coefficient.size:
            yield terms


def _pairs(terms: Monomials, n: int) -> sparse.csr_array:
    """Q of Σ c x_i x_j: c at (i, j) and (j, i), 2c on the diagonal."""
    i, j = terms.index.T
    part = sparse.coo_array((terms.coefficient, (i, j)), shape=(n, n))
    return sparse.csr_array(part + part.T)
