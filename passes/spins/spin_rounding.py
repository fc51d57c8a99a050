"""Codes for the couplings and fields of spins (mapping §7): one free temperature, the largest couplings
clipped, and coordinate descent on KL(model ‖ rounded).

With Δ = log p − log q + const = Σ_e (θ_e − θ̂_e) f_e over the features f = s_i s_j and s_i, and everything
weighed by the model's own law p (all states, or draws of it),

    KL = ⟨Δ⟩_p + log ⟨e^{−Δ}⟩_p ,

and moving one parameter by δ changes it by −δ⟨f⟩_p + log(cosh δ + sinh δ ⟨f⟩_q) exactly, since f = ±1: one
pass over the moments of q prices every move.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.device import Bank


@dataclass(frozen=True, eq=False)
class Law:
    """The model's law as weighted states: `states` [N, n], `weight` [N]; `pairs` [m, 2] are the couplings'
    spins. `log_weight` [N] is needed where weights are too small to be told from 0."""

    states: FloatArray
    weight: FloatArray
    pairs: IntArray
    log_weight: FloatArray | None = None

    @cached_property
    def logs(self) -> FloatArray:
        """log weight [N], finite."""
        return np.log(np.maximum(self.weight, 1e-300)) if self.log_weight is None else self.log_weight

    def moments(self, weight: FloatArray) -> FloatArray:
        """⟨f⟩ [m + n] under other weights: pairs, then single spins."""
        second = (self.states * weight[:, None]).T @ self.states
        return np.concatenate([second[self.pairs[:, 0], self.pairs[:, 1]], weight @ self.states])

    def exponent(self, theta: FloatArray) -> FloatArray:
        """Σ_e θ_e f_e of every state [N]."""
        m, n = self.pairs.shape[0], self.states.shape[1]
        j = np.zeros((n, n))
        np.add.at(j, (self.pairs[:, 0], self.pairs[:, 1]), theta[:m])
        return np.asarray(np.einsum("ki,ki->k", self.states @ j, self.states) + self.states @ theta[m:])


@dataclass(frozen=True, eq=False)
class Rounded:
    """Codes [m] and [n], the scale (1/temperature: realised θ̂ = value · beta), and KL in nats."""

    coupling: IntArray | FloatArray
    bias: IntArray | FloatArray
    beta: float
    kl: float


class Search:
    """Rounding of θ = (couplings, fields) to the codes of two banks."""

    def __init__(
        self, law: Law, theta: FloatArray, coupling: Bank, bias: Bank, keep_ground: bool = False
    ) -> None:
        self.law, self.theta, self.m = law, theta, law.pairs.shape[0]
        self.banks = (coupling, bias)
        self.mean = law.moments(law.weight)
        self.own = law.exponent(theta)
        self.keep_ground = keep_ground
        self.grounds = np.flatnonzero(self.own >= self.own.max() - 1e-9)

    def values(self, codes: FloatArray) -> FloatArray:
        """What codes stand for, before the temperature."""
        c, b = codes[: self.m], codes[self.m :]
        decoded = [
            bank.decode(x if bank.continuous else x.astype(np.int64)) for bank, x in zip(self.banks, (c, b))
        ]
        return np.concatenate(decoded)

    def nearest(self, wanted: FloatArray) -> FloatArray:
        """The codes whose values are nearest to `wanted` [m + n]."""
        parts = wanted[: self.m], wanted[self.m :]
        return np.concatenate([nearest(bank, part) for bank, part in zip(self.banks, parts)])

    def kl(self, exponent: FloatArray) -> float:
        delta = self.own - exponent
        log = self.law.logs - delta
        top = log.max()
        return float(self.law.weight @ delta + top + np.log(np.exp(log - top).sum()))

    def temperature(self, exponent: FloatArray, beta: float) -> tuple[float, float]:
        """The β that makes β·exponent the nearest law, by Newton's method (KL is convex in β), and its KL."""
        w = self.law.weight
        for _ in range(50):
            log = self.law.logs + beta * exponent - self.own
            q = np.exp(log - log.max())
            q /= q.sum()
            slope = q @ exponent - w @ exponent
            curve = q @ exponent**2 - (q @ exponent) ** 2
            if curve <= 1e-300:
                break
            step = np.clip(-slope / curve, -0.5 * beta, beta)
            beta += step
            if abs(step) < 1e-10 * beta:
                break
        return float(beta), self.kl(beta * exponent)

    def keeps(self, exponent: FloatArray) -> bool:
        """Whether every most likely state of the rounded model is one of the model's."""
        if not self.keep_ground:
            return True
        top = np.flatnonzero(exponent >= exponent.max() - 1e-9 * max(1.0, abs(exponent.max())))
        return bool(np.isin(top, self.grounds).all())

    def descend(self, codes: FloatArray, beta: float, most: int = 400) -> Rounded:
        """Coordinate descent in codes, the temperature refitted after each accepted move."""
        codes = codes.copy()
        exponent = self.law.exponent(self.values(codes))
        beta, kl = self.temperature(exponent, beta)
        legal = self.keeps(exponent)
        moves = np.array([-1.0, 1.0])
        for _ in range(most):
            log = self.law.logs + beta * exponent - self.own
            q = np.exp(log - log.max())
            f = self.law.moments(q / q.sum())
            after = codes[:, None] + moves
            fits = allowed(self.banks, self.m, after)
            value = np.stack([self.values(np.where(fits[:, k], after[:, k], codes)) for k in (0, 1)], axis=1)
            delta = beta * (value - self.values(codes)[:, None])
            change = -delta * self.mean[:, None] + _log_tilt(delta, f[:, None])
            change = np.where(fits & (delta != 0), change, np.inf)
            for best in np.argsort(change, axis=None)[: 24 if self.keep_ground else 3]:
                e, k = np.unravel_index(int(best), change.shape)
                if not change[e, k] < (np.inf if not legal else -1e-13):
                    continue
                trial = codes.copy()
                trial[e] = after[e, k]
                new = self.law.exponent(self.values(trial))
                keeps = self.keeps(new)
                b, d = self.temperature(new, beta)
                if (keeps and (d < kl - 1e-13 or not legal)) or (not legal and d < kl - 1e-13):
                    codes, exponent, beta, kl, legal = trial, new, b, d, keeps
                    break
            else:
                break
        return Rounded(codes[: self.m], codes[self.m :], beta, kl if legal else np.inf)

    def scan(self, starts: int = 24) -> Rounded:
        """Clip scales from the largest coupling at the end of the range down to where a good part is clipped,
        each rounded, its temperature fitted, the best few improved by descent."""
        tops = [bank.max if np.isfinite(bank.max) else np.inf for bank in self.banks]
        sizes = [np.abs(self.theta[: self.m]).max(initial=0.0), np.abs(self.theta[self.m :]).max(initial=0.0)]
        ratio = min((t / s for t, s in zip(tops, sizes) if s > 0), default=1.0)
        if not np.isfinite(ratio):
            ratio = 1.0
        tried = []
        for factor in np.geomspace(0.6, 4.0, starts):
            scale = ratio * factor
            codes = self.nearest(self.theta * scale)
            exponent = self.law.exponent(self.values(codes))
            if exponent.std() == 0:
                continue
            beta, kl = self.temperature(exponent, 1 / scale)
            tried.append((kl, factor, codes, beta))
        if not tried:
            return Rounded(
                np.zeros(self.m), np.zeros(self.theta.size - self.m), 1.0, self.kl(np.zeros(self.own.size))
            )
        tried.sort(key=lambda t: (t[0], t[1]))
        found = [self.descend(codes, beta) for _, _, codes, beta in tried[:6]]
        return min(found, key=lambda r: r.kl)


