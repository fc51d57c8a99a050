"""Flat directions that no query sees: each gets a spring, which leaves the law of what is asked unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.energy import Energy, Quadratic, QueryKind
from spucc.grammar.impropriety import Fault, improper


def ground(
    energy: Energy, at: IntArray, null: FloatArray, diagonal: FloatArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    """Flat directions that no query sees get a spring each; one that is seen, or along which a force pulls,
    is an error."""
    forces = _forces(energy, at)
    size = np.abs(null).max(axis=0)
    null = null / size
    force = null.T @ forces
    if (np.abs(force) > 1e-9 * (np.abs(null.T) @ abs(forces)) + 1e-300).any():
        k, column = (int(v) for v in np.unravel_index(int(np.argmax(np.abs(force))), force.shape))
        return [improper(energy, at, -np.sign(force[k, column]) * null[:, k], 0.0, pulled=True)], []
    for query in energy.queries:
        if query.kind is QueryKind.LOGZ:
            return [improper(energy, at, null[:, 0], 0.0, query)], []
        if query.kind is QueryKind.ARGMIN:
            continue
        for form in query.forms():
            rows = form.matrix[:, at]
            moved = np.abs(rows @ null)
            limit = 1e-9 * (abs(rows) @ np.abs(null)) + 1e-300
            if (moved > limit).any():
                column = int(np.argmax((moved > limit).any(axis=0)))
                return [improper(energy, at, null[:, column], 0.0, query)], []
    grounds = []
    left = null.copy()
    typical = float(np.mean(np.abs(diagonal))) or 1.0
    for _ in range(null.shape[1]):
        k, column = (int(v) for v in np.unravel_index(int(np.argmax(np.abs(left))), left.shape))
        grounds.append((int(at[k]), typical))
        pivot = left[:, column] / left[k, column]
        left = left - np.outer(pivot, left[k])
        left[:, column] = 0.0
    return [], grounds


def _forces(energy: Energy, at: IntArray) -> sparse.csc_array:
    """∂E/∂x of some coordinates at 0, a column for the constant part and one for each product of spins and bits that it has."""
    x = np.zeros(energy.n)
    x[energy.observed.index] = energy.observed.value
    constant = energy.linear[at] + (energy.quadratic @ x)[at]
    parts = [sparse.csc_array(constant[:, None])]
    discrete = np.concatenate(energy.domains[1:])
    if discrete.size:
        discrete = np.setdiff1d(discrete, energy.observed.index)
        parts.append(sparse.csc_array(energy.quadratic.tocsr()[at][:, discrete]))
    position = np.full(energy.n, -1)
    position[at] = np.arange(at.size)
    for m in energy.higher:
        inside = position[m.index] >= 0
        rows = inside.sum(axis=1) == 1
        given = m.index[rows][~inside[rows]].reshape(-1, m.degree - 1)
        column = np.unique(given, axis=0, return_inverse=True)[1].ravel()
        entries = (position[m.index[rows][inside[rows]]], column)
        shape = (at.size, int(column.max(initial=-1)) + 1)
        parts.append(sparse.csc_array(sparse.coo_array((m.coefficient[rows], entries), shape=shape)))
    return sparse.csc_array(sparse.hstack(parts))


def grounded(energy: Energy, grounds: list[tuple[int, float]]) -> Energy:
    diagonal = np.zeros(energy.n)
    for k, spring in grounds:
        diagonal[k] += spring
    on = np.flatnonzero(diagonal)
    extra = sparse.csr_array(sparse.coo_array((diagonal[on], (on, on)), shape=(energy.n, energy.n)))
    total = sparse.csr_array(energy.quadratic.sparse + extra)
    return replace(energy, quadratic=Quadratic(total, energy.quadratic.blocks))
