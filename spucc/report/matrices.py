"""The matrices of the page: packed small, and the moments at each pass that they come from."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as _replace

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.circuit import assemble
from spucc.device import Device
from spucc.energy import Domain, Energy
from spucc.fidelity import decode, placed_matrix, realised_law
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized

DENSE = 1100
"""Coordinates up to which moments are computed for the page."""

_SPINS = 14

SIDE = 160
"""Rows of a picture beyond which neighbours share one."""


@dataclass
class Shelf:
    """Packed matrices, each kept once: most passes leave most of them as they are."""

    packed: list[dict[str, object]] = field(default_factory=list)
    _known: dict[bytes, int] = field(default_factory=dict)

    def put(self, matrix: FloatArray | sparse.csr_array) -> int:
        """The number of a symmetric matrix on the shelf: its upper triangle in 32 bits, in blocks where it is large."""
        n = int(matrix.shape[0])
        small = _blocks(matrix)
        side = len(small)
        flat = small[np.triu_indices(side)].astype("<f4").tobytes()
        key = np.array([n, side], dtype="<i8").tobytes() + flat
        if key not in self._known:
            self._known[key] = len(self.packed)
            text = base64.b64encode(flat).decode("ascii") if any(flat) else ""
            self.packed.append({"n": n, "side": side, "b": text})
        return self._known[key]


def _blocks(matrix: FloatArray | sparse.csr_array) -> FloatArray:
    """A matrix of at most `SIDE` rows: of each block the entry that is largest in size, with its sign."""
    n = int(matrix.shape[0])
    block = -(-n // SIDE)
    if block <= 1:
        return np.asarray(matrix.toarray() if isinstance(matrix, sparse.csr_array) else matrix)
    side = -(-n // block)
    out = np.zeros((side, side))
    if isinstance(matrix, sparse.csr_array):
        coo = sparse.coo_array(matrix)
        at, values = (coo.row // block) * side + coo.col // block, coo.data
    else:
        rows = np.arange(n) // block
        at, values = (rows[:, None] * side + rows[None]).ravel(), np.asarray(matrix).ravel()
    flat = out.ravel()
    high, low = np.zeros(side * side), np.zeros(side * side)
    np.maximum.at(high, at, values)
    np.minimum.at(low, at, values)
    flat[:] = np.where(-low > high, low, high)
    return flat.reshape(side, side)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean [n], standard deviation [n], correlation [n, n], and precision [n, n] (None for spins)."""

    mean: FloatArray
    sd: FloatArray
    correlation: FloatArray
    precision: FloatArray | None


def moments_of(job: Job, device: Device) -> Moments | None:
    """Moments of what a job's value stands for, in the job's coordinates; None where they cannot be had exactly."""
    n = job.target.n
    if n == 0 or n > DENSE:
        return None
    if not job.target.domains[0].size:
        return _of_spins(job, device)
    if not job.target.is_gaussian or getattr(job.value, "domain", Domain.REAL) is not Domain.REAL:
        return None
    try:
        mean, cov = realised_law(job, device)
        sd = np.sqrt(np.diagonal(cov))
        if not (sd > 0).all() or not np.isfinite(cov).all():
            return None
        correlation = cov / np.outer(sd, sd)
        inverse = linalg.inv(correlation)
    except (linalg.LinAlgError, ValueError):
        return None
    return Moments(mean, sd, (correlation + correlation.T) / 2, (inverse + inverse.T) / 2 / np.outer(sd, sd))


def target_moments(job: Job, device: Device) -> Moments | None:
    """Moments of a job's model."""
    if 0 < job.target.n <= _SPINS and not job.target.domains[0].size:
        from spucc.oracle import enumerate_spins

        return _spin_moments(job, enumerate_spins(job.target).probability)
    return moments_of(_replace(job, value=job.target, steps=()), device)


def _of_spins(job: Job, device: Device) -> Moments | None:
    from spucc.spin_fidelity import spin_law_of

    found = spin_law_of(job, device)
    if found is None:
        return None
    return _spin_moments(job, found[1])


def _spin_moments(job: Job, law: FloatArray) -> Moments:
    """Moments of spins (±1) or bits (0, 1) whose states, coordinate 0 the highest bit, have the probabilities `law`."""
    n = job.target.n
    states = 2.0 * ((np.arange(law.size)[:, None] >> np.arange(n - 1, -1, -1)) & 1) - 1
    bits = job.target.domains[2]
    states[:, bits] = (states[:, bits] + 1) / 2
    mean = law @ states
    cov = (states * law[:, None]).T @ states - np.outer(mean, mean)
    sd = np.sqrt(np.maximum(np.diagonal(cov), 1e-300))
    return Moments(mean, sd, cov / np.outer(sd, sd), None)


def cells_matrix(job: Job, device: Device) -> sparse.csr_array | None:
    """The matrix that a job's value sets up among its cells, scaled so that the largest own term (for spins the largest
    coupling) is 1. Of an ensemble the first member's."""
    value = job.value
    if isinstance(value, Configuration):
        value = value.codes
    if isinstance(value, Energy):
        return None
    try:
        if isinstance(value, Couplings):
            matrix = value.matrix
        elif isinstance(value, Placed):
            matrix = placed_matrix(value, device)
        else:
            assert isinstance(value, Quantized)
            ground, coupling = decode(value, 0, device)
            matrix = assemble(value.family, value.edges, ground, coupling)
    except (linalg.LinAlgError, ValueError):
        return None
    top = float(np.abs(matrix.data).max(initial=0.0))
    return sparse.csr_array(matrix / top) if top > 0 and np.isfinite(top) else None


def errors(made: FloatArray, asked: FloatArray) -> FloatArray:
    """made − asked, without what is only the rounding of floating-point numbers."""
    delta = made - asked
    return np.where(np.abs(delta) < 1e-13, 0.0, delta)


def names_of_blocks(names: Sequence[str]) -> list[str]:
    """A name for each row of a picture: of rows that share one the first and the last."""
    block = -(-len(names) // SIDE)
    if block <= 1:
        return list(names)
    return [f"{names[k]} … {names[min(k + block, len(names)) - 1]}" for k in range(0, len(names), block)]
