"""States of least energy where products of any number of spins and bits count: the energy as a list of terms

    E(x) = constant + Σ_t c_t Π_k x[index_tk],

annealed as it stands, without auxiliary spins; bounds of it term by term; its tables for exact elimination.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.energy import Energy
from spucc.fidelity.spin_law import Factor
from spucc.stages import edge_list
from spucc.targets.machine_code import Native

_anneal = Native("spucc.targets.spins.product_flips", "anneal")

# Products computed in one search, about a second' worth.
_WORK = 4e8


@dataclass(frozen=True, eq=False)
class Products:
    """The terms of an energy in one list: `index` runs through the factors of all of them (a factor that occurs twice stands
    twice), those of term t from `ends[t]` to `ends[t + 1]`; entry i takes the values `low[i]` and `high[i]`."""

    index: IntArray
    ends: IntArray
    coefficient: FloatArray
    low: FloatArray
    high: FloatArray

    @staticmethod
    def of(energy: Energy) -> Products:
        """All terms of degree 1 and more. Every entry must be a spin or a bit."""
        q = energy.quadratic.tocsr()
        pairs, values = edge_list(q)
        own, fields = np.flatnonzero(q.diagonal()), np.flatnonzero(energy.linear)
        groups = [
            (fields[:, None], energy.linear[fields]),
            (np.stack([own, own], axis=1), 0.5 * q.diagonal()[own]),
            (pairs, values),
            *((t.index, t.coefficient) for t in energy.higher),
        ]
        degree = np.concatenate([np.full(i.shape[0], i.shape[1]) for i, _ in groups])
        low = np.zeros(energy.n)
        low[energy.domains[1]] = -1.0
        return Products(
            np.concatenate([np.ravel(i) for i, _ in groups]).astype(np.int64),
            np.concatenate([[0], np.cumsum(degree)]).astype(np.int64),
            np.concatenate([np.asarray(c, dtype=np.float64) for _, c in groups]),
            low,
            np.ones(energy.n),
        )

    @cached_property
    def powers(self) -> sparse.csr_array:
        """How often an entry is a factor of a term [terms, n]."""
        count, n = self.coefficient.size, self.low.size
        return (
            sparse.csr_array((np.ones(self.index.size), self.index, self.ends), shape=(count, n))
            .tocoo()
            .tocsr()
        )

    def least(self, terms: slice = slice(None)) -> float:
        """A number that the sum of these terms never goes below: every term at its own least."""
        p = self.powers[terms]
        spin = self.low[p.indices] < 0
        rows = np.repeat(np.arange(p.shape[0]), np.diff(p.indptr))
        odd = np.bincount(rows, spin & (p.data % 2 == 1), p.shape[0]) > 0
        bit = np.bincount(rows, ~spin, p.shape[0]) > 0
        c = self.coefficient[terms]
        # a product of bits is 0 or 1, with an odd spin of either sign; of even spins alone always 1
        return float(np.minimum(c, np.where(odd, -c, np.where(bit, 0.0, c))).sum())

    def factors(self, temperature: float) -> list[Factor]:
        """−c Π x / T of each term over the states of its entries, for `spucc.fidelity.spin_law.eliminate`."""
        p, found = self.powers, []
        for t, c in enumerate(self.coefficient.tolist()):
            names = p.indices[p.indptr[t] : p.indptr[t + 1]].tolist()
            table = np.array(-c / temperature)
            for i, power in zip(names, p.data[p.indptr[t] : p.indptr[t + 1]].tolist()):
                table = np.multiply.outer(table, np.array([self.low[i], self.high[i]]) ** power)
            found.append((tuple(names), table))
        return found

    def search(self, seed: int, *, chains: int | None = None, sweeps: int = 2000) -> FloatArray:
        """The best state [n] that annealed chains meet: flips by Metropolis's rule, geometrically from where the entry with
        the largest terms turns half the time to where the least step of one is taken once in a hundred tries, then down."""
        n, work = self.low.size, self.powers
        of = work.T.tocsr()
        of.sort_indices()
        size, width = np.abs(self.coefficient), self.high - self.low
        reach = width * np.asarray(abs(of) @ size)
        steps = size[size > 0]
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((abs(seed), int(seed < 0), 0x9D5))))
        if not steps.size:
            return np.asarray(self.high.copy())
        hot = np.log(2) / reach.max()
        betas = np.geomspace(hot, max(np.log(100) / np.quantile(steps, 0.05), 10 * hot), sweeps)
        if chains is None:
            one = sweeps * float(np.diff(self.ends) @ np.diff(work.indptr))
            chains = int(np.clip(_WORK / max(one, 1.0), 4, 16))
        arrays = of.indptr.astype(np.int64), of.indices.astype(np.int64), self.ends, self.index
        found, least = self.high, np.inf
        for _ in range(chains):
            x = np.where(rng.random(n) < 0.5, self.low, self.high)
            best, energy = x.copy(), np.zeros(1)
            start = int(rng.integers(1, 2**62))
            _anneal(*arrays, self.coefficient, self.low, self.high, betas, x, best, energy, start)
            if energy[0] < least:
                found, least = best, float(energy[0])
        return np.asarray(found)
