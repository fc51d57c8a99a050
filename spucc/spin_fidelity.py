"""How far a job of spins stands from its model: exact where the model has at most 14 spins and the cells'
graph is narrow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spucc import spin_law
from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.device import Bank, Device
from spucc.energy import Energy
from spucc.oracle import enumerate_spins
from spucc.readback import Affine, Majority, ReadBack, fold
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized, edge_list

_SPINS = 14
_TABLE = 2**18


def spin_law_of(job: Job, device: Device) -> tuple[FloatArray, FloatArray] | None:
    """(law of the model, law of what the job's value realises), both over the states of the job's coordinates
    in the order of `enumerate_spins`; None where they cannot be had exactly."""
    n = job.target.n
    if n > _SPINS or job.target.domains[0].size:
        return None
    cells = _cells(job, device)
    if cells is None:
        return None
    edges, coupling, bias = cells
    sources = _sources(fold(job.readbacks(), n), bias.size)
    if sources is None:
        return None
    cell, positive = sources
    if np.unique(cell).size != n:
        return None
    order = np.argsort(cell)
    p = spin_law.marginal(spin_law.factors_of(edges, coupling, bias), tuple(cell[order].tolist()), _TABLE)
    if p is None:
        return None
    # coordinate order[k] is bit k of p's numbering; the model's numbering has coordinate 0 as the highest bit
    table = p.reshape((2,) * n).transpose()
    table = table.transpose(np.argsort(order))
    for axis in np.flatnonzero(~positive):
        table = np.flip(table, int(axis))
    return enumerate_spins(job.target).probability, np.asarray(table).ravel()


def _cells(job: Job, device: Device) -> tuple[IntArray, FloatArray, FloatArray] | None:
    """Edges, couplings and fields of the cells, divided by the temperature."""
    value = job.value
    if isinstance(value, Configuration):
        value = value.codes
    if isinstance(value, Energy):
        if value.higher or value.domains[0].size or value.domains[2].size:
            return None
        pairs, entries = edge_list(value.quadratic.tocsr())
        return pairs, -entries / value.temperature, -np.asarray(value.linear) / value.temperature
    if isinstance(value, Couplings):
        pairs, entries = edge_list(value.matrix)
        return pairs, -entries, np.asarray(value.bias)
    if isinstance(value, Placed):
        return value.edges, value.coupling / value.scale, value.bias / value.scale
    assert isinstance(value, Quantized)
    if value.members != 1:
        return None
    coupling = device.spec.coupling.decode(value.coupling[0])
    bias = (device.spec.bias or Bank(signed=True)).decode(value.bias[0])
    return value.edges, coupling / value.scale[0], bias / value.scale[0]


def _sources(backs: Sequence[ReadBack], cells: int) -> tuple[IntArray, BoolArray] | None:
    """The cell that each coordinate is read from, and whether +1 there is the upper value; None where a
    coordinate hangs on several cells."""
    index, sign = np.arange(cells), np.ones(cells)
    for back in reversed(backs):
        if isinstance(back, Affine):
            if (np.diff(back.matrix.indptr) != 1).any() or back.n_in != index.size:
                return None
            index, sign = index[back.matrix.indices], sign[back.matrix.indices] * np.sign(back.matrix.data)
        elif isinstance(back, Majority):
            first = np.unique(back.chain, return_index=True)[1]
            same = (index == index[first][back.chain]) & (sign == sign[first][back.chain])
            if not same.all():
                return None
            index, sign = index[first], sign[first]
        else:
            return None
    return np.asarray(index, dtype=np.int64), np.asarray(sign > 0)


def spin_figures(job: Job, device: Device) -> tuple[float, float, float, float, float] | None:
    """(KL forward, KL reverse, both per variable; worst relative error of a standard deviation; worst shift
    of a mean in standard deviations; worst error of a correlation), or None."""
    laws = spin_law_of(job, device)
    if laws is None:
        return None
    p, q = laws
    n = job.target.n
    bits = 2.0 * ((np.arange(p.size)[:, None] >> np.arange(n - 1, -1, -1)) & 1) - 1
    moments = []
    for law in (p, q):
        mean = law @ bits
        cov = (bits * law[:, None]).T @ bits - np.outer(mean, mean)
        sd = np.sqrt(np.maximum(np.diagonal(cov), 1e-300))
        moments.append((mean, sd, cov / np.outer(sd, sd)))
    (m, s, c), (m2, s2, c2) = moments
    return (
        max(spin_law.divergence(p, q) / n, 0.0),
        max(spin_law.divergence(q, p) / n, 0.0),
        float(np.abs(s2 / s - 1).max()),
        float(np.abs((m2 - m) / s).max()),
        float(np.abs(c2 - c).max()),
    )
