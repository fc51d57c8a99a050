"""Products of many spins as fields and pair couplings with auxiliary spins, exactly: summing over the
auxiliaries gives the weight of the product at every state and at the temperature asked for, not only the same
ground state.

With log-weight c s₁s₂s₃ (c = −coefficient / T):
    Σ_a exp(a(u(s₁ + s₂ + s₃) + u)) = 2 cosh(u(k + 1)), k = s₁ + s₂ + s₃,
is a symmetric function of three spins, A + B Σs + C Σ ss + D s₁s₂s₃, with D(u) falling from 0 to −∞; u solves
D = −|c|, B and C are taken back by fields and couplings, and a flip of one spin turns the sign. Four spins go
the same way with 2 cosh(uk). Five and more are first cut in two: Σ_t exp(α t P + α t Q) ∝ exp(c PQ) for
products P, Q = ±1 with α = ½ arcosh e^{2c}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

Pairs = dict[tuple[int, int], float]
Fields = dict[int, float]


class Terms:
    """Log-weights of spins under construction: fields, pairs, and how many spins there are by now."""

    def __init__(self, n: int) -> None:
        self.n, self.fields, self.pairs = n, Fields(), Pairs()

    def field(self, i: int, value: float) -> None:
        self.fields[i] = self.fields.get(i, 0.0) + value

    def pair(self, i: int, j: int, value: float) -> None:
        key = (min(i, j), max(i, j))
        self.pairs[key] = self.pairs.get(key, 0.0) + value

    def product(self, spins: tuple[int, ...], c: float) -> None:
        """Log-weight c Π s over distinct spins."""
        if c == 0.0 or not spins:
            return
        if len(spins) == 1:
            self.field(spins[0], c)
        elif len(spins) == 2:
            self.pair(spins[0], spins[1], c)
        elif len(spins) <= 4:
            self._hub(spins, c)
        else:
            self._cut(spins, c)

    def _auxiliary(self) -> int:
        self.n += 1
        return self.n - 1

    def _cut(self, spins: tuple[int, ...], c: float) -> None:
        t, half = self._auxiliary(), len(spins) // 2
        alpha = 0.5 * float(np.arccosh(np.exp(2 * abs(c))))
        self.product((*spins[:half], t), alpha)
        self.product((*spins[half:], t), alpha if c > 0 else -alpha)

    def _hub(self, spins: tuple[int, ...], c: float) -> None:
        three = len(spins) == 3
        u = _solve(_third if three else _fourth, abs(c))
        a = self._auxiliary()
        # the hub gives −|c| Π s; for the other sign the first spin enters negated
        sign = [1.0 if c < 0 else -1.0] + [1.0] * (len(spins) - 1)
        b, pair = _undo(u, three)
        for s, f in zip(spins, sign):
            self.pair(a, s, u * f)
            self.field(s, -b * f)
        if three:
            self.field(a, u)
        for x in range(len(spins)):
            for y in range(x):
                self.pair(spins[x], spins[y], -pair * sign[x] * sign[y])


def _log2cosh(x: float) -> float:
    return float(np.logaddexp(x, -x))


def _third(u: float) -> float:
    """−D of three spins: the coefficient of s₁s₂s₃ in log 2cosh(u(k + 1))."""
    f = [_log2cosh(u * (k + 1)) for k in (3, 1, -1, -3)]
    return -(f[0] - 3 * f[1] + 3 * f[2] - f[3]) / 8


def _fourth(u: float) -> float:
    """−D of four spins, from log 2cosh(uk)."""
    f = [_log2cosh(u * k) for k in (4, 2, 0)]
    return -(2 * f[0] - 8 * f[1] + 6 * f[2]) / 16


def _undo(u: float, three: bool) -> tuple[float, float]:
    """B and C: the fields and pair couplings that the hub brings along."""
    if three:
        f3, f1, g1, g3 = (_log2cosh(u * (k + 1)) for k in (3, 1, -1, -3))
        return (f3 + f1 - g1 - g3) / 8, (f3 - f1 - g1 + g3) / 8
    f4, f0 = (_log2cosh(u * k) for k in (4, 0))
    return 0.0, (2 * f4 - 2 * f0) / 16


@lru_cache(maxsize=4096)
def _solve(rise: Callable[[float], float], goal: float) -> float:
    """u > 0 with rise(u) = goal, for a function that rises from 0 without bound: bisection to the last
    bit."""
    low, high = 0.0, 1.0
    while rise(high) < goal:
        low, high = high, 2 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if rise(middle) < goal else (low, middle)
    return high
