"""Multi-spin coding for couplings of one magnitude: 64 chains in a word, each with random bits of its own.

For J_ij = ±J and no field the flip of a spin with d neighbours, u of them unsatisfied, costs ΔE/T = 2βJ (d −
2u), that is h steps of 4βJ with h = d/2 − u (plus half a step when d is odd). Metropolis' rule takes it with
probability min(1, q^h), q = e^(−4βJ): exactly the probability that a geometric variable G, P(G ≥ m) = q^m, is
at least h. The binary digits of G are independent, P(digit k = 1) = q^(2^k) / (1 + q^(2^k)), so G is made a
bit plane at a time, and the rule becomes "u + G ≥ d/2", an addition of planes whose carry is looked at. A
plane of Bernoulli(p) bits is made by comparing bits of a uniform number with those of p from the top until
every chain is decided: 6–9 random words, not 32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.targets.lanes import lane_seeds
from spucc.targets.machine_code import Native
from spucc.targets.spins.model import SpinModel

_BITS = 32
"""Binary digits of a probability."""


def word_state(seed: tuple[int, ...], first: int, words: int) -> NDArray[np.uint64]:
    """States [4, words] of xoshiro256++ (Blackman and Vigna 2021) for words `first …` of 64 chains each."""
    return np.ascontiguousarray(lane_seeds(seed, first, words, 4))


def planes(degree: int) -> int:
    """How many digits of G are made: enough that G ≥ 2^planes settles every case."""
    return max(1, int(np.ceil(np.log2(max(degree // 2, 2)))))


def digit_odds(beta_j: float, degree: int) -> NDArray[np.uint64]:
    """Probabilities, as 32-bit integers, of the digits of G, of its overflow, and of the half step of an odd
    degree."""
    count = planes(degree)
    q = np.exp(-4.0 * beta_j * 2.0 ** np.arange(count))
    p = np.concatenate([q / (1 + q), [np.exp(-4.0 * beta_j * 2.0**count), np.exp(-2.0 * beta_j)]])
    return np.minimum(np.rint(p * 2.0**_BITS), 2.0**_BITS - 1).astype(np.uint64)


_sweep_words = Native("spucc.targets.spins.words", "sweep_words")


def metropolis_words(
    order: NDArray[np.int32],
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    negative: NDArray[np.uint64],
    odds: NDArray[np.uint64],
    s: NDArray[np.uint64],
    state: NDArray[np.uint64],
    sweeps: int,
) -> None:
    """`sweeps` Metropolis sweeps; s [n, words] holds spin +1 as a set bit, `negative` [nnz] is all ones where
    J < 0.

    `odds` [sweeps, k] comes from `digit_odds`, one row for each sweep: annealing changes β from row to row.
    """
    count = np.empty((odds.shape[1] + 7, s.shape[1]), np.uint64)
    scratch = np.empty((4, s.shape[1]), np.uint64)
    _sweep_words(order, indptr, indices, negative, odds, s, state, count, scratch, sweeps)


def anneal_words(
    model: SpinModel, beta_j: FloatArray, chains: int, seed: tuple[int, ...]
) -> NDArray[np.int8]:
    """States [chains, n] after one sweep at each β|J| of `beta_j`, from random starts; `model.magnitude` must
    be set."""
    words = -(-chains // 64)
    j = model.couplings
    degree = np.diff(j.indptr)
    odds = np.stack([digit_odds(b, int(degree.max())) for b in beta_j])
    negative = np.where(j.data < 0, ~np.uint64(0), np.uint64(0))
    s = lane_seeds((*seed, 5), 0, words, model.n)
    indptr, indices, _, _ = model.arrays
    metropolis_words(
        model.order, indptr, indices, negative, odds, s, word_state((*seed, 6), 0, words), beta_j.size
    )
    return unpack_words(s)[:chains]


def unpack_words(s: NDArray[np.uint64]) -> NDArray[np.int8]:
    """Words [n, words] → spins [64·words, n], ±1."""
    n = s.shape[0]
    bits = np.unpackbits(s.astype("<u8").view(np.uint8).reshape(n, -1), axis=1, bitorder="little")
    return np.ascontiguousarray(bits.T).astype(np.int8) * 2 - 1
