"""Multi-spin coding, compiled: planes of bits, one for each chain of a word (`spucc.targets.spins.multispin` has the
method)."""

from __future__ import annotations

import numpy as np

from spucc.targets.kernels import kernel


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
def sweep_words(order, indptr, indices, negative, odds, s, state, count, scratch, sweeps):  # type: ignore[no-untyped-def]
    """`spucc.targets.spins.multispin.metropolis_words`; `count` [digits + 9, words] and `scratch` [4, words] are free to
    write to."""
    words = s.shape[1]
    digits = odds.shape[1] - 2
    term, free, bits, take = scratch[0], scratch[1], scratch[2], scratch[3]
    for sweep in range(sweeps):
        for at in range(order.size):
            i = order[at]
            start, degree = indptr[i], indptr[i + 1] - indptr[i]
            half = degree // 2
            # u + G < 2^width: u ≤ degree, G < 2^digits
            width = 1
            while (1 << width) < degree + (1 << digits):
                width += 1
            for k in range(width):
                for w in range(words):
                    count[k, w] = np.uint64(0)
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
