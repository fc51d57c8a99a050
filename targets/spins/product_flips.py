"""Annealing by single flips of an energy of products, compiled (`spucc.targets.spins.products`)."""

from __future__ import annotations

import numpy as np

from spucc.targets.kernels import exp32, inline, kernel


@inline
def _change(i, to, starts, terms, ends, factors, coefficient, x):  # type: ignore[no-untyped-def]
    """What the energy gains when entry i takes the value `to`."""
    total = 0.0
    for k in range(starts[i], starts[i + 1]):
        t = terms[k]
        old, new = coefficient[t], coefficient[t]
        for f in range(ends[t], ends[t + 1]):
            j = factors[f]
            old *= x[j]
            new *= to if j == i else x[j]
        total += new - old
    return total


@kernel
def anneal(starts, terms, ends, factors, coefficient, low, high, betas, x, best, energy, seed):  # type: ignore[no-untyped-def]
    """One sweep of x [n] at each of `betas`, then sweeps down until no flip lowers the energy; `best` [n] becomes the state of
    least energy met, `energy` [1] that energy. Terms with entry i: `terms[starts[i]:starts[i + 1]]`."""
    n = x.size
    now = 0.0
    for t in range(coefficient.size):
        value = coefficient[t]
        for f in range(ends[t], ends[t + 1]):
            value *= x[factors[f]]
        now += value
    least = now
    for i in range(n):
        best[i] = x[i]
    random = np.uint64(seed) | np.uint64(1)
    sweep, moved = 0, True
    while sweep < betas.size or (moved and sweep < betas.size + 1000):
        moved = False
        for i in range(n):
            to = low[i] + high[i] - x[i]
            change = _change(i, to, starts, terms, ends, factors, coefficient, x)
            if sweep < betas.size:
                random ^= random << np.uint64(13)
                random ^= random >> np.uint64(7)
                random ^= random << np.uint64(17)
                u = np.float64(random >> np.uint64(11)) * 2.0**-53
                take = change <= 0.0 or u < exp32(np.float32(-betas[sweep] * change))
            else:
                take = change < -1e-12
            if take:
                x[i] = to
                now += change
                moved = True
        if now < least:
            least = now
            for i in range(n):
                best[i] = x[i]
        sweep += 1
    energy[0] = least
