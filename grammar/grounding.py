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
    linear = energy.linear[at] + _pull_of_observed(energy, at)
    size = np.abs(null).max(axis=0)
    null = null / size
    force = null.T @ linear
    scale = np.abs(null.T) @ np.abs(linear) + 1e-300
    seen = np.abs(force) > 1e-9 * scale
    if seen.any():
        direction = null[:, int(np.argmax(np.abs(force)))]
        sign = -np.sign(float(direction @ linear))
        return [improper(energy, at, direction * sign, 0.0, pulled=True)], []
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


def _pull_of_observed(energy: Energy, at: IntArray) -> FloatArray:
    if not energy.observed.index.size:
        return np.zeros(at.size)
    x = np.zeros(energy.n)
    x[energy.observed.index] = energy.observed.value
    return np.asarray((energy.quadratic @ x)[at])


def grounded(energy: Energy, grounds: list[tuple[int, float]]) -> Energy:
    diagonal = np.zeros(energy.n)
    for k, spring in grounds:
        diagonal[k] += spring
    on = np.flatnonzero(diagonal)
    extra = sparse.csr_array(sparse.coo_array((diagonal[on], (on, on)), shape=(energy.n, energy.n)))
    total = sparse.csr_array(energy.quadratic.sparse + extra)
    return replace(energy, quadratic=Quadratic(total, energy.quadratic.blocks))
