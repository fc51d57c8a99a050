"""Random words of lanes, numbered: what a run starts from, without the kernels and numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIX = np.uint64(0x9E3779B97F4A7C15)


def lane_seeds(seed: tuple[int, ...], first: int, lanes: int, words: int) -> NDArray[np.uint64]:
    """Random 64-bit words [words, lanes] for lanes `first … first + lanes − 1`: SplitMix64 (Steele, Lea and
    Flood 2014) of a key made from `seed`, a counter for each lane and word."""
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    counter = np.arange(first, first + lanes, dtype=np.uint64)[None, :] * np.uint64(words)
    counter = counter + np.arange(words, dtype=np.uint64)[:, None]
    z = key + (counter + np.uint64(1)) * _MIX
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def lane_state(seed: tuple[int, ...], first: int, lanes: int) -> NDArray[np.uint32]:
    """States [4, lanes] of xoshiro128+ (Blackman and Vigna 2021), one for each lane."""
    words = lane_seeds(seed, first, lanes, 2)
    low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    return np.ascontiguousarray(np.concatenate([low, high]).astype(np.uint32))
