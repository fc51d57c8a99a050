"""Standard normal numbers of one stream, in order: the same numbers however many are asked for at a time.

Double precision is numpy's ziggurat. Single precision is the transform of Box and Muller (1958) in numpy's
vectorised functions, three times as quick: 32 bits for the radius, so that |z| < 6.8, and 32 for the angle.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Numbers that are made at a time: what the nearest caches hold.
_PIECE = 2**13
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
        # What is left of the piece that was made last.
        self._left = np.empty(0, dtype=np.float32)

    def fill(self, out: NDArray[Any]) -> None:
        flat = out.reshape(-1)
        at = min(self._left.size, flat.size)
        flat[:at], self._left = self._left[:at], self._left[at:]
        whole = at + (flat.size - at) // _PIECE * _PIECE
        for low in range(at, whole, _PIECE):
            self._make(flat[low : low + _PIECE])
        if whole < flat.size:
            piece = np.empty(_PIECE, dtype=np.float32)
            self._make(piece)
            flat[whole:], self._left = piece[: flat.size - whole], piece[flat.size - whole :]

    def _make(self, out: NDArray[Any]) -> None:
        """r cos φ in the first half, r sin φ in the other, with r² = −2 ln u."""
        half = out.size // 2
        number = self._bits.random_raw(half).view(np.uint32).astype(np.float32)
        radius, angle = number[:half], number[half:]
        # The centre of one of 2³² cells, so that the logarithm is finite.
        radius += np.float32(0.5)
        radius *= _UNIT
        np.log(radius, out=radius)
        radius *= np.float32(-2.0)
        np.sqrt(radius, out=radius)
        angle *= _TURN
        np.multiply(radius, np.cos(angle), out=out[:half])
        np.multiply(radius, np.sin(angle, out=angle), out=out[half:])


def source(bits: np.random.BitGenerator, dtype: Any) -> Source:
    """The numbers of type `dtype` (float32 or float64) that come of `bits`."""
    return Singles(bits) if np.dtype(dtype) == np.float32 else Doubles(bits)
