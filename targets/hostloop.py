"""The host's part of a splitting: x ← M⁻¹(N x + h + ξ) + η with ξ ~ N(0, N), N = M − P (mapping §3).

The device gives η ~ N(0, M⁻¹); M is what its codes really make, so the law of x is N(P⁻¹h, P⁻¹) whatever the
rounding.
"""

from __future__ import annotations

from math import ceil, log
from typing import Any, Never, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import SpuccError, fail
from spucc.readback import HostLoop
from spucc.targets.gaussian import factorise
from spucc.targets.law import DENSE_LAW, Gaussian

# What is left of the starting value when the first draw is kept, in standard deviations.
_START = 1e-4
_MOST_SWEEPS = 1_000_000
# The part of M's largest entry by which rounding may make an eigenvalue of M − P negative.
_ROUNDING = 1e-9
# The part of M's diagonal by which the covariance of the host's noise may be off where N is singular.
_SHIFT = 1e-11


class Sweep(Protocol):
    """One sweep with the device's law of n coordinates. `width` random numbers go into one."""

    @property
    def width(self) -> int: ...

    def __call__(self, x: FloatArray, eta: NDArray[Any], z: FloatArray) -> FloatArray:
        """x [chains, n] after a sweep with the device's draw `eta` [chains, n] and the host's numbers z
        [chains, n]."""
        ...


def sweep(loop: HostLoop, device: Gaussian) -> Sweep:
    """A sweep with the device's law N(mean, M⁻¹). Raises E0725 where the splitting is none, M − P with a negative
    eigenvalue, and E0724 where there are too many coordinates for a law that is not sparse."""
    if device.n <= DENSE_LAW:
        return DenseSweep(loop, device)
    if device.precision is None:
        fail(
            "E0724",
            f"a host loop over {device.n} coordinates of a board out of equilibrium is too large to simulate",
            help="compile for a board on which the model fits in one shot",
        )
    return SparseSweep(loop, device.mean, device.precision)


class DenseSweep:
    """See `Sweep`: the maps of x and of the numbers as matrices."""

    def __init__(self, loop: HostLoop, device: Gaussian) -> None:
        self.width = device.n
        self._mean = device.mean
        spread = device.cov()
        m = np.linalg.inv(spread) if device.precision is None else device.precision.toarray()
        p = loop.precision.toarray()
        rest = m - 0.5 * (p + p.T)
        # In units in which M has ones on its diagonal: the variables' own may be many orders of magnitude apart.
        unit = np.sqrt(np.diagonal(m))
        values, vectors = np.linalg.eigh(0.5 * (rest + rest.T) / np.outer(unit, unit))
        if values.min(initial=0.0) < -_ROUNDING:
            _no_splitting()
        square = unit[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
        self._gain = np.ascontiguousarray((spread @ rest).T)
        self._noise = np.ascontiguousarray((spread @ square).T)
        self._push = np.asarray(spread @ loop.potential)

    def __call__(self, x: FloatArray, eta: NDArray[Any], z: FloatArray) -> FloatArray:
        return np.asarray(x @ self._gain + self._push + z @ self._noise + (eta - self._mean))


class SparseSweep:
    """See `Sweep`: ξ = N y with y ~ N(0, N⁻¹), and one solution with M, both by sparse factors."""

    def __init__(self, loop: HostLoop, mean: FloatArray, m: sparse.csr_array) -> None:
        self.width = int(mean.size)
        self._mean, self._push = mean, loop.potential
        p = loop.precision
        self._rest = sparse.csr_array(m - 0.5 * (p + p.T))
        self._board = factorise(m)
        try:
            # N may be singular: a factor needs a little more than that.
            self._root = factorise(sparse.csr_array(self._rest + sparse.diags_array(_SHIFT * m.diagonal())))
        except SpuccError:
            _no_splitting()

    def __call__(self, x: FloatArray, eta: NDArray[Any], z: FloatArray) -> FloatArray:
        tile = self._root.tile
        numbers = np.zeros((-(-z.shape[0] // tile) * tile, self.width))
        numbers[: z.shape[0]] = z
        y = self._root.colour(numbers)[: z.shape[0]]
        pushed = self._rest @ (x + y).T + self._push[:, None]
        return np.asarray(self._board.solve(pushed).T + (eta - self._mean))


def _no_splitting() -> Never:
    fail(
        "E0725",
        "the host loop does not converge to the model: what the device realises is not above the model's "
        "precision",
        help="compile again for this device, so that the splitting is made for its codes",
    )


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
