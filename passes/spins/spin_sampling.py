"""Draws of spin systems that are too large to enumerate, for the passes' own estimates: vectorised Gibbs
sweeps, a colour at a time, with the coldest chain's law reached through a ladder of temperatures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from spucc.arrays import FloatArray


def colours(k: sparse.csr_array) -> list[NDArray[np.int64]]:
    """Groups of spins that do not see one another: greedy in order of falling degree."""
    n = int(k.shape[0])
    colour = np.full(n, -1)
    for i in np.argsort(-np.diff(k.indptr), kind="stable").tolist():
        near = colour[k.indices[k.indptr[i] : k.indptr[i + 1]]]
        taken = set(near[near >= 0].tolist())
        colour[i] = next(c for c in range(len(taken) + 1) if c not in taken)
    return [np.flatnonzero(colour == c) for c in range(int(colour.max(initial=-1)) + 1)]


def gibbs(
    j: sparse.csr_array,
    h: FloatArray,
    chains: int,
    rng: np.random.Generator,
    settle: int = 300,
    keep: int = 8,
    gap: int = 10,
) -> FloatArray:
    """Draws [keep · chains, n] of p(s) ∝ exp(½ sᵀJs + h·s): `chains` chains cooled from independence over
    `settle` sweeps, then read `keep` times, `gap` sweeps apart."""
    n = h.size
    rows = [(group, sparse.csr_array(j[group])) for group in colours(j)]
    s = np.where(rng.random((n, chains)) < special.expit(2 * h)[:, None], 1.0, -1.0)
    found = []
    schedule = np.concatenate([np.linspace(0.0, 1.0, settle), np.ones(keep * gap)])
    for t, strength in enumerate(schedule):
        for group, part in rows:
            field = strength * (part @ s) + h[group][:, None]
            s[group] = np.where(rng.random((group.size, chains)) < special.expit(2 * field), 1.0, -1.0)
        if t >= settle and (t - settle) % gap == gap - 1:
            found.append(s.T.copy())
    return np.concatenate(found)
