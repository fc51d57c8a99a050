"""Many trajectories of one potential, stepped in blocks of lanes.

As with spins, lane k depends on the seed and on k alone; `export` and `restore` carry a run across a stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.targets.langevin.potential import Potential

LANES = 64
PAD = 16


class Walkers:
    """`count` trajectories of V at temperature kT, from `start` ([n] or [count, n], default 0).

    `mobility` is μ (a number or one a unit). Methods: `overdamped` and `underdamped` follow the dynamics;
    `adjusted` samples the equilibrium without any error of the step.
    """

    def __init__(
        self,
        potential: Potential,
        count: int,
        seed: tuple[int, ...],
        *,
        temperature: float = 1.0,
        mobility: float | FloatArray = 1.0,
        start: FloatArray | None = None,
        threads: int = 1,
    ) -> None:
        from spucc.targets.kernels import lane_state

        if not 0 < temperature < np.inf:
            fail(
                "E0553",
                f"units cannot be at the temperature {temperature:g}",
                help="give a temperature above 0; for the state of least energy ask for `argmin()`",
            )
        self.potential, self.count, self.temperature, self.threads = potential, count, temperature, threads
        self.mobility = np.broadcast_to(np.asarray(mobility, dtype=np.float64), (potential.n,))
        begun = np.broadcast_to(0.0 if start is None else start, (count, potential.n))
        self._x: list[FloatArray] = []
        self._state: list[NDArray[np.uint32]] = []
        self._noise: list[NDArray[np.float32]] = []
        self._speed: list[FloatArray] = []
        for first in range(0, count, LANES):
            used = min(LANES, count - first)
            lanes = -(-used // PAD) * PAD
            x = np.ones((potential.n + 1, lanes))
            x[:-1] = np.resize(begun[first : first + used], (lanes, potential.n)).T
            self._x.append(x)
            state = lane_state((*seed, 7), first, lanes)
            self._state.append(state)
            self._noise.append(_normals(potential.n, state).astype(np.float32))
            self._speed.append(np.zeros((potential.n, lanes)))

    # --- the dynamics ---------------------------------------------------------------------------------

    def overdamped(self, step: float, count: int) -> None:
        """`count` Leimkuhler–Matthews steps of `step` time units. Raises E0554 when a trajectory escapes."""
        from spucc.targets.langevin import steps

        drift = self.mobility * step
        spread = np.sqrt(2 * self.mobility * self.temperature * step) / 2

        def block(k: int) -> None:
            for _ in range(count):
                g = self._slope(self._x[k])
                steps.leimkuhler_matthews(self._x[k], g, self._noise[k], self._state[k], drift, spread)

        self._each(block)
        self._check(step)

    def heun(self, step: float, count: int) -> None:
        """`count` steps of Heun's method with added noise: weak order 2 at any time, where `overdamped`, quicker and better in
        equilibrium, has order 1 on the way there. Raises E0554 when a trajectory escapes."""
        from spucc.targets.kernels import lane_normals

        drift = (self.mobility * step)[:, None]
        spread = np.sqrt(2 * self.temperature * drift)

        def block(k: int) -> None:
            x, noise = self._x[k], self._noise[k]
            y = x.copy()
            for _ in range(count):
                lane_normals(self._state[k], noise)
                kick = spread * noise
                g = self._slope(x)
                y[:-1] = x[:-1] + kick - drift * g
                x[:-1] += kick - (0.5 * drift) * (g + self._slope(y))

        self._each(block)
        self._check(step)

    def underdamped(self, step: float, count: int, friction: float = 1.0, mass: float = 1.0) -> None:
        """`count` BAOAB steps; speeds start at 0. Raises E0554 when a trajectory escapes."""
        from spucc.targets.langevin import steps

        keep = float(np.exp(-friction * step))
        spread = float(np.sqrt((1 - keep**2) * self.temperature / mass))

        def block(k: int) -> None:
            g = self._slope(self._x[k])
            for _ in range(count):
                steps.kick(self._speed[k], g, step / (2 * mass))
                steps.drift_and_bath(self._x[k], self._speed[k], self._state[k], step / 2, keep, spread)
                g = self._slope(self._x[k])
                steps.kick(self._speed[k], g, step / (2 * mass))

        self._each(block)
        self._check(step)

    def adjusted(self, step: float | FloatArray, count: int) -> FloatArray:
        """`count` steps of the Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996; μ must be
        one number), after reflections of quartic units (`steps.reflect`).

        `step` may differ from lane to lane. Returns the share of accepted steps [count of trajectories].
        """
        from spucc.targets.kernels import lane_uniforms
        from spucc.targets.langevin import steps

        mu = float(self.mobility[0]) if self.potential.n else 1.0
        wide = np.broadcast_to(np.asarray(step, dtype=np.float64), (self.count,))
        accepted: list[FloatArray] = [np.zeros(x.shape[1]) for x in self._x]

        def block(k: int) -> None:
            x, state, lanes = self._x[k], self._state[k], self._x[k].shape[1]
            h = np.resize(wide[k * LANES : (k + 1) * LANES], lanes)
            drift, spread = mu * h, np.sqrt(2 * mu * self.temperature * h)
            y, go, back = x.copy(), np.empty(lanes), np.empty(lanes)
            p = self.potential
            if p.quartic.any() and not p.others:
                steps.reflect(p.linear, p.rows, p.dense is None, x, state, self.temperature)
            g, v = self._slope_energy(x)
            u = np.empty(lanes, np.float32)
            for _ in range(count):
                steps.propose(x, g, y, state, drift, spread, go)
                gy, vy = self._slope_energy(y)
                steps.reverse(x, y, gy, drift, spread, back)
                lane_uniforms(state, u)
                with np.errstate(invalid="ignore", over="ignore"):
                    gain = (v - vy) / self.temperature + back - go
                take = np.log(u) < np.where(np.isfinite(gain), gain, -np.inf)
                steps.accept(x, g, y, gy, take)
                v = np.where(take, vy, v)
                accepted[k] += take

        self._each(block)
        return np.concatenate(accepted)[: self.count] / max(count, 1)

    # --- what a block computes --------------------------------------------------------------------------

    def _coupled(self, x: FloatArray) -> FloatArray:
        """J x [n, lanes] of the dense couplings, zeros without them."""
        dense = self.potential.dense
        if dense is None:
            return np.zeros((self.potential.n, x.shape[1]))
        return (dense @ x[:-1].astype(np.float32)).astype(np.float64)

    def _slope(self, x: FloatArray) -> FloatArray:
        from spucc.targets.langevin import steps

        p, g = self.potential, self._coupled(x)
        steps.slope(p.linear, p.diagonal, p.quartic, p.rows, p.slopes, x, g)
        return g

    def _slope_energy(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        from spucc.targets.langevin import steps

        p, g = self.potential, self._coupled(x)
        v = np.empty(x.shape[1])
        steps.energy(p.linear, p.diagonal, p.quartic, p.rows, p.slopes, g, x, v)
        steps.slope(p.linear, p.diagonal, p.quartic, p.rows, p.slopes, x, g)
        return g, v

    def _each(self, work: Callable[[int], None]) -> None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            if self.threads == 1 or len(self._x) == 1:
                for k in range(len(self._x)):
                    work(k)
                return
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, range(len(self._x))))

    def _check(self, step: float) -> None:
        if not all(np.isfinite(x).all() for x in self._x):
            fail(
                "E0554",
                f"a trajectory escaped: the time step {step:g} is too long for the steepest unit",
                help="let the step be chosen from the energy, or give a shorter one",
            )

    # --- what is read -----------------------------------------------------------------------------------

    def positions(self) -> FloatArray:
        """The present positions [count, n]."""
        return np.concatenate([x[:-1].T for x in self._x])[: self.count]

    def energies(self) -> FloatArray:
        """V of each trajectory [count]."""
        return np.concatenate([self._slope_energy(x)[1] for x in self._x])[: self.count]

    def export(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs, as plain arrays."""
        state: dict[str, NDArray[Any]] = {}
        for name, blocks in self._parts().items():
            for k, block in enumerate(blocks):
                state[f"{name}.{k}"] = block.copy()
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave. Raises E0555 when it belongs to another run."""
        for name, blocks in self._parts().items():
            for k, block in enumerate(blocks):
                given = state.get(f"{name}.{k}")
                if given is None or given.shape != block.shape or given.dtype != block.dtype:
                    fail("E0555", "the checkpoint is of a run with other units or chains", help="start again")
                block[:] = given

    def _parts(self) -> dict[str, Any]:
        return {"x": self._x, "random": self._state, "noise": self._noise, "speed": self._speed}


def _normals(n: int, state: NDArray[np.uint32]) -> FloatArray:
    from spucc.targets.kernels import lane_normals

    out = np.empty((n, state.shape[1]), np.float32)
    lane_normals(state, out)
    return out.astype(np.float64)
