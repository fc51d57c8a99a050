"""One-flip tabu search (Glover 1989; for max-cut, Kochenberger et al. 2013), compiled."""

from __future__ import annotations

import numpy as np

from spucc.targets.kernels import kernel


@kernel
def tabu(order, indptr, indices, weight, field, s, local, best, until, steps, seed):  # type: ignore[no-untyped-def]
    """Leaves in s [n] the best state met in `steps` flips from s; only sites in `order` move. `local`, `best`
    and `until` [n] are scratch, `until` zero.

    Each step flips the spin that lowers the energy most (or raises it least) among those not flipped lately;
    a tabu flip is allowed when it beats the best state so far. The tenure is n/20 + 7 … n/20 + 16 steps,
    drawn anew for each flip; after n·10 steps without improvement a random tenth of the spins is flipped from
    the best state.
    """
    n, free = s.size, order.size
    for i in range(n):
        total = field[i]
        for k in range(indptr[i], indptr[i + 1]):
            total += weight[k] * s[indices[k]]
        local[i] = total
    for i in range(n):
        best[i] = s[i]
    energy, least, since = 0.0, 0.0, 0
    random = np.uint64(seed) | np.uint64(1)
    tiny = 1e-12
    for step in range(steps):
        random ^= random << np.uint64(13)
        random ^= random >> np.uint64(7)
        random ^= random << np.uint64(17)
        pick, change, ties = -1, 0.0, 0
        for at in range(free):
            i = order[at]
            delta = 2.0 * s[i] * local[i]
            if until[i] > step and energy + delta >= least - tiny:
                continue
            if pick < 0 or delta < change - tiny:
                pick, change, ties = i, delta, 1
            elif delta <= change + tiny:
                # reservoir of one among equals
                ties += 1
                if (random >> np.uint64(11)) % np.uint64(ties) == 0:
                    pick = i
        if pick < 0:
            pick = order[np.int64((random >> np.uint64(11)) % np.uint64(free))]
            change = 2.0 * s[pick] * local[pick]
        s[pick] = -s[pick]
        energy += change
        for k in range(indptr[pick], indptr[pick + 1]):
            local[indices[k]] += 2.0 * weight[k] * s[pick]
        until[pick] = step + n // 20 + 7 + np.int64((random >> np.uint64(20)) % np.uint64(10))
        since += 1
        if energy < least - tiny:
            least, since = energy, 0
            for i in range(n):
                best[i] = s[i]
        elif since > 10 * n:
            since = 0
            for i in range(n):
                if s[i] != best[i]:
                    s[i] = best[i]
                    for k in range(indptr[i], indptr[i + 1]):
                        local[indices[k]] += 2.0 * weight[k] * s[i]
            energy = least
            for _ in range(free // 10):
                random ^= random << np.uint64(13)
                random ^= random >> np.uint64(7)
                random ^= random << np.uint64(17)
                i = order[np.int64((random >> np.uint64(11)) % np.uint64(free))]
                energy += 2.0 * s[i] * local[i]
                s[i] = -s[i]
                for k in range(indptr[i], indptr[i + 1]):
                    local[indices[k]] += 2.0 * weight[k] * s[i]
    for i in range(n):
        s[i] = best[i]
