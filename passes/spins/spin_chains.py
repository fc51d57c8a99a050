"""Chains of spins at finite strength, tuned so that the law *read out* is the model's.

A chain whose cells are tied by κ breaks now and then, and even whole it passes couplings on weakened. Both
are undone at the logical inputs: fields and couplings θ of the embedded model are moved by θ ← θ + F⁻¹(m −
m̂(θ)), m the model's moments ⟨s⟩, ⟨ss⟩, m̂ those of the read-out, F the Fisher matrix of the model (its
covariances of s and ss): Newton's iteration for equal moments, which is forward KL's optimum among laws of
the model's form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.fidelity import spin_law
from spucc.fidelity.spin_sampling import SWEEPS, chains_for, gibbs

_TABLE = 2**18


@dataclass(frozen=True, eq=False)
class Chained:
    """Cells on a board: `chain` [cells] numbers each cell's spin, `edges` [m, 2] join cells. `logical` [m]
    numbers the pair of spins that an edge serves (−1: inside a chain), `share` [m] its part of that pair's
    coupling."""

    chain: IntArray
    edges: IntArray
    logical: IntArray
    share: FloatArray
    pairs: IntArray
    reader: IntArray
    """[spins]: the cell that each spin is read from, in the middle of its chain."""
    load: FloatArray
    """[cells]: how strongly the spin of each cell is coupled; chains are tied in proportion."""

    @property
    def spins(self) -> int:
        return int(self.chain.max()) + 1

    @cached_property
    def exact(self) -> bool:
        """Whether the read-out's law can be had by summing cells out one at a time."""
        if self.spins > 14:
            return False
        return self.law(np.zeros(self.edges.shape[0]), np.zeros(self.chain.size)) is not None

    def law(self, coupling: FloatArray, bias: FloatArray) -> FloatArray | None:
        """The law [2^spins] of the spins read, or None where the board's graph is too wide."""
        return spin_law.marginal(
            spin_law.factors_of(self.edges, coupling, bias), tuple(self.reader.tolist()), _TABLE
        )


@dataclass(frozen=True, eq=False)
class Tuned:
    """Couplings [m] and fields [cells] of the board's cells, the chain strength in units of the spins' loads,
    and the largest error that is left in a mean or a pair's ⟨ss⟩ (`noise` is the sampling error of that
    figure: 0 where it is exact)."""

    coupling: FloatArray
    bias: FloatArray
    strength: float
    error: float
    noise: float


def chained(chain: IntArray, edges: IntArray, coupling: FloatArray, bias: FloatArray) -> Chained:
    """The structure of an embedding; couplings of a pair are shared evenly over its couplers. `coupling` [m],
    `bias` [cells] are the values that it starts from."""
    a, b = np.sort(chain[edges], axis=1).T
    inner = a == b
    key = a * (int(chain.max()) + 1) + b
    which, position, count = np.unique(key[~inner], return_inverse=True, return_counts=True)
    logical = np.full(edges.shape[0], -1, dtype=np.int64)
    logical[~inner] = position
    share = np.zeros(edges.shape[0])
    share[~inner] = 1.0 / count[position]
    pairs = np.stack(np.divmod(which, int(chain.max()) + 1), axis=1)
    links = np.bincount(edges[inner].ravel(), minlength=chain.size)
    order = np.lexsort((np.arange(chain.size), -links, chain))
    reader = order[np.unique(chain[order], return_index=True)[1]]
    outer = np.where(inner, 0.0, np.abs(coupling))
    size = np.bincount(chain, np.abs(bias))
    for end in (0, 1):
        size = size + np.bincount(chain[edges[:, end]], outer, size.size)
    load = np.maximum(size, 0.25 * size.max(initial=0.0) + 1e-3)
    return Chained(chain, edges, logical, share, pairs, reader, load[chain])


