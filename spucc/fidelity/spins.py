"""How far a job of spins stands from its model: exact where the model has at most 14 spins and the cells'
graph is narrow, or where the cells are the model one by one; else from draws of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray
from spucc.device import Bank, Device
from spucc.energy import Energy
from spucc.fidelity import spin_law
from spucc.fidelity.spin_sampling import SWEEPS, chains_for, colours, gibbs
from spucc.oracle import enumerate_spins
from spucc.readback import Affine, HostLoop, Majority, ReadBack, fold
from spucc.stages import Configuration, Couplings, Job, JobValue, Placed, Quantized, edge_list

_SPINS = 14
# Standard deviation below which a spin counts as held: errors are then in this unit.
_LEAST = 0.01
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
        sd = np.sqrt(np.maximum(np.diagonal(cov), _LEAST**2))
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
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    return _same(value, job.readbacks(), job.target, device)


@lru_cache(maxsize=16)
def _same(value: JobValue, backs: tuple[ReadBack, ...], target: Energy, device: Device) -> bool:
    if target.higher or target.domains[0].size:
        return False
    cells = _cells(Job("", target, np.arange(target.n), value), device)
    own = None if cells is None else _aligned(cells, fold(backs, target.n), target.n)
    if own is None:
        return False
    want, field = spin_form(target)
    gap = abs(sparse.csr_array(own[0] - want))
    top = max(float(abs(want).max()) if want.nnz else 0.0, float(np.abs(field).max(initial=0.0)), 1e-300)
    worst = max(float(gap.max()) if gap.nnz else 0.0, float(np.abs(own[1] - field).max(initial=0.0)))
    return worst <= 1e-12 * top


def _aligned(
    cells: tuple[IntArray, FloatArray, FloatArray], backs: Sequence[ReadBack], n: int
) -> tuple[sparse.csr_array, FloatArray] | None:
    """Couplings [n, n] and fields [n] of the cells in the order and with the signs of the n coordinates, or None where they
    are not one cell each."""
    edges, coupling, bias = cells
    sources = _sources(backs, bias.size)
    if sources is None or bias.size != n:
        return None
    cell, positive = sources
    if np.bincount(cell, minlength=n).max(initial=0) > 1:
        return None
    sign = np.where(positive, 1.0, -1.0)
    place = np.empty(n, dtype=np.int64)
    place[cell] = np.arange(n)
    ends = place[edges]
    return cells_matrix((ends, coupling * sign[ends[:, 0]] * sign[ends[:, 1]], bias)), sign * bias[cell]


def cells_matrix(cells: tuple[IntArray, FloatArray, FloatArray]) -> sparse.csr_array:
    """The couplings of cells (edges, couplings, fields) as a symmetric matrix."""
    edges, coupling, bias = cells
    i, j = edges.T
    both = (np.concatenate([i, j]), np.concatenate([j, i]))
    return sparse.csr_array(
        sparse.coo_array((np.tile(coupling, 2), both), shape=(bias.size, bias.size), dtype=np.float64)
    )


@lru_cache(maxsize=16)
def spin_form(energy: Energy) -> tuple[sparse.csr_array, FloatArray]:
    """J [n, n] and h [n] with p ∝ exp(½ sᵀJs + h·s), bits being (1 + s)/2; without terms above degree 2."""
    found, t = spin_law.InSpins.of(energy), energy.temperature
    found.quadratic.eliminate_zeros()
    return sparse.csr_array(-found.quadratic / t), -found.linear / t


# Draws of each law where moments are estimated, and updates of spins where they are drawn by sweeps.
_DRAWS = 1 << 16
_FLIPS = 8e7
_LARGEST = 50_000
# Variance of the exponents' difference up to which draws are weighed.
_CLOSE = 0.5


@dataclass(frozen=True)
class Sampled:
    """What draws of the model and of its codes say: as `spin_figures`, the divergences NaN where the cells are not the
    model's spins one by one, and `note` how sure it is."""

    kl_forward: float
    kl_reverse: float
    sd_error: float
    mean_error: float
    correlation_error: float
    note: str


def sampled_figures(job: Job, device: Device) -> Sampled | None:
    """Codes compared with their model by draws; correlations are those of coupled variables.

    Draws are exact and independent where both graphs are narrow, else they come from Gibbs sweeps. Where the cells are the
    model's spins, Δ is the difference of the exponents: the divergence is ½ Var(Δ), exact to second order, and if that is
    small the codes' moments are the model's draws weighed by e^−Δ, whose noise is as small as Δ; else both laws are drawn
    with the same random numbers. None for what is not codes yet, for products of many variables and for more than 50 000
    cells.
    """
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    if not isinstance(value, Quantized) or job.target.higher or job.target.domains[0].size:
        return None
    return _sampled(value, job.readbacks(), job.target, device)


