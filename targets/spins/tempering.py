"""Parallel tempering: replicas on a ladder of inverse temperatures that exchange their rungs (Hukushima and
Nemoto 1996)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def rungs_for(n: int) -> int:
    """How many rungs keep exchanges likely: the width of a rung's energies, ~ √(n/2) in units of 1/β, against ln 10."""
    return int(np.clip(np.ceil(2.3 * np.sqrt(n / 2)), 4, 40))


class Ladders:
    """Independent ladders of replicas, stepped together.

    An exchange of neighbouring rungs is proposed after each `every` sweeps, even and odd pairs in turn, and accepted with
    probability min(1, e^{Δβ ΔE}), which keeps the product of the rungs' laws. `betas` [rungs] rise to the temperature that is
    asked for. `export` and `restore` carry a run across a stop.
    """

    def __init__(
        self,
        model: SpinModel,
        betas: FloatArray,
        ladders: int,
        seed: tuple[int, ...],
        *,
        every: int = 1,
        threads: int = 1,
        start: FloatArray | None = None,
    ) -> None:
        rungs = betas.size
        self._betas, self._seed, self._every = betas, seed, every
        self._chains = Chains(
            model, ladders * rungs, seed, beta=np.tile(betas, ladders), threads=threads, start=start
        )
        # chain[l, r]: which chain stands on rung r of ladder l
        self._chain = np.arange(ladders * rungs).reshape(ladders, rungs)
        self._done = 0
        self._accepted, self._tried = np.zeros(max(rungs - 1, 1)), np.zeros(max(rungs - 1, 1))

    @property
    def exchanged(self) -> FloatArray:
        """The share of accepted exchanges of each pair of rungs."""
        return self._accepted / np.maximum(self._tried, 1)

    def sweep(self, count: int) -> None:
        """`count` sweeps of every replica, with exchanges whenever they are due."""
        while count:
            due = min(self._every - self._done % self._every, count)
            self._chains.sweep(due)
            self._done += due
            count -= due
            if self._done % self._every == 0 and self._betas.size > 1:
                self._exchange(self._done // self._every - 1)

    def _exchange(self, turn: int) -> None:
        low = np.arange(turn % 2, self._betas.size - 1, 2)
        energy = self._chains.energies()
        a, b = self._chain[:, low], self._chain[:, low + 1]
        gain = (self._betas[low + 1] - self._betas[low]) * (energy[b] - energy[a])
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*self._seed, 2, turn))))
        swap = np.log(rng.random(gain.shape)) < gain
        self._accepted[low] += swap.sum(axis=0)
        self._tried[low] += self._chain.shape[0]
        self._chain[:, low], self._chain[:, low + 1] = np.where(swap, b, a), np.where(swap, a, b)
        beta = np.empty(self._chain.size)
        beta[self._chain] = self._betas
        self._chains.beta = beta

    def top(self) -> NDArray[np.int8]:
        """The spins [ladders, n] at the temperature that is asked for."""
        return self._chains.spins()[self._chain[:, -1]]

    def export(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs, as plain arrays."""
        own = {"chain": self._chain.copy(), "done": np.array([self._done])}
        return {**self._chains.export(), **own}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave. Raises E0555 when it belongs to another run."""
        self._chains.restore(state)
        self._chain[:] = state["chain"]
        self._done = int(state["done"][0])


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
    """Run `ladders` independent ladders (`Ladders`): `settle` sweeps, then a draw after every `interval`."""
    run = Ladders(model, betas, ladders, seed, every=every, threads=threads, start=start)
    out = np.empty((ladders, draws, model.n), dtype=np.int8)
    run.sweep(settle)
    for t in range(draws):
        run.sweep(interval)
        out[:, t] = run.top()
    return Tempered(out, run.exchanged)
