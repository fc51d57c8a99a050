"""Codes for spin systems beyond enumeration: the same search as `spin_rounding`, on moments of draws.

With Δ = Σ_e (θ_e − θ̂_e) f_e the divergence of the rounded law is, to second order and by moments of the model alone,

    KL = ½ Var_p(Δ) = ½ (θ − θ̂)ᵀ G (θ − θ̂),   G = Cov_p(f).

The temperature is then a regression, and the clip scale that of the least variance. Codes are improved one by one with the
entries of G between features that share a spin: those farther apart are small and hard to tell from noise. Half of the
draws choose, the other half judge.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.device import Bank
from spucc.passes.spins.spin_rounding import Rounded, allowed, nearest

_PRODUCTS = 1e9
"""Products of two features that the estimate of G may take."""


class WideSearch:
    """Rounding of θ = (couplings [m], fields [n]) of the pairs [m, 2]; `states` [N, n] are draws of the law of θ."""

    def __init__(
        self, states: FloatArray, pairs: IntArray, theta: FloatArray, coupling: Bank, bias: Bank
    ) -> None:
        self.m, self.pairs, self.theta, self.banks = pairs.shape[0], pairs, theta, (coupling, bias)
        # alternate draws: those that follow one another stand side by side
        self._halves = states[::2], states[1::2]
        self._own = [self._exponent(s, theta) for s in self._halves]

    def search(self, starts: int = 24, descents: int = 6) -> Rounded:
        """`starts` clip scales, the best `descents` of them improved by moves of single codes."""
        tops = [(np.abs(x).max(initial=0.0), b.max) for x, b in zip(self._split(self.theta), self.banks)]
        ratio = min((top / size for size, top in tops if size > 0), default=1.0)
        ratio = ratio if np.isfinite(ratio) else 1.0
        tried = []
        for factor in np.geomspace(0.6, 4.0, starts):
            codes = self._nearest(self.theta * ratio * factor)
            tried.append((self._fitted(codes, 0)[1], factor, codes))
        tried.sort(key=lambda t: t[:2])
        g = self._fisher()
        best = [tried[0][2]] if g is None else [self._improved(codes, g) for _, _, codes in tried[:descents]]
        return min((self.judge(codes) for codes in best), key=lambda r: r.kl)

    def judge(self, codes: FloatArray) -> Rounded:
        """Codes with their temperature and divergence."""
        return Rounded(codes[: self.m], codes[self.m :], *self._fitted(codes, 1))

    def _split(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return x[: self.m], x[self.m :]

    def _values(self, codes: FloatArray) -> FloatArray:
        parts = zip(self.banks, self._split(codes))
        return np.concatenate([b.decode(x if b.continuous else x.astype(np.int64)) for b, x in parts])

    def _nearest(self, wanted: FloatArray) -> FloatArray:
        return np.concatenate([nearest(b, x) for b, x in zip(self.banks, self._split(wanted))])

    def _exponent(self, states: FloatArray, theta: FloatArray) -> FloatArray:
        i, k = self.pairs.T
        n = states.shape[1]
        j = sparse.csr_array(sparse.coo_array((theta[: self.m], (i, k)), shape=(n, n)))
        return np.asarray(np.einsum("ki,ki->k", states @ j, states) + states @ theta[self.m :])

    def _fitted(self, codes: FloatArray, half: int) -> tuple[float, float]:
        """(β, ½ Var(own − β·exponent)) with the β of the least."""
        x, own = self._exponent(self._halves[half], self._values(codes)), self._own[half]
        spread = float(x.var())
        if spread == 0:
            return 1.0, 0.5 * float(own.var())
        beta = float(np.mean((own - own.mean()) * (x - x.mean()))) / spread
        # a negative temperature is none: it would only be the best of a bad lot
        beta = beta if beta > 0 else float(np.sqrt(own.var() / spread)) or 1.0
        return beta, 0.5 * float((own - beta * x).var())

    def _improved(self, codes: FloatArray, g: sparse.csr_array, rounds: int = 60) -> FloatArray:
        diagonal = g.diagonal()
        best, least = codes, np.inf
        for _ in range(rounds):
            beta, loss = self._fitted(codes, 0)
            if loss < least:
                best, least = codes, loss
            here = self._values(codes)
            slope = g @ (self.theta - beta * here)
            gain, to = np.zeros(codes.size), codes.copy()
            for step in (-1.0, 1.0):
                after = np.where(ok := allowed(self.banks, self.m, codes + step), codes + step, codes)
                delta = beta * (self._values(after) - here)
                found = np.where(ok, delta * slope - 0.5 * delta**2 * diagonal, 0.0)
                to, gain = np.where(found > gain, after, to), np.maximum(found, gain)
            # of moves that share a spin only the best one: the others' gains would no longer be what they were
            moved = (gain > 1e-12) & (gain >= _largest_beside(g, gain))
            if not moved.any():
                break
            codes = np.where(moved, to, codes)
        return best

    def _fisher(self) -> sparse.csr_array | None:
        """Covariances of features that share a spin; None where there are too many of them."""
        n = self._halves[0].shape[1]
        i, k = self.pairs.T
        feature = np.concatenate([np.arange(self.m), np.arange(self.m), self.m + np.arange(n)])
        spin = np.concatenate([i, k, np.arange(n)])
        touch = sparse.csr_array((np.ones(spin.size), (feature, spin)), shape=(self.m + n, n))
        degree = np.bincount(spin, minlength=n).astype(np.float64)
        draws = min(self._halves[0].shape[0], int(_PRODUCTS / max(float((degree**2).sum()), 1.0)))
        if draws < 100:
            return None
        s = self._halves[0][:draws].T.astype(np.float32)
        f = np.concatenate([s[i] * s[k], s])
        f -= f.mean(axis=1)[:, None]
        share = sparse.coo_array(touch @ touch.T)
        a, b = share.coords
        value, step = np.empty(a.size), max(1, (1 << 25) // draws)
        for at in range(0, a.size, step):
            part = slice(at, at + step)
            value[part] = np.einsum("ek,ek->e", f[a[part]], f[b[part]]) / draws
        return sparse.csr_array(sparse.coo_array((value, (a, b)), shape=share.shape))


def _largest_beside(g: sparse.csr_array, gain: FloatArray) -> FloatArray:
    """For each feature the largest gain of those in its row, itself included."""
    there = gain[g.indices]
    return np.asarray(np.maximum.reduceat(there, g.indptr[:-1])) if there.size else gain