def _log_tilt(delta: FloatArray, mean: FloatArray) -> FloatArray:
    """log⟨e^{δf}⟩ = log(cosh δ + sinh δ ⟨f⟩) for f = ±1 of that mean, without overflow."""
    up, down = np.log(np.maximum((1 + mean) / 2, 1e-300)), np.log(np.maximum((1 - mean) / 2, 1e-300))
    return np.asarray(np.logaddexp(delta + up, down - delta))


def allowed(banks: tuple[Bank, Bank], m: int, codes: FloatArray) -> BoolArray:
    """Which codes [m + n, …] the banks of the first m and of the others have; those of a continuous bank do not move."""
    ok = np.ones(codes.shape, dtype=bool)
    for bank, part in zip(banks, (slice(0, m), slice(m, None))):
        top = -1 if bank.continuous else bank.codes - 1
        low = -top if bank.signed else 0
        ok[part] = (codes[part] >= low) & (codes[part] <= top)
    return ok


def nearest(bank: Bank, wanted: FloatArray) -> FloatArray:
    """The codes of a bank nearest to wanted values; the values themselves, clipped, on a continuous one."""
    size = np.abs(wanted)
    if bank.continuous:
        clipped = np.minimum(size, bank.max)
        return np.where(wanted < 0, -clipped if bank.signed else 0.0, clipped)
    table = bank.table()
    at = np.clip(np.searchsorted(table, size), 1, max(table.size - 1, 1))
    low = np.where(size - table[at - 1] <= table[np.minimum(at, table.size - 1)] - size, at - 1, at)
    return np.where(wanted < 0, -low if bank.signed else 0, low).astype(np.float64)
