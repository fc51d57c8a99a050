"""What was observed leaves the energy, and what it did to its neighbours stays.

E(x_u | x_o = v): with u the unobserved and o the observed coordinates,

    constant + linear_o·v + ½ vᵀQ_oo v,   linear_u + Q_uo v,   Q_uu,

and every higher monomial loses its observed factors to its coefficient (a cell is deleted; nothing fills in: physics §2).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.energy import Energy, Monomials, Observed, Origin, restrict_variables


def conditioned(model: Energy, keep: IntArray, index: IntArray, value: FloatArray) -> Energy:
    """The energy over the coordinates `keep` given that those of `index` have `value`; its queries are dropped, for they
    speak of the coordinates of the source."""
    model = inserted(model, index, value)
    full = np.zeros(model.n)
    full[index] = value
    position = np.full(model.n, -1, dtype=np.int64)
    position[keep] = np.arange(keep.size)
    pulled = model.quadratic @ full
    return Energy(
        variables=restrict_variables(model.variables, keep),
        linear=frozen((model.linear + pulled)[keep]),
        quadratic=model.quadratic.restrict(frozen(keep, np.int64)),
        constant=model.constant + float(model.linear[index] @ value) + 0.5 * float(value @ pulled[index]),
        higher=tuple(Monomials(frozen(position[m.index], np.int64), m.coefficient) for m in model.higher),
        temperature=model.temperature,
        observed=Observed.none(),
        origins=restrict_origins(model.origins, keep),
    )


def inserted(model: Energy, index: IntArray, value: FloatArray) -> Energy:
    """The same energy where the coordinates `index` have `value`, with none of them in a monomial of degree 3 or more."""
    fixed = np.zeros(model.n, dtype=bool)
    fixed[index] = True
    if not any(fixed[m.index].any() for m in model.higher):
        return model
    known = np.ones(model.n)
    known[index] = value
    found: dict[int, list[tuple[IntArray, FloatArray]]] = {}
    for m in model.higher:
        gone = fixed[m.index]
        coefficient = m.coefficient * np.prod(np.where(gone, known[m.index], 1.0), axis=1)
        left = m.degree - gone.sum(axis=1)
        ordered = np.take_along_axis(m.index, np.argsort(gone, axis=1, kind="stable"), axis=1)
        for degree in np.unique(left):
            rows = left == degree
            found.setdefault(int(degree), []).append((ordered[rows, :degree], coefficient[rows]))
    constant, linear, pairs, higher = model.constant, model.linear, model.quadratic.sparse, []
    for degree, parts in sorted(found.items()):
        at, coefficient = (np.concatenate(p) for p in zip(*parts))
        if degree == 0:
            constant += float(coefficient.sum())
        elif degree == 1:
            linear = frozen(linear + np.bincount(at[:, 0], coefficient, model.n))
        elif degree == 2:
            half = sparse.coo_array((coefficient, (at[:, 0], at[:, 1])), shape=pairs.shape)
            pairs = sparse.csr_array(pairs + half + half.T)
        else:
            rows, inverse = np.unique(at, axis=0, return_inverse=True)
            total = np.bincount(inverse.ravel(), coefficient, rows.shape[0])
            if (total != 0).any():
                higher.append(Monomials(frozen(rows[total != 0], np.int64), frozen(total[total != 0])))
    quadratic = replace(model.quadratic, sparse=pairs)
    return replace(model, constant=constant, linear=linear, quadratic=quadratic, higher=tuple(higher))


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
