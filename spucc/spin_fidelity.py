"""How far a job of spins stands from its model: exact where the model has at most 14 spins and the cells'
graph is narrow, or where the cells are the model one by one; else from exact draws of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse

from spucc import spin_law
from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.device import Bank, Device
from spucc.energy import Energy
from spucc.oracle import enumerate_spins
from spucc.readback import Affine, HostLoop, Majority, ReadBack, fold
from spucc.stages import Configuration, Couplings, Job, Placed, Quantized, edge_list

_SPINS = 14
_WIDE = 100
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
    if job.target.n > _SPINS:
        if same_law(job, device):
            return 0.0, 0.0, 0.0, 0.0, 0.0
        return None
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


def same_law(job: Job, device: Device) -> bool:
    """Whether the cells are the model's spins one by one, with its couplings and fields over T to 1e-12 of the largest: then
    the law is the same, however many spins there are."""
    target = job.target
    if target.higher or target.domains[0].size:
        return False
    cells = _cells(job, device)
    sources = None if cells is None else _sources(fold(job.readbacks(), target.n), cells[2].size)
    if cells is None or sources is None:
        return False
    edges, coupling, bias = cells
    cell, positive = sources
    if bias.size != target.n or np.unique(cell).size != target.n:
        return False
    sign = np.where(positive, 1.0, -1.0)
    place = np.empty(target.n, dtype=np.int64)
    place[cell] = np.arange(target.n)
    i, j = place[edges].T
    value = coupling * sign[i] * sign[j]
    both = (np.concatenate([i, j]), np.concatenate([j, i]))
    got = sparse.csr_array(sparse.coo_array((np.tile(value, 2), both), shape=(target.n, target.n)))
    want, field = spin_form(target)
    gap = abs(sparse.csr_array(got - want))
    top = max(float(abs(want).max()) if want.nnz else 0.0, float(np.abs(field).max(initial=0.0)), 1e-300)
    worst = max(
        float(gap.max()) if gap.nnz else 0.0, float(np.abs(sign * bias[cell] - field).max(initial=0.0))
    )
    return worst <= 1e-12 * top


def spin_form(energy: Energy) -> tuple[sparse.csr_array, FloatArray]:
    """J [n, n] and h [n] with p ∝ exp(½ sᵀJs + h·s), bits being (1 + s)/2; without terms above degree 2."""
    scale, offset = np.ones(energy.n), np.zeros(energy.n)
    bit = energy.domains[2]
    scale[bit], offset[bit] = 0.5, 0.5
    q = energy.quadratic.tocsr()
    d = sparse.diags_array(scale)
    own = sparse.csr_array(d @ q @ d)
    own = sparse.csr_array(own - sparse.diags_array(own.diagonal()))
    own.eliminate_zeros()
    t = energy.temperature
    return sparse.csr_array(-own / t), -scale * (energy.linear + q @ offset) / t


# Draws of each law where moments are estimated.
_DRAWS = 1 << 16


def sampled_figures(job: Job, device: Device) -> tuple[float, float, float] | None:
    """(worst relative error of a standard deviation, worst shift of a mean in standard deviations, worst error of a
    correlation of coupled variables) of codes against their model, from `_DRAWS` exact draws of each; None for what is not
    codes yet, and where one of the two graphs is too wide to draw from exactly. Their noise is √(2/draws) = 0.006 an entry.
    """
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    if not isinstance(value, Quantized) or job.target.higher or job.target.domains[0].size:
        return None
    return _sampled(value, job.readbacks(), job.target, device)


@lru_cache(maxsize=16)
def _sampled(
    codes: Quantized, backs: tuple[ReadBack, ...], target: Energy, device: Device
) -> tuple[float, float, float] | None:
    cells = _cells(Job("", target, np.arange(target.n), codes), device)
    if cells is None or target.n > _WIDE or cells[2].size > 4 * _WIDE:
        return None
    couplings, field = spin_form(target)
    pairs, values = edge_list(couplings)
    one = spin_law.Sampler.of(pairs, values, field, _TABLE)
    two = spin_law.Sampler.of(*cells, _TABLE) if one is not None else None
    if one is None or two is None:
        return None
    rng = np.random.Generator(np.random.Philox(7))
    step = max(1, (1 << 22) // max(cells[2].size, 1))
    sums = np.zeros((2, target.n)), np.zeros((2, pairs.shape[0]))
    for first in range(0, _DRAWS, step):
        m = min(step, _DRAWS - first)
        y: FloatArray = two.draws(rng.random((m, cells[2].size)))
        for back in reversed(fold(backs, target.n)):
            assert not isinstance(back, HostLoop)
            y = back.draws(y)
        bit = target.domains[2]
        y[:, bit] = 2 * y[:, bit] - 1
        for k, s in enumerate((one.draws(rng.random((m, target.n))), y)):
            sums[0][k] += s.sum(axis=0)
            sums[1][k] += (s[:, pairs[:, 0]] * s[:, pairs[:, 1]]).sum(axis=0)
    mean, second = sums[0] / _DRAWS, sums[1] / _DRAWS
    sd = np.sqrt(np.maximum(1 - mean**2, 1 / _DRAWS))
    i, j = pairs.T
    corr = (second - mean[:, i] * mean[:, j]) / (sd[:, i] * sd[:, j])
    return (
        float(np.abs(sd[1] / sd[0] - 1).max(initial=0.0)),
        float((np.abs(mean[1] - mean[0]) / sd[0]).max(initial=0.0)),
        float(np.abs(corr[1] - corr[0]).max(initial=0.0)),
    )
