"""States of least energy: annealed chains, then descent, then the recombination and tabu search of what they
found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray
from spucc.targets.machine_code import Native
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel

_tabu = Native("spucc.targets.spins.tabu", "tabu")

SPARSE = 12
"""Couplings a spin, counted from both ends, up to which states are recombined."""


@dataclass(frozen=True, eq=False)
class Found:
    """The best state found [n], its energy −½ sᵀJs − h·s, and how many of the final states shared that
    energy."""

    spins: NDArray[np.int8]
    energy: float
    hits: int


def cooling(model: SpinModel, sweeps: int) -> FloatArray:
    """Inverse temperatures [sweeps]: geometric from where the most strongly coupled spin flips half the time
    to where the least step of a flip is taken once in a hundred tries."""
    j = model.couplings
    size = np.abs(j.data)
    reach = np.abs(model.field) + np.asarray(abs(j).sum(axis=1)).ravel()
    steps = np.concatenate([size, np.abs(model.field)])
    steps = steps[steps > 0]
    if steps.size == 0:
        return np.ones(sweeps)
    hot, cold = np.log(2) / (2 * reach.max()), np.log(100) / (2 * np.quantile(steps, 0.05))
    return np.geomspace(hot, max(cold, 10 * hot), sweeps)


def anneal(
    model: SpinModel,
    seed: tuple[int, ...],
    *,
    chains: int | None = None,
    sweeps: int = 1000,
    tabu_steps: int | None = None,
    start: FloatArray | None = None,
    threads: int = 1,
) -> Found:
    """Simulated annealing of `chains` states, descent, pairwise recombination and tabu search of the best.

    Couplings of one magnitude without fields are annealed 64 chains to the word. `tabu_steps` are flips of
    each search (None: 40 n, at most 40 000; 0: none). `chains` None is 256, or 1024 on sparse graphs of that
    kind, whose states are recombined. Clamped spins keep `start`.
    """
    thin = model.couplings.nnz <= SPARSE * model.n
    if chains is None:
        chains = 1024 if thin and model.magnitude is not None else 256
    spins = _annealed(model, seed, chains, sweeps, start, threads)
    energy = model.energy(spins)
    spins, energy = recombine(model, spins, energy)
    steps = min(40 * model.n, 40_000) if tabu_steps is None else tabu_steps
    if steps and model.order.size:
        spins, energy = _search(model, spins, energy, seed, steps, 2 if thin else 8)
    best = int(np.argmin(energy))
    tolerance = 1e-9 * max(1.0, abs(float(energy[best])))
    return Found(spins[best].copy(), float(energy[best]), int((energy <= energy[best] + tolerance).sum()))


def _annealed(
    model: SpinModel, seed: tuple[int, ...], chains: int, sweeps: int, start: FloatArray | None, threads: int
) -> NDArray[np.int8]:
    """Annealed and descended states [chains, n], distinct ones first."""
    betas = cooling(model, sweeps)
    size = model.magnitude
    if size is not None:
        from spucc.targets.spins.multispin import anneal_words

        begun = anneal_words(model, betas * size, chains, seed)
        run = Chains(model, chains, seed, start=begun.astype(np.float64), threads=threads)
    else:
        run = Chains(model, chains, seed, start=start, method="metropolis", threads=threads)
        for beta in betas:
            run.beta = beta
            run.sweep(1)
    run.descend()
    return np.unique(run.spins(), axis=0)


def recombine(
    model: SpinModel, spins: NDArray[np.int8], energy: FloatArray, rounds: int = 2
) -> tuple[NDArray[np.int8], FloatArray]:
    """Give each state whatever the others do better.

    Where two states differ, the connected parts of the difference do not see one another, so each can be
    taken over on its own; taking the parts that lower the energy gives a state at least as good as both
    (partition crossover, Tinós, Whitley and Chicano 2015; the clusters are Houdayer's). Pays on sparse
    graphs; on dense ones the difference is one part.
    """
    order = np.argsort(energy, kind="stable")
    spins, energy = spins[order].copy(), energy[order].copy()
    j = model.couplings
    if j.nnz > SPARSE * model.n:
        return spins, energy
    rows = np.repeat(np.arange(model.n), np.diff(j.indptr))
    for _ in range(rounds):
        before = energy[0]
        best = spins[0].astype(np.float64)
        for k in range(1, spins.shape[0]):
            best = _take_over(j, rows, model.field, best, spins[k].astype(np.float64))
        spins[0], energy[0] = best.astype(np.int8), model.energy(best)
        if energy[0] >= before:
            break
    return spins, energy


def _take_over(
    j: sparse.csr_array, rows: NDArray[np.int64], field: FloatArray, s: FloatArray, other: FloatArray
) -> FloatArray:
    """s with every connected part of the difference to `other` flipped that lowers the energy, or for s and
    −s alike."""
    if not field.any() and (s == other).sum() < s.size / 2:
        other = -other
    differ = s != other
    inside = differ[rows] & differ[j.indices]
    graph = sparse.coo_array(
        (np.ones(inside.sum(), np.int8), (rows[inside], j.indices[inside])), shape=j.shape
    )
    count, part = csgraph.connected_components(sparse.csr_array(graph), directed=False)
    # flipping a part changes the sign of what joins it to the rest, and of its fields
    crossing = differ[rows] & ~differ[j.indices]
    tie = np.where(crossing, j.data * s[rows] * s[j.indices], 0.0)
    cost = np.bincount(part[rows], tie, count) + np.bincount(part, np.where(differ, field * s, 0.0), count)
    return np.where(differ & (cost < 0)[part], -s, s)


def _search(
    model: SpinModel,
    spins: NDArray[np.int8],
    energy: FloatArray,
    seed: tuple[int, ...],
    steps: int,
    searches: int,
) -> tuple[NDArray[np.int8], FloatArray]:
    """Tabu search from the best `searches` states."""
    indptr, indices, _, _ = model.arrays
    weight, field = np.ascontiguousarray(model.couplings.data), np.ascontiguousarray(model.field)
    for k in np.argsort(energy, kind="stable")[:searches]:
        s = spins[k].astype(np.float64)
        draw = np.random.SeedSequence((*seed, 4, int(k))).generate_state(1, np.uint64)[0]
        scratch = np.empty(model.n), np.empty(model.n), np.zeros(model.n, np.int64)
        _tabu(model.order, indptr, indices, weight, field, s, *scratch, steps, draw)
        spins[k], energy[k] = s.astype(np.int8), model.energy(s)
    return spins, energy
