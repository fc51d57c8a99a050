"""Whether a job of nonlinear units has exactly its model's law: unit by unit, term by term.

No closed form gives the moments of coupled quartic units, so of codes that were rounded nothing is said here; the pass's own note
says by how much values are off.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.circuit import assemble
from spucc.device import Bank, Device, Family
from spucc.energy import Energy
from spucc.readback import Affine, fold
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized


def same_units(job: Job, device: Device) -> bool:
    """Whether the units' ½ yᵀKy − b·y + Σ q y⁴, read back through x = d y, is E/T to 1e-9 of each kind's largest."""
    folded = fold(job.readbacks(), job.target.n)
    back = folded[0]
    found = _units(job, device)
    if found is None or len(folded) != 1 or not isinstance(back, Affine) or back.offset.any():
        return False
    k, b, quartic = found
    n = job.target.n
    if b.size != n or back.matrix.nnz != n or np.unique(back.matrix.indices).size != n:
        return False
    target = _terms(job.target)
    if target is None:
        return False
    cell, d = back.matrix.indices, back.matrix.data
    scale = sparse.diags_array(d)
    gap = abs(sparse.csr_array(k[cell][:, cell] - scale @ target[0] @ scale))
    pairs = (
        (float(gap.max()) if gap.nnz else 0.0, float(abs(k).max()) if k.nnz else 0.0),
        (float(np.abs(b[cell] - d * target[1]).max(initial=0.0)), float(np.abs(b).max(initial=0.0))),
        (float(np.abs(quartic[cell] - d**4 * target[2]).max(initial=0.0)), float(quartic.max(initial=0.0))),
    )
    return all(off <= 1e-9 * size for off, size in pairs)


def _terms(energy: Energy) -> tuple[sparse.csr_array, FloatArray, FloatArray] | None:
    """Q/T, −linear/T and the fourth powers' factors over T; None where there are other terms."""
    quartic = np.zeros(energy.n)
    for terms in energy.higher:
        if terms.degree != 4 or (terms.index != terms.index[:, :1]).any():
            return None
        np.add.at(quartic, terms.index[:, 0], terms.coefficient)
    t = energy.temperature
    return sparse.csr_array(energy.quadratic.tocsr() / t), -np.asarray(energy.linear) / t, quartic / t


def _units(job: Job, device: Device) -> tuple[sparse.csr_array, FloatArray, FloatArray] | None:
    """K, b and q of the job's units as it stands, dimensionless."""
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    if isinstance(value, Energy):
        return _terms(value)
    if isinstance(value, Couplings):
        return value.matrix, value.bias, np.zeros(value.n) if value.quartic is None else value.quartic
    if isinstance(value, Placed):
        ground, coupling, bias = value.ground, value.coupling, value.bias
        quartic, scale = value.quartic, value.scale
    else:
        assert isinstance(value, Quantized)
        nothing, spec = Bank(signed=True), device.spec
        ground, coupling = spec.ground.decode(value.ground[0]), spec.coupling.decode(value.coupling[0])
        bias = (spec.bias or nothing).decode(value.bias[0])
        quartic = None if value.quartic is None else (spec.quartic or nothing).decode(value.quartic[0])
        scale = float(value.scale[0])
        if value.members != 1:
            return None
    k = assemble(Family.LANGEVIN, value.edges, ground, coupling)
    none = np.zeros(value.n) if quartic is None else quartic
    return sparse.csr_array(k / scale), np.asarray(bias) / scale, np.asarray(none) / scale
