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
from spucc.targets.kernels import kernel, lane_seeds
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


@kernel
def _bernoulli(p, state, undecided, out):  # type: ignore[no-untyped-def]
    """out = bits that are 1 with probability p/2³², where `undecided` is set, else 0; `undecided` is used
    up."""
    words = out.size
    for w in range(words):
        out[w] = np.uint64(0)
    for digit in range(31, -1, -1):
        one = np.uint64(0) - ((p >> np.uint64(digit)) & np.uint64(1))
        open_ = np.uint64(0)
        for w in range(words):
            a, b, c, d = state[0, w], state[1, w], state[2, w], state[3, w]
            t = a + d
            r = ((t << np.uint64(23)) | (t >> np.uint64(41))) + a
            t = b << np.uint64(17)
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= t
            d = (d << np.uint64(45)) | (d >> np.uint64(19))
            state[0, w], state[1, w], state[2, w], state[3, w] = a, b, c, d
            # u < p is settled where the digits differ: yes where p has the one
            out[w] |= undecided[w] & one & ~r
            undecided[w] &= ~(one ^ r)
            open_ |= undecided[w]
        if open_ == 0:
            break


@kernel
def _at_least(count, width, need, out):  # type: ignore[no-untyped-def]
    """out = bits where the number whose binary digits are the planes count[:width] is at least `need` <
    2^width."""
    for w in range(out.size):
        equal, greater = ~np.uint64(0), np.uint64(0)
        for k in range(width - 1, -1, -1):
            if (need >> k) & 1:
                equal &= count[k, w]
            else:
                greater |= equal & count[k, w]
                equal &= ~count[k, w]
        out[w] = greater | equal


@kernel
def _add(count, first, width, term):  # type: ignore[no-untyped-def]
    """Add the plane `term`, of weight 2^first, to the number in planes count[:width]; `term` is used up."""
    for k in range(first, width):
        for w in range(term.size):
            old = count[k, w]
            count[k, w] = old ^ term[w]
            term[w] &= old


@kernel
def metropolis_words(order, indptr, indices, negative, odds, s, state, sweeps):  # type: ignore[no-untyped-def]
    """`sweeps` Metropolis sweeps; s [n, words] holds spin +1 as a set bit, `negative` [nnz] is all ones where
    J < 0.

    `odds` [sweeps, k] comes from `digit_odds`, one row for each sweep: annealing changes β from row to row.
    """
    words = s.shape[1]
    digits = odds.shape[1] - 2
    count = np.empty((digits + 9, words), np.uint64)
    term, free, bits, take = (
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
    )
    for sweep in range(sweeps):
        for at in range(order.size):
            i = order[at]
            start, degree = indptr[i], indptr[i + 1] - indptr[i]
            half = degree // 2
            # u + G < 2^width: u ≤ degree, G < 2^digits
            width = 1
            while (1 << width) < degree + (1 << digits):
                width += 1
            count[:width] = np.uint64(0)
            here = s[i]
            for e in range(degree):
                there, sign = s[indices[start + e]], negative[start + e]
                for w in range(words):
                    term[w] = here[w] ^ there[w] ^ sign
                top = 1
                while (1 << top) <= e + 1:
                    top += 1
                _add(count, 0, top, term)
            # u ≥ d/2 costs nothing; the others hang on G, and half a step more if the degree is odd
            _at_least(count, width, degree - half, take)
            for w in range(words):
                free[w] = ~take[w]
            if degree & 1:
                _bernoulli(odds[sweep, digits + 1], state, free, bits)
                for w in range(words):
                    free[w] = bits[w]
            for w in range(words):
                term[w] = free[w]
            _bernoulli(odds[sweep, digits], state, term, bits)
            for w in range(words):
                take[w] |= bits[w]
                free[w] &= ~bits[w]
            for k in range(digits):
                for w in range(words):
                    term[w] = free[w]
                _bernoulli(odds[sweep, k], state, term, bits)
                _add(count, k, width, bits)
            _at_least(count, width, half, bits)
            for w in range(words):
                here[w] ^= take[w] | (free[w] & bits[w])


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
