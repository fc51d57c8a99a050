"""The matrices of the page, packed small."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.circuit import assemble
from spucc.device import Device
from spucc.energy import Energy
from spucc.fidelity.ledger import decode, placed_matrix
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized

SIDE = 160
"""Rows of a picture beyond which neighbours share one."""


@dataclass
class Shelf:
    """Packed matrices, each kept once: most passes leave most of them as they are."""

    packed: list[dict[str, object]] = field(default_factory=list)
    room: int = 1 << 30
    """Bytes that are left for more."""
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
            self.room -= len(text) + 40
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


def cells_matrix(job: Job, device: Device, member: int = 0) -> sparse.csr_array | None:
    """The matrix that a job's value sets up among its cells, scaled so that the largest own term (for spins the largest
    coupling) is 1; of an ensemble one member's."""
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
            ground, coupling = decode(value, member, device)
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
