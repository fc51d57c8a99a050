"""Many chains of one spin system, swept in blocks of lanes.

A run is the same bytes whatever the number of threads: each block has its own spins and its own random
streams, and no block sees another. `Chains.export` and `Chains.restore` carry a run across a stop: the
resumed run goes on as if there had been none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.targets.lanes import lane_seeds, lane_state
from spucc.targets.machine_code import Native
from spucc.targets.spins.model import SpinModel

_SWEEPS = "spucc.targets.spins.sweeps"
_heat_bath, _metropolis = Native(_SWEEPS, "heat_bath"), Native(_SWEEPS, "metropolis")
_energies, _descend = Native(_SWEEPS, "energies"), Native(_SWEEPS, "descend")
_draw_layer = Native(_SWEEPS, "draw_layer")

LANES = 64
"""Chains of a block. Blocks are padded to `PAD` chains so that vector instructions fill."""
PAD = 16


class Chains:
    """`chains` Markov chains of `model`, each with its own random stream derived from `seed` and its number.

    `beta` (a number, or one for each chain) multiplies the energy. `method` is `heat-bath` or `metropolis`.
    `start` gives the first spins [chains, n] or [n]; without it free spins start at random. Clamped spins
    keep their start.
    """

    def __init__(
        self,
        model: SpinModel,
        chains: int,
        seed: tuple[int, ...],
        *,
        beta: float | FloatArray = 1.0,
        method: str = "heat-bath",
        start: FloatArray | None = None,
        threads: int = 1,
    ) -> None:
        if method not in ("heat-bath", "metropolis"):
            raise ValueError(f"`{method}` is not a sweep: choose heat-bath or metropolis")
        self.model, self.chains, self.method, self.threads = model, chains, method, threads
        self._strength, self._weight = 1.0, model.arrays[2].copy()
        self._spins: list[NDArray[np.float32]] = []
        self._state: list[NDArray[np.uint32]] = []
        self._beta: list[NDArray[np.float32]] = []
        self._sweeps: dict[int, Callable[[int], None]] = {}
        """The sweep of each block, its arrays bound; they only ever change in place."""
        every = np.broadcast_to(np.asarray(beta, dtype=np.float32), (chains,))
        for first in range(0, chains, LANES):
            used = min(LANES, chains - first)
            lanes = -(-used // PAD) * PAD
            self._state.append(lane_state((*seed, 0), first, lanes))
            self._beta.append(np.ascontiguousarray(np.resize(every[first : first + used], lanes)))
            words = lane_seeds((*seed, 1), first, lanes, -(-model.n // 64) or 1)
            bits = (
                np.repeat(words, 64, axis=0)[: model.n] >> (np.arange(model.n, dtype=np.uint64) % 64)[:, None]
            ) & 1
            spins = bits.astype(np.float32) * 2 - 1
            if start is not None:
                given = np.broadcast_to(np.asarray(start, dtype=np.float32), (chains, model.n))[
                    first : first + used
                ]
                spins[:] = np.resize(given, (lanes, model.n)).T
            self._spins.append(np.ascontiguousarray(spins))

    @property
    def strength(self) -> float:
        """Multiplies the couplings, and not the fields: the path of annealed importance sampling."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = value
        np.multiply(self.model.arrays[2], np.float32(value), out=self._weight)

    def sweep(self, count: int) -> None:
        """`count` sweeps of every chain."""
        if count and self.model.order.size:
            self._each(lambda k: self._sweep_block(k, count))

    def _sweep_block(self, k: int, count: int) -> None:
        s, beta, state = self._spins[k], self._beta[k], self._state[k]
        if self.model.layers and self.method == "heat-bath":
            for _ in range(count):
                for weight, rows, others, field in self._layers:
                    total = (weight @ s[others]) * np.float32(self.strength)
                    total += field[:, None]
                    _draw_layer(total, beta, state, rows, s)
            return
        if k not in self._sweeps:
            run = _heat_bath if self.method == "heat-bath" else _metropolis
            indptr, indices, _, field = self.model.arrays
            arrays = (indptr, indices, self._weight, field, beta, s, state, _lanes(s))
            self._sweeps[k] = run.bind(self.model.order, *arrays)
        self._sweeps[k](count)

    @property
    def _layers(
        self,
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """For each of the two layers: couplings [free units, other layer], its free units, the other layer,
        fields."""
        cached = self.__dict__.get("_layers_cache")
        if cached is None:
            model, sides = self.model, self.model.colour
            cached = []
            for side in (0, 1):
                rows = np.flatnonzero((sides == side) & ~model.clamped)
                others = np.flatnonzero(sides != side)
                weight = np.ascontiguousarray(model.couplings[rows][:, others].toarray(), dtype=np.float32)
                cached.append((weight, rows, others, model.field[rows].astype(np.float32)))
            self.__dict__["_layers_cache"] = cached
        return cached

    def descend(self, most: int = 1000) -> None:
        """Take every chain to a state that no single flip improves."""
        m = self.model
        self._each(lambda k: _descend(m.order, *m.arrays, s := self._spins[k], _lanes(s), most))

    def energy_parts(self) -> tuple[FloatArray, FloatArray]:
        """−½ sᵀJs and −h·s of each chain [chains], without β."""
        self._each(lambda k: self._measures[k][0]())
        pair, field = (np.concatenate([m[part] for m in self._measures]) for part in (1, 2))
        return pair[: self.chains], field[: self.chains]

    @cached_property
    def _measures(self) -> list[tuple[Callable[[], None], FloatArray, FloatArray]]:
        """For each block a kernel, and the two arrays [lanes] that it writes the parts of the energy to."""
        found = []
        for s in self._spins:
            pair, field = np.empty(s.shape[1]), np.empty(s.shape[1])
            found.append((_energies.bind(*self.model.arrays, s, _lanes(s), pair, field), pair, field))
        return found

    def energies(self) -> FloatArray:
        """−½ sᵀJs − h·s of each chain [chains], without β."""
        pair, field = self.energy_parts()
        return pair + field

    def spins(self) -> NDArray[np.int8]:
        """The present states [chains, n], ±1."""
        return np.concatenate([s.T for s in self._spins])[: self.chains].astype(np.int8)

    @property
    def beta(self) -> FloatArray:
        """The inverse temperature of each chain [chains]."""
        return np.concatenate(self._beta)[: self.chains].astype(np.float64)

    @beta.setter
    def beta(self, value: float | FloatArray) -> None:
        every = np.broadcast_to(np.asarray(value, dtype=np.float32), (self.chains,))
        for k, beta in enumerate(self._beta):
            beta[:] = np.resize(every[k * LANES : (k + 1) * LANES], beta.size)

    def export(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs, as plain arrays."""
        state: dict[str, NDArray[Any]] = {}
        for k in range(len(self._spins)):
            state[f"spins.{k}"] = np.packbits(self._spins[k] > 0, axis=1)
            state[f"random.{k}"] = self._state[k].copy()
            state[f"beta.{k}"] = self._beta[k].copy()
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave. Raises E0555 when it belongs to another run."""
        for k in range(len(self._spins)):
            lanes = self._spins[k].shape[1]
            packed, random, beta = (state.get(f"{part}.{k}") for part in ("spins", "random", "beta"))
            if (
                packed is None
                or random is None
                or beta is None
                or packed.shape != (self.model.n, -(-lanes // 8))
            ):
                fail(
                    "E0555",
                    "the checkpoint is of a run with other spins or chains",
                    help="start the run again",
                )
            bits = np.unpackbits(np.asarray(packed, dtype=np.uint8), axis=1, count=lanes)
            self._spins[k][:] = bits.astype(np.float32) * 2 - 1
            self._state[k][:] = random
            self._beta[k][:] = beta

    def _each(self, work: Callable[[int], object]) -> None:
        """Do `work` for every block, on as many threads as wanted; BLAS keeps to one so that sums have one
        order."""
        with _one_blas_thread(self.model.layers):
            if self.threads == 1 or len(self._spins) == 1:
                for k in range(len(self._spins)):
                    work(k)
                return
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, range(len(self._spins))))


def _lanes(s: NDArray[np.float32]) -> NDArray[np.float32]:
    """Room for a number a lane."""
    return np.empty(s.shape[1], np.float32)


@contextmanager
def _one_blas_thread(needed: bool) -> Iterator[None]:
    if not needed:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def sample(
    chains: Chains, settle: int, interval: int, draws: int, keep: NDArray[np.int64] | None = None
) -> NDArray[np.int8]:
    """Draws [chains, draws, kept spins]: `settle` sweeps, then a draw after every `interval` sweeps."""
    columns = np.arange(chains.model.n) if keep is None else keep
    out = np.empty((chains.chains, draws, columns.size), dtype=np.int8)
    chains.sweep(settle)
    for t in range(draws):
        chains.sweep(interval)
        out[:, t] = chains.spins()[:, columns]
    return out
