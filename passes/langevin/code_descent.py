"""Codes of nonlinear units chosen together: what one rounding does to the law, another one can undo.

With Δ = Σ δ_a f_a(x) the change of the energy (in kT) when the values are rounded, KL ≈ ½ δᵀ F δ, F = Cov(f) under the model's
law (the Fisher information; f are ½x², −x_p x_q, −x, x⁴). From the nearest codes, the single step of one code that lowers it
most is taken until none does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.fidelity.quartic_law import Points

MOST = 1500
"""Values that are chosen together; of more the nearest codes are kept."""


def features(y: FloatArray, edges: IntArray) -> FloatArray:
    """f [points, values] of cells at y [points, n]: own terms, couplings, linear and quartic terms, in this order."""
    p, q = edges.T
    return np.concatenate([0.5 * y**2, -y[:, p] * y[:, q], -y, y**4], axis=1)


def fisher(law: Points, f: FloatArray) -> FloatArray:
    """Cov(f) [values, values]."""
    centred = f - law.weight @ f
    return np.asarray((centred * law.weight[:, None]).T @ centred)


def descend(
    codes: FloatArray,
    wanted: FloatArray,
    information: FloatArray,
    decode: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Codes [values] of least ½ δᵀFδ that single steps reach, δ = decode(codes) − `wanted`; a code stays within low … high, and
    where they are equal does not move."""
    codes = codes.copy()
    own = np.diagonal(information)
    for _ in range(20 * codes.size):
        now = decode(codes)
        pull = information @ (now - wanted)
        best, at, step = 0.0, -1, 0.0
        for side in (1.0, -1.0):
            moved = np.clip(codes + side, low, high)
            d = decode(moved) - now
            gain = pull * d + 0.5 * own * d**2
            k = int(np.argmin(gain))
            if gain[k] < best - 1e-15 * abs(best):
                best, at, step = float(gain[k]), k, float(moved[k] - codes[k])
        if at < 0:
            break
        codes[at] += step
    return codes
