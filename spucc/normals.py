"""Standard normal numbers of one stream, in order: the same numbers however many are asked for at a time.

Double precision is numpy's ziggurat. Single precision is the transform of Box and Muller (1958) in numpy's
vectorised functions, three times as quick: 32 bits for the radius, so that |z| < 6.8, and 32 for the angle.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Pairs that are made at a time: what the nearest caches hold.
_PIECE = 2**12
_TURN = np.float32(2.0 * np.pi / 2.0**32)
_UNIT = np.float32(2.0**-32)


class Source(Protocol):
    def fill(self, out: NDArray[Any]) -> None:
        """Overwrite a contiguous array with the next numbers."""
        ...


class Doubles:
    """float64."""

    def __init__(self, bits: np.random.BitGenerator) -> None:
        self._rng = np.random.Generator(bits)

    def fill(self, out: NDArray[Any]) -> None:
        self._rng.standard_normal(out=out)


class Singles:
    """float32."""

    def __init__(self, bits: np.random.BitGenerator) -> None:
        self._bits = bits
        # The second number of a pair whose first one was the last to be asked for.
        self._left = np.empty(0, dtype=np.float32)

    def fill(self, out: NDArray[Any]) -> None:
        flat = out.reshape(-1)
        kept = min(self._left.size, flat.size)
        flat[:kept] = self._left[:kept]
        self._left = self._left[kept:]
        even = (flat.size - kept) // 2 * 2
        for low in range(kept, kept + even, 2 * _PIECE):
            self._pairs(flat[low : min(low + 2 * _PIECE, kept + even)])
        if kept + even < flat.size:
            pair = np.empty(2, dtype=np.float32)
            self._pairs(pair)
            flat[-1], self._left = pair[0], pair[1:]

    def _pairs(self, out: NDArray[Any]) -> None:
        """r cos φ, r sin φ with r² = −2 ln u: a pair from each 64-bit word."""
        words = self._bits.random_raw(out.size // 2)
        radius = words.view(np.uint32)[0::2].astype(np.float32)
        angle = words.view(np.int32)[1::2].astype(np.float32)
        # The centre of one of 2³² cells, so that the logarithm is finite.
        radius += np.float32(0.5)
        radius *= _UNIT
        np.log(radius, out=radius)
        radius *= np.float32(-2.0)
        np.sqrt(radius, out=radius)
        angle *= _TURN
        np.multiply(radius, np.cos(angle), out=out[0::2])
        np.multiply(radius, np.sin(angle, out=angle), out=out[1::2])


def source(bits: np.random.BitGenerator, dtype: Any) -> Source:
    """The numbers of type `dtype` (float32 or float64) that come of `bits`."""
    return Singles(bits) if np.dtype(dtype) == np.float32 else Doubles(bits)
