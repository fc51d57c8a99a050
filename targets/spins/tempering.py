"""Parallel tempering: replicas on a ladder of inverse temperatures that exchange their rungs (Hukushima and
Nemoto 1996)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spucc.arrays import FloatArray
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel


@dataclass(frozen=True, eq=False)
class Tempered:
    """Draws [ladders, draws, n] at the top of the ladder, and the share of accepted exchanges of each pair of
    rungs."""

    draws: NDArray[np.int8]
    exchanged: FloatArray


def ladder(
    model: SpinModel,
    seed: tuple[int, ...],
    *,
    acceptance: float = 0.4,
    lowest: float = 0.1,
    most: int = 64,
    threads: int = 1,
) -> FloatArray:
    """Inverse temperatures from `lowest` to 1 whose neighbours exchange in a share `acceptance` of tries: 2 … `most` of them.

    Energies at β spread by σ(β); two Gaussians of that spread whose means are σ²Δβ apart exchange with probability
    erfc(σΔβ/2), so rungs are evenly spaced in ∫σ dβ. σ is measured by a short run on 24 rungs.
    """
    if not model.order.size:
        return np.ones(1)
    pilot = np.geomspace(lowest, 1.0, 24)
    run = Ladders(model, pilot, 8, (*seed, 7), threads=threads)
    run.sweep(100)
    seen = np.empty((50, 8, pilot.size))
    for reading in seen:
        run.sweep(2)
        reading[:] = run.energies()
    spread = seen.reshape(-1, pilot.size).std(axis=0)
    length = np.concatenate([[0.0], np.cumsum(np.diff(pilot) * (spread[1:] + spread[:-1]) / 2)])
    gap = 2 * float(special.erfcinv(acceptance))
    rungs = int(np.clip(np.ceil(length[-1] / gap) + 1, 2, most))
    # where energies do not spread, length stands still
    length += np.arange(pilot.size) * 1e-9 * max(length[-1], 1.0)
    betas = np.interp(np.linspace(0.0, length[-1], rungs), length, pilot)
    betas[-1] = 1.0
    return betas


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
    def rungs(self) -> int:
        """How many there are."""
        return int(self._betas.size)

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

    def energies(self) -> FloatArray:
        """−½ sᵀJs − h·s of the replica on each rung [ladders, rungs]."""
        return self._chains.energies()[self._chain]

    def top(self) -> NDArray[np.int8]:
        """The spins [ladders, n] at the temperature that is asked for."""
        return self._chains.spins()[self._chain[:, -1]]

    def export(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs, as plain arrays."""
        own = {
            "accepted": self._accepted.copy(),
            "chain": self._chain.copy(),
            "done": np.array([self._done]),
            "tried": self._tried.copy(),
        }
        return {**self._chains.export(), **own}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave. Raises E0555 when it belongs to another run."""
        self._chains.restore(state)
        self._chain[:], self._accepted[:], self._tried[:] = (state[k] for k in ("chain", "accepted", "tried"))
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
