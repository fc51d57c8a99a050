"""The host's part of a splitting: x ← M⁻¹(N x + h + ξ) + η with ξ ~ N(0, N), N = M − P (mapping §3).

The device gives η ~ N(0, M⁻¹); M is what its codes really make, so the law of x is N(P⁻¹h, P⁻¹) whatever the
rounding.
"""

from __future__ import annotations

from math import ceil, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.readback import HostLoop
from spucc.targets.law import DENSE_LAW, Gaussian

# What is left of the starting value when the first draw is kept, in standard deviations.
_START = 1e-4
_MOST_SWEEPS = 1_000_000


class Sweep:
    """One sweep with the device's law N(mean, M⁻¹) of n coordinates. `width` random numbers go into one.

    Raises E0725 where the splitting is none: M − P has a negative eigenvalue.
    """

    def __init__(self, loop: HostLoop, device: Gaussian) -> None:
        n = device.n
        if n > DENSE_LAW:
            fail(
                "E0724",
                f"a host loop over {n} coordinates is too large to simulate",
                help="compile for a board on which the model fits in one shot",
            )
        self.width = n
        self._mean = device.mean
        spread = device.cov()
        m = np.linalg.inv(spread) if device.precision is None else device.precision.toarray()
        p = loop.precision.toarray()
        rest = m - 0.5 * (p + p.T)
        lowest = float(np.linalg.eigvalsh(0.5 * (rest + rest.T))[0]) if n else 0.0
        if lowest < -1e-9 * float(np.abs(m).max(initial=1.0)):
            fail(
                "E0725",
                "the host loop does not converge to the model: what the device realises is not above the "
                "model's "
                "precision",
                help="compile again for this device, so that the splitting is made for its codes",
            )
        values, vectors = np.linalg.eigh(0.5 * (rest + rest.T))
        square = vectors * np.sqrt(np.maximum(values, 0.0))
        self._gain = np.ascontiguousarray((spread @ rest).T)
        self._noise = np.ascontiguousarray((spread @ square).T)
        self._push = np.asarray(spread @ loop.potential)

    def __call__(self, x: FloatArray, eta: NDArray[Any], z: FloatArray) -> FloatArray:
        """x [chains, n] after a sweep with the device's draw `eta` [chains, n] and the host's numbers z
        [chains, n]."""
        return np.asarray(x @ self._gain + self._push + z @ self._noise + (eta - self._mean))


def warm_up(loop: HostLoop) -> int:
    """Sweeps before the first draw is kept. Raises E0725 for a contraction that is none."""
    rho = loop.contraction
    if not 0 <= rho < 1 or loop.sweeps < 1:
        fail(
            "E0725",
            f"the host loop does not converge: one sweep leaves {rho:.6g} of the distance to its law",
            help="choose a device with more bits or more couplers, or another way to realise the model",
        )
    sweeps = ceil(log(_START) / log(rho)) if rho > 0 else 1
    if sweeps > _MOST_SWEEPS:
        fail(
            "E0725",
            f"the host loop needs {sweeps} sweeps to forget its start",
            help="choose a device with more bits or more couplers, or another way to realise the model",
        )
    return sweeps