@lru_cache(maxsize=16)
def _sampled(codes: Quantized, backs: tuple[ReadBack, ...], target: Energy, device: Device) -> Sampled | None:
    cells = _cells(Job("", target, np.arange(target.n), codes), device)
    if cells is None or cells[2].size > _LARGEST:
        return None
    folded = fold(backs, target.n)
    model = spin_form(target)
    own = _aligned(cells, folded, target.n)
    made = (cells_matrix(cells), cells[2]) if own is None else own
    draw = _drawer(max(target.n, cells[2].size), (model, made), alike=own is not None)
    one = draw(0)
    pairs, _ = edge_list(model[0])
    if own is not None:
        delta = _exponent(model[0] - own[0], model[1] - own[1], one)
        if delta.var() < _CLOSE:
            return _weighed(one, delta, pairs)
    two = draw(1)
    if own is None:
        for back in reversed(folded):
            assert not isinstance(back, HostLoop)
            two = back.draws(two)
        bit = target.domains[2]
        two[..., bit] = 2 * two[..., bit] - 1
    found = _figures(_batches(one, pairs), _batches(two, pairs), target.n, pairs, one.shape)
    if own is not None:
        other = _exponent(model[0] - own[0], model[1] - own[1], two)
        halves = (0.5 * float(d.var()) / target.n for d in (delta, other))
        found = replace(found, kl_forward=next(halves), kl_reverse=next(halves))
    return found


def _drawer(
    size: int, laws: tuple[tuple[sparse.csr_array, FloatArray], ...], alike: bool
) -> Callable[[int], FloatArray]:
    """Draws [batches, draws, spins] of one of two laws p(s) ∝ exp(½ sᵀJs + h·s), batches independent of each other. Laws
    that are `alike` have spins in common, and are drawn with the same random numbers."""
    if size <= 4 * _WIDE:
        exact = [spin_law.Sampler.of(*edge_list(j), h, _TABLE) for j, h in laws]
        if all(exact):

            def independent(which: int) -> FloatArray:
                sampler, n = exact[which], laws[which][1].size
                assert sampler is not None
                rng = np.random.Generator(np.random.Philox(7 + which))
                count = min(_DRAWS, (1 << 24) // n)
                return sampler.draws(rng.random((count, n))).reshape(-1, count // 64, n)

            return independent
    groups = [colours(laws[0][0])] * 2 if alike else [colours(j) for j, _ in laws]
    count = chains_for(size, 2 * SWEEPS, _FLIPS, 1000)

    def swept(which: int) -> FloatArray:
        rng = np.random.Generator(np.random.Philox(11 if alike else 11 + which))
        drawn: NDArray[Any] = gibbs(*laws[which], count, rng, groups=groups[which])
        return drawn.swapaxes(0, 1)

    return swept


def _exponent(j: sparse.csr_array, h: FloatArray, s: FloatArray) -> FloatArray:
    """½ sᵀJs + h·s of draws [batches, draws, n]."""
    rows = s.reshape(-1, s.shape[-1])
    return np.asarray(0.5 * np.einsum("ki,ki->k", rows @ j, rows) + rows @ h).reshape(s.shape[:-1])


def _batches(s: FloatArray, pairs: IntArray, weight: FloatArray | None = None) -> FloatArray:
    """Means of spins and of products of pairs within each batch [batches, n + pairs], weighed [batches, draws]."""
    i, k = pairs.T
    rows = []
    for b, part in enumerate(s):
        f = np.concatenate([part, part[:, i] * part[:, k]], axis=1)
        rows.append(f.mean(axis=0) if weight is None else weight[b] @ f / weight.shape[1])
    return np.asarray(rows, dtype=np.float64)


def _weighed(one: FloatArray, delta: FloatArray, pairs: IntArray) -> Sampled:
    weight = np.exp(-(delta - delta.mean()))
    weight /= weight.mean()
    mean = _batches(one, pairs)
    found = _figures(mean, mean + _batches(one, pairs, weight - 1), one.shape[-1], pairs, one.shape)
    spread = np.average((delta - np.average(delta, weights=weight)) ** 2, weights=weight)
    n = one.shape[-1]
    return replace(found, kl_forward=0.5 * float(delta.var()) / n, kl_reverse=0.5 * float(spread) / n)


def _figures(one: FloatArray, two: FloatArray, n: int, pairs: IntArray, shape: tuple[int, ...]) -> Sampled:
    """The figures of two sets of moments [batches, n + pairs], and the standard error of an entry's difference."""
    i, k = pairs.T
    mean, second = np.split(np.stack([one.mean(axis=0), two.mean(axis=0)]), [n], axis=1)
    sd = np.sqrt(np.maximum(1 - mean**2, _LEAST**2))
    corr = (second - mean[:, i] * mean[:, k]) / (sd[:, i] * sd[:, k])
    noise = (two - one).std(axis=0, ddof=1) / np.sqrt(one.shape[0])
    noise = noise / np.concatenate([sd[0], sd[0, i] * sd[0, k]])
    return Sampled(
        float("nan"),
        float("nan"),
        float(np.abs(sd[1] / sd[0] - 1).max(initial=0.0)),
        float((np.abs(mean[1] - mean[0]) / sd[0]).max(initial=0.0)),
        float(np.abs(corr[1] - corr[0]).max(initial=0.0)),
        f"from {shape[0] * shape[1]} draws, ±{np.sqrt(np.mean(noise**2)):.1g} an entry",
    )
