"""Draws of spin systems that are too wide for exact laws, for the compiler's own estimates: Gibbs sweeps, a colour at a
time, all chains in one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import FloatArray

KEEP = 8
"""Draws of a chain."""
SWEEPS = 150 + 6 * KEEP
"""Sweeps that `gibbs` makes unless it is told otherwise."""


def colours(k: sparse.csr_array) -> list[NDArray[np.int64]]:
    """Groups of spins that do not see one another: greedy in order of falling degree."""
    n = int(k.shape[0])
    colour = np.full(n, -1)
    for i in np.argsort(-np.diff(k.indptr), kind="stable").tolist():
        near = colour[k.indices[k.indptr[i] : k.indptr[i + 1]]]
        taken = set(near[near >= 0].tolist())
        colour[i] = next(c for c in range(len(taken) + 1) if c not in taken)
    return [np.flatnonzero(colour == c) for c in range(int(colour.max(initial=-1)) + 1)]


def chains_for(n: int, sweeps: int, flips: float, most: int = 2000) -> int:
    """How many chains of n spins `flips` updates allow for, at least 16."""
    return int(np.clip(flips / (max(n, 1) * sweeps), 16, most))


def gibbs(
    j: sparse.csr_array,
    h: FloatArray,
    chains: int,
    rng: np.random.Generator,
    settle: int = 150,
    keep: int = KEEP,
    gap: int = 6,
    groups: list[NDArray[np.int64]] | None = None,
) -> NDArray[np.float32]:
    """Draws [keep, chains, n], ±1, of p(s) ∝ exp(½ sᵀJs + h·s): `chains` chains cooled from independence over `settle`
    sweeps, then read `keep` times, `gap` sweeps apart.

    Systems with the same `groups` and equal generators are swept with the same random numbers, so that the difference of
    their draws is that of their laws and little else.
    """
    n = h.size
    groups = colours(j) if groups is None else groups
    rows = [
        (group, sparse.csr_array(j[group], dtype=np.float32), h[group].astype(np.float32)[:, None])
        for group in groups
    ]
    s = np.zeros((n, chains), dtype=np.float32)
    found = np.empty((keep, chains, n), dtype=np.float32)
    schedule = np.concatenate([np.linspace(0.0, 1.0, settle), np.ones(keep * gap)]).astype(np.float32)
    # the half-open unit interval of single precision, moved to its cells' centres: its logarithms are finite
    shift, top = np.float32(2.0**-25), np.float32(1.0 - 2.0**-24)
    for t, strength in enumerate(schedule):
        for group, part, field in rows:
            u = np.minimum(rng.random((group.size, chains), dtype=np.float32) + shift, top)
            # s = +1 with probability 1/(1 + e^(−2f)): where 2f > log u − log(1 − u)
            odds = np.log(u) - np.log1p(-u)
            up = 2 * (strength * (part @ s) + field) > odds
            s[group] = np.where(up, np.float32(1), np.float32(-1))
        if t >= settle and (t - settle) % gap == gap - 1:
            found[(t - settle) // gap] = s.T
    return found