def moments_of(
    j: FloatArray, h: FloatArray, pairs: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """(moments [n + pairs], Fisher matrix, noise) of the logical model: exactly, or from draws."""
    n = h.size
    if n <= spin_law.EXACT_LIMIT and n + pairs.shape[0] <= 120:
        p, _ = spin_law.law(j, h)
        s = spin_law.all_spins(n)
    else:
        i, k = np.nonzero(np.triu(j))
        s = draws_of(np.stack([i, k], axis=1), j[i, k], h, rng)
        p = np.full(s.shape[0], 1.0 / s.shape[0])
    f = np.concatenate([s, s[:, pairs[:, 0]] * s[:, pairs[:, 1]]], axis=1)
    m = p @ f
    fisher = (f * p[:, None]).T @ f - np.outer(m, m)
    return m, fisher, 0.0 if n <= spin_law.EXACT_LIMIT else 1.0 / np.sqrt(s.shape[0] / 4)


def draws_of(edges: IntArray, coupling: FloatArray, bias: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws [draws, n]: 16 000 independent ones where the graph is narrow, else by Gibbs sweeps, as many as a second or
    so gives."""
    n = bias.size
    exact = spin_law.Sampler.of(edges, coupling, bias, _TABLE)
    if exact is not None:
        return exact.draws(rng.random((16_000, n)))
    both = (np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]]))
    j = sparse.csr_array(sparse.coo_array((np.tile(coupling, 2), both), shape=(n, n)))
    return gibbs(j, bias, chains_for(n, SWEEPS, 6e7), rng).reshape(-1, n).astype(np.float64)


def read_out(
    c: Chained, coupling: FloatArray, bias: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, float]:
    """Moments [n + pairs] of the spins read from the cells, and their sampling error."""
    p = c.law(coupling, bias) if c.exact else None
    if p is not None:
        s, weight, noise = spin_law.all_spins(c.spins), p, 0.0
    else:
        s = draws_of(c.edges, coupling, bias, rng)[:, c.reader]
        weight, noise = np.full(s.shape[0], 1.0 / s.shape[0]), 1.0 / np.sqrt(s.shape[0] / 4)
    f = np.concatenate([s, s[:, c.pairs[:, 0]] * s[:, c.pairs[:, 1]]], axis=1)
    return weight @ f, noise


def tune(
    c: Chained,
    j: FloatArray,
    h: FloatArray,
    strength: float,
    rng: np.random.Generator,
    rounds: int | None = None,
) -> Tuned:
    """The embedded model with chains tied by `strength` times their load, its inputs moved until the
    read-out's moments are the model's.

    `j` [n, n], `h` [n] are logical. Stops at 1e-9, at the sampling error, or when a round no longer gains.
    """
    target, fisher, noise_target = moments_of(j, h, c.pairs, rng)
    n = h.size
    theta = np.concatenate([h, j[c.pairs[:, 0], c.pairs[:, 1]]])
    floor = 0.0 if c.exact else 1e-2
    ridge = (1e-9 if c.exact else 3e-3) * np.eye(theta.size)
    size = np.bincount(c.chain)
    best: Tuned | None = None
    damping = 1.0
    wanted = theta
    for _ in range(rounds if rounds is not None else (40 if c.exact else 4)):
        coupling, bias = _spread(c, wanted, strength, n, size)
        got, noise = read_out(c, coupling, bias, rng)
        noise = float(np.hypot(noise, noise_target))
        error = float(np.abs(got - target).max())
        if best is None or error < best.error:
            best, kept, gap = Tuned(coupling, bias, strength, error, noise), wanted, target - got
            damping = min(1.0, 2 * damping)
        else:
            damping *= 0.5
            if damping < 0.05:
                break
        if best.error < max(1e-9, floor / 10):
            break
        wanted = kept + damping * np.linalg.solve(fisher + ridge, gap)
        limit = 2.0 * np.abs(theta).max() + 1.0
        wanted = np.clip(wanted, -limit, limit)
    assert best is not None
    return best


def _spread(
    c: Chained, theta: FloatArray, strength: float, n: int, size: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Logical inputs on the board: couplings over their couplers, fields over their cells, ties inside
    chains."""
    tie = strength * c.load[c.edges[:, 0]]
    coupling = np.where(c.logical >= 0, theta[n:][np.maximum(c.logical, 0)] * c.share, tie)
    return coupling, (theta[:n] / size)[c.chain]
