"""Parallel tempering: replicas on a ladder of inverse temperatures that exchange their rungs (Hukushima and
Nemoto 1996)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel


@dataclass(frozen=True, eq=False)
class Tempered:
    """Draws [ladders, draws, n] at the top of the ladder, and the share of accepted exchanges of each pair of
    rungs."""

    draws: NDArray[np.int8]
    exchanged: FloatArray


def ladder(model: SpinModel, rungs: int, lowest: float = 0.1) -> FloatArray:
    """`rungs` inverse temperatures from `lowest` to 1, evenly spaced in their logarithm."""
    return np.geomspace(lowest, 1.0, rungs) if rungs > 1 else np.ones(1)


def temper(
    model: SpinModel,
    betas: FloatArray,
    ladders: int,
    seed: tuple[int, ...],
    *,
    settle: int,
    interval: int,
    draws: int,
    every: int = 1,
    threads: int = 1,
    start: FloatArray | None = None,
) -> Tempered:
    """Run `ladders` independent ladders; `betas` [rungs] rise to the temperature that is asked for.

    An exchange of neighbouring rungs is proposed after each `every` sweeps, even and odd pairs in turn, and
    accepted with probability min(1, e^{Δβ ΔE}), which keeps the product of the rungs' laws.
    """
    rungs = betas.size
    chains = Chains(model, ladders * rungs, seed, beta=np.tile(betas, ladders), threads=threads, start=start)
    # chain[l, r]: which chain stands on rung r of ladder l
    chain = np.arange(ladders * rungs).reshape(ladders, rungs)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seed, 2))))
    accepted, tried = np.zeros(max(rungs - 1, 1)), np.zeros(max(rungs - 1, 1))
    out = np.empty((ladders, draws, model.n), dtype=np.int8)
    turn, taken, done = 0, 0, 0
    total = settle + interval * draws
    while done < total:
        due = min(every, total - done, (settle + interval * (taken + 1)) - done)
        chains.sweep(due)
        done += due
        if rungs > 1:
            low = np.arange(turn % 2, rungs - 1, 2)
            turn += 1
            energy = chains.energies()
            a, b = chain[:, low], chain[:, low + 1]
            gain = (betas[low + 1] - betas[low]) * (energy[b] - energy[a])
            swap = np.log(rng.random(gain.shape)) < gain
            accepted[low] += swap.sum(axis=0)
            tried[low] += ladders
            chain[:, low], chain[:, low + 1] = np.where(swap, b, a), np.where(swap, a, b)
            beta = np.empty(ladders * rungs)
            beta[chain] = betas
            chains.beta = beta
        if done == settle + interval * (taken + 1) and taken < draws:
            out[:, taken] = chains.spins()[chain[:, -1]]
            taken += 1
    return Tempered(out, accepted / np.maximum(tried, 1))
