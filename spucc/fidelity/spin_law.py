"""Exact laws of small spin systems, p(s) ∝ exp(½ sᵀJs + h·s): what the passes measure their choices with.

State k of n spins has spin i = +1 where bit i of k is set, spin 0 the lowest bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.energy import Energy

EXACT_LIMIT = 20
"""Up to so many spins are enumerated."""


@lru_cache(maxsize=4)
def all_spins(n: int) -> FloatArray:
    """Every state [2ⁿ, n], ±1."""
    return frozen(2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) - 1)


def log_weights(j: FloatArray, h: FloatArray) -> FloatArray:
    """½ sᵀJs + h·s of every state [2ⁿ], by doubling: spin k meets the field of those before it. `j` [n, n]
    symmetric with zero diagonal."""
    total = np.zeros(1)
    for k in range(h.size):
        field = np.full(1, h[k])
        for i in range(k):
            field = np.concatenate([field - j[k, i], field + j[k, i]])
        total = np.concatenate([total - field, total + field])
    return total


def law(j: FloatArray, h: FloatArray) -> tuple[FloatArray, float]:
    """Probabilities of every state [2ⁿ], and log Z."""
    w = log_weights(j, h)
    top = w.max()
    p = np.exp(w - top)
    z = p.sum()
    return p / z, float(top + np.log(z))


def moments(p: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """⟨s⟩ [n] and ⟨s sᵀ⟩ [n, n] of a law over all states."""
    s = all_spins(n)
    return p @ s, (s * p[:, None]).T @ s


def divergence(p: FloatArray, q: FloatArray) -> float:
    """KL(p ‖ q) in nats; infinite where q misses a state of p."""
    seen = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[seen] * (np.log(p[seen]) - np.log(q[seen]))))


@dataclass(frozen=True, eq=False)
class InSpins:
    """What an energy is up to degree 2 when its bits are b = `scale` s + `offset` (spins: 1 and 0): couplings Q [n, n] without a
    diagonal, fields [n], and a constant."""

    scale: FloatArray
    offset: FloatArray
    quadratic: sparse.csr_array
    linear: FloatArray
    constant: float

    @staticmethod
    def of(energy: Energy) -> InSpins:
        """Every entry must be a spin or a bit; products of more than two are left out."""
        scale, offset = np.ones(energy.n), np.zeros(energy.n)
        bits = energy.domains[2]
        scale[bits], offset[bits] = 0.5, 0.5
        q, d = energy.quadratic.tocsr(), sparse.diags_array(scale)
        pair = sparse.csr_array(d @ q @ d)
        own = pair.diagonal()
        constant = energy.constant + energy.linear @ offset + 0.5 * offset @ (q @ offset) + 0.5 * own.sum()
        linear = scale * (energy.linear + q @ offset)
        return InSpins(
            scale, offset, sparse.csr_array(pair - sparse.diags_array(own)), linear, float(constant)
        )


Factor = tuple[tuple[int, ...], FloatArray]
"""Spins in rising order, and a log-weight for each of their states: one axis of length 2 a spin, −1 first."""


def factors_of(edges: IntArray, couplings: FloatArray, h: FloatArray) -> list[Factor]:
    """One factor a coupling, one a field."""
    sign = np.array([-1.0, 1.0])
    both = np.multiply.outer(sign, sign)
    pairs = [((int(min(e)), int(max(e))), float(w) * both) for e, w in zip(edges, couplings)]
    return pairs + [((i,), value * sign) for i, value in enumerate(np.asarray(h).tolist())]


def eliminate(
    factors: list[Factor],
    keep: tuple[int, ...],
    limit: int = 2**20,
    combine: Callable[[FloatArray, FloatArray], FloatArray] = np.logaddexp,
) -> FloatArray | None:
    """log Σ over all spins but `keep` (rising) of the product of the factors: one axis a kept spin.

    Spins are summed out one at a time, the one with the smallest table first; None when a table would have
    more than `limit` entries. With nothing kept it is log Z; with `combine=np.maximum` the largest log-weight
    instead.
    """
    left = _sum_out(factors, keep, limit, combine, [])
    if left is None or 2 ** len(keep) > limit:
        return None
    return _product(left, keep)


Conditional = tuple[int, tuple[int, ...], FloatArray]
"""A spin, those that it hangs on, and the log-odds of +1 for each of their states."""


def _sum_out(
    factors: list[Factor],
    keep: tuple[int, ...],
    limit: int,
    combine: Callable[[FloatArray, FloatArray], FloatArray],
    trail: list[Conditional],
) -> list[Factor] | None:
    """The factors left when all spins but `keep` are summed out; each spin's conditional is added to
    `trail`."""
    left = list(factors)
    open_ = {v for names, _ in left for v in names} - set(keep)
    near: dict[int, set[int]] = {v: set() for names, _ in left for v in names}
    for names, _ in left:
        for v in names:
            near[v].update(names)
    while open_:
        v = min(open_, key=lambda u: (len(near[u]), u))
        group = tuple(sorted(near[v]))
        if 2 ** len(group) > limit:
            return None
        table = _product([f for f in left if v in f[0]], group)
        left = [f for f in left if v not in f[0]]
        axis = group.index(v)
        rest = group[:axis] + group[axis + 1 :]
        down, up = table.take(0, axis), table.take(1, axis)
        with np.errstate(invalid="ignore"):
            trail.append((v, rest, np.asarray(up - down)))
        left.append((rest, np.asarray(combine(np.asarray(down), np.asarray(up)))))
        for u in rest:
            near[u] |= set(rest)
            near[u].discard(v)
        open_.discard(v)
    return left


class Sampler:
    """Independent draws of a spin system whose graph is narrow: spins are summed out one after another, then
    drawn in the reverse order, each given those that it hangs on. `Sampler.of` gives None for a graph that is
    too wide."""

    def __init__(self, trail: list[Conditional], n: int) -> None:
        self._trail, self._n = trail, n

    @staticmethod
    def of(edges: IntArray, couplings: FloatArray, h: FloatArray, limit: int = 2**20) -> Sampler | None:
        """For p(s) ∝ exp(Σ couplings s_i s_j + h·s)."""
        trail: list[Conditional] = []
        if _sum_out(factors_of(edges, couplings, h), (), limit, np.logaddexp, trail) is None:
            return None
        return Sampler(trail, np.asarray(h).size)

    def draws(self, u: FloatArray) -> FloatArray:
        """Uniform numbers [m, n] in (0, 1) → draws [m, n], ±1."""
        bits = np.zeros((u.shape[0], self._n), dtype=np.int64)
        with np.errstate(over="ignore"):
            for v, rest, odds in reversed(self._trail):
                at = np.zeros(u.shape[0], dtype=np.int64)
                for k in rest:
                    at = 2 * at + bits[:, k]
                bits[:, v] = u[:, v] * (1 + np.exp(-odds.ravel()[at])) < 1
        return np.asarray(2.0 * bits - 1, dtype=np.float64)


def _product(factors: list[Factor], names: tuple[int, ...]) -> FloatArray:
    total = np.zeros((2,) * len(names))
    for own, table in factors:
        shape = [2 if v in own else 1 for v in names]
        total = total + table.reshape(shape)
    return total


def marginal(factors: list[Factor], keep: tuple[int, ...], limit: int = 2**20) -> FloatArray | None:
    """The law of the spins `keep` over their states, numbered as in `all_spins` (spin keep[0] the lowest
    bit)."""
    table = eliminate(factors, keep, limit)
    if table is None:
        return None
    flat = table.transpose().ravel()
    p = np.exp(flat - flat.max())
    return np.asarray(p / p.sum())
