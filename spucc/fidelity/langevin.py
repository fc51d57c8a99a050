"""How far a job of nonlinear units is from its model: term by term, and where terms differ by their law
(`spucc.fidelity.quartic_law`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.circuit import assemble
from spucc.device import Bank, Device, Family
from spucc.energy import Energy
from spucc.fidelity.quartic_law import Figures, Points, points
from spucc.readback import Affine, fold
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized

Terms = tuple[sparse.csr_array, FloatArray, FloatArray]
"""K, b and q of ½ xᵀKx − b·x + Σ q x⁴."""


def figures(job: Job, device: Device) -> tuple[Figures, str] | None:
    """What the units' law has lost against the model's, and whether it is `exact` (equal to 1e-9 of each kind's largest term,
    or by quadrature) or an `estimate` from draws; None where nothing can be said."""
    found = _realised(job, device)
    target = terms(job.target)
    if found is None or target is None:
        return None
    gap = tuple(one - other for one, other in zip(found, target))
    if all(_largest(off) <= 1e-9 * _largest(own) for off, own in zip(gap, target)):
        return Figures(0.0, 0.0, 0.0, 0.0, 0.0, np.inf), "exact"
    law = target_points(job.target)
    if law is None:
        return None
    got = law.moved(exponent(law.x, gap))
    return (got, "exact" if law.exact else "estimate") if got.share > 0.05 else None


@lru_cache(maxsize=4)
def target_points(energy: Energy) -> Points | None:
    """The points of a job's own law; None for too many units and for terms that no unit has."""
    found = terms(energy)
    return None if found is None else points(*found)


def exponent(x: FloatArray, gap: Terms) -> FloatArray:
    """½ xᵀKx − b·x + Σ q x⁴ at each row of x."""
    k, b, quartic = gap
    return np.asarray(0.5 * np.einsum("ki,ki->k", np.asarray((k @ x.T).T), x) - x @ b + x**4 @ quartic)


def _largest(values: sparse.csr_array | FloatArray) -> float:
    data = values.data if sparse.issparse(values) else values
    return float(np.abs(data).max(initial=0.0))


def _realised(job: Job, device: Device) -> Terms | None:
    """The units' terms over the model's coordinates x = d y; None for another read-back."""
    folded = fold(job.readbacks(), job.target.n)
    back = folded[0]
    found = _units(job, device)
    if found is None or len(folded) != 1 or not isinstance(back, Affine) or back.offset.any():
        return None
    k, b, quartic = found
    n = job.target.n
    if b.size != n or back.matrix.nnz != n or np.unique(back.matrix.indices).size != n:
        return None
    cell, d = back.matrix.indices, back.matrix.data
    scale = sparse.diags_array(1 / d)
    return sparse.csr_array(scale @ k[cell][:, cell] @ scale), b[cell] / d, quartic[cell] / d**4


def terms(energy: Energy) -> Terms | None:
    """Q/T, −linear/T and the fourth powers' factors over T; None where there are other terms."""
    quartic = np.zeros(energy.n)
    for part in energy.higher:
        if part.degree != 4 or (part.index != part.index[:, :1]).any():
            return None
        np.add.at(quartic, part.index[:, 0], part.coefficient)
    t = energy.temperature
    return sparse.csr_array(energy.quadratic.tocsr() / t), -np.asarray(energy.linear) / t, quartic / t


def _units(job: Job, device: Device) -> Terms | None:
    """K, b and q of the job's units as it stands, dimensionless."""
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    if isinstance(value, Energy):
        return terms(value)
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
