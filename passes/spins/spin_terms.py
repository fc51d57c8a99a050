"""Products of many spins or bits as fields and pair couplings with auxiliary spins, exactly: summing over the
auxiliaries gives the weight of the product at every state and at the temperature asked for, not only the same
ground state.

Spins, log-weight c s₁s₂s₃ (c = −coefficient / T):
    Σ_a exp(a(u(s₁ + s₂ + s₃) + u)) = 2 cosh(u(k + 1)), k = s₁ + s₂ + s₃,
is a symmetric function of three spins, A + B Σs + C Σ ss + D s₁s₂s₃, with D(u) falling from 0 to −∞; u solves
D = −|c|, A, B and C are taken back, and a flip of one spin turns the sign. Four spins go the same way with
2 cosh(uk). Five and more are first cut in two: Σ_t exp(α t (P + Q)) ∝ exp(c PQ) for products P, Q = ±1 with
α = ½ arcosh e^{2|c|}.

Bits, log-weight c b₁b₂b₃b₄ with c < 0: with t = Σb, 2 cosh(u(2t − 3)) has the third difference 0 at t = 0, so it is
A + B Σb + C Σbb + D b₁b₂b₃b₄, D = F(5u) − 3F(3u) + 2F(u), F(x) = log 2cosh x: one auxiliary where the expansion in
spins takes five. For c > 0 one bit is replaced by 1 − (its complement). Five and more are cut:
Σ_t exp(t(αP + βQ + γ)), t = 0, 1, has the interaction c in P and Q for cosh a = 2e^{|c|} − 1 with
(α, β, γ) = (a, a, −a) for c > 0 and (a, −a, 0) for c < 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spucc.arrays import FloatArray, IntArray


class Terms:
    """Log-weights of spins under construction: a constant, fields, pairs, and how many spins there are by now.

    Σ over the spins from the `n` of the start on of exp(constant + fields + pairs) is exp of all that was asked for.
    """

    def __init__(self, n: int) -> None:
        self.n, self.constant = n, 0.0
        self._fields: list[tuple[IntArray, FloatArray]] = []
        self._pairs: list[tuple[IntArray, IntArray, FloatArray]] = []

    def fields(self) -> FloatArray:
        """The fields [n]."""
        total = np.zeros(self.n)
        for i, value in self._fields:
            total += np.bincount(i, value, self.n)
        return total

    def pairs(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Couplings as (i, j, value), equal pairs not merged."""
        nothing: list[tuple[IntArray, IntArray, FloatArray]] = [
            (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        ]
        i, j, value = (np.concatenate(part) for part in zip(*(nothing + self._pairs)))
        return i, j, value

    # --- spins ----------------------------------------------------------------------------------------

    def product(self, index: IntArray, c: FloatArray) -> None:
        """Log-weights c_k Π s over the distinct spins index[k]; `index` [m, d], `c` [m]."""
        index, c = index[c != 0], c[c != 0]
        m, d = index.shape
        if not m or d == 0:
            self.constant += float(c.sum())
        elif d == 1:
            self._field(index[:, 0], c)
        elif d == 2:
            self._pair(index[:, 0], index[:, 1], c)
        elif d <= 4:
            self._hub(index, c)
        else:
            size = np.abs(c)
            alpha = 0.5 * (2 * size + np.log1p(np.sqrt(-np.expm1(-4 * size))))
            t = self._auxiliary(m)
            self.constant -= float(0.5 * (_f(2 * alpha) + np.log(2)).sum())
            self.product(np.column_stack([index[:, : d // 2], t]), alpha)
            self.product(np.column_stack([index[:, d // 2 :], t]), np.sign(c) * alpha)

    def _hub(self, index: IntArray, c: FloatArray) -> None:
        m, d = index.shape
        u = solve(_third if d == 3 else _fourth, np.abs(c))
        a = self._auxiliary(m)
        # the hub gives −|c| Π s; for the other sign the first spin enters negated
        sign = np.ones((m, d))
        sign[c > 0, 0] = -1.0
        if d == 3:
            f3, f1, g1, g3 = (_f(u * (k + 1)) for k in (3, 1, -1, -3))
            base, field, pair = (
                (f3 + 3 * f1 + 3 * g1 + g3) / 8,
                (f3 + f1 - g1 - g3) / 8,
                (f3 - f1 - g1 + g3) / 8,
            )
            self._field(a, u)
        else:
            f4, f2, f0 = (_f(u * k) for k in (4, 2, 0))
            base, field, pair = (2 * f4 + 8 * f2 + 6 * f0) / 16, np.zeros(m), (2 * f4 - 2 * f0) / 16
        self.constant -= float(base.sum())
        for x in range(d):
            self._pair(a, index[:, x], u * sign[:, x])
            self._field(index[:, x], -field * sign[:, x])
            for y in range(x):
                self._pair(index[:, x], index[:, y], -pair * sign[:, x] * sign[:, y])

    # --- bits -----------------------------------------------------------------------------------------

    def bits(self, index: IntArray, sign: FloatArray, c: FloatArray) -> None:
        """Log-weights c_k Π (1 + sign s)/2 over the distinct spins index[k]; all [m, d] but `c` [m]. A sign −1 stands
        for the complement of a bit."""
        index, sign, c = index[c != 0], sign[c != 0], c[c != 0]
        m, d = index.shape
        if not m or d == 0:
            self.constant += float(c.sum())
        elif d <= 3:
            for code in range(2**d):
                at = [k for k in range(d) if code >> k & 1]
                self.product(index[:, at], c / 2**d * sign[:, at].prod(axis=1))
        elif d == 4:
            up = c > 0
            self.bits(index[up, :3], sign[up, :3], c[up])
            turned = sign.copy()
            turned[up, 3] *= -1
            self._bit_hub(index, turned, -np.abs(c))
        else:
            self._bit_cut(index, sign, c)

    def _bit_hub(self, index: IntArray, sign: FloatArray, c: FloatArray) -> None:
        u = solve(_four_bits, -c)
        a = self._auxiliary(c.size)
        f1, f3 = _f(u), _f(3 * u)
        # u a (2 Σ b − 3) = u a (Σ sign s + 1)
        self._field(a, u)
        self.constant -= float(f3.sum())
        for x in range(4):
            self._pair(a, index[:, x], u * sign[:, x])
            self.bits(index[:, [x]], sign[:, [x]], f3 - f1)
            for y in range(x):
                self.bits(index[:, [x, y]], sign[:, [x, y]], f1 - f3)

    def _bit_cut(self, index: IntArray, sign: FloatArray, c: FloatArray) -> None:
        m, d = index.shape
        half = d // 2
        # cosh a = 1 + 2(e^{|c|} − 1)
        a = np.arccosh(1 + 2 * np.expm1(np.abs(c)))
        up = c > 0
        t, one = self._auxiliary(m)[:, None], np.ones((m, 1))
        left, right = (index[:, :half], sign[:, :half]), (index[:, half:], sign[:, half:])
        rise, fall = np.logaddexp(0, a), np.logaddexp(0, -a)
        none = np.log(2)
        for (i, s), slope, take in (
            (left, a, np.where(up, none - fall, rise - none)),
            (right, np.where(up, a, -a), np.where(up, none - fall, fall - none)),
        ):
            self.bits(np.column_stack([i, t]), np.column_stack([s, one]), slope)
            self.bits(i, s, -take)
        self.bits(t, one, np.where(up, -a, 0.0))
        self.constant -= float(np.where(up, fall, none).sum())

    # --- what all is made of ----------------------------------------------------------------------------

    def _field(self, i: IntArray, value: FloatArray) -> None:
        self._fields.append((i, value))

    def _pair(self, i: IntArray, j: IntArray, value: FloatArray) -> None:
        self._pairs.append((np.minimum(i, j), np.maximum(i, j), value))

    def _auxiliary(self, m: int) -> IntArray:
        self.n += m
        return np.arange(self.n - m, self.n)


def _f(x: FloatArray) -> FloatArray:
    """log 2cosh x"""
    return np.asarray(np.logaddexp(x, -x))


def _third(u: FloatArray) -> FloatArray:
    """−D of three spins: the coefficient of s₁s₂s₃ in log 2cosh(u(k + 1))."""
    return -(_f(4 * u) - 3 * _f(2 * u) + 3 * _f(0 * u) - _f(2 * u)) / 8


def _fourth(u: FloatArray) -> FloatArray:
    """−D of four spins, from log 2cosh(uk)."""
    return -(2 * _f(4 * u) - 8 * _f(2 * u) + 6 * _f(0 * u)) / 16


def _four_bits(u: FloatArray) -> FloatArray:
    """−D of four bits."""
    return -(_f(5 * u) - 3 * _f(3 * u) + 2 * _f(u))


def solve(rise: Callable[[FloatArray], FloatArray], goal: FloatArray) -> FloatArray:
    """u > 0 with rise(u) = goal > 0, entry by entry, for a function that rises from 0 without bound: bisection to the
    last bit, over the distinct goals."""
    wanted, back = np.unique(goal, return_inverse=True)
    low, high = np.zeros(wanted.size), np.ones(wanted.size)
    while (short := rise(high) < wanted).any():
        low[short] = high[short]
        high[short] *= 2
    for _ in range(200):
        middle = 0.5 * (low + high)
        if ((middle == low) | (middle == high)).all():
            break
        below = rise(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high[back.reshape(-1)]
