"""Many trajectories of one potential in JAX: `Walkers`' dynamics where JAX finds an accelerator, in single precision.

Trajectory c draws its numbers from (seed, c, step) alone, so that a run goes on from what `export` gave, and trajectories are the
same, up to the rounding of products, whatever stands beside them. Fourth powers and pair couplings only: all that a device has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.targets.langevin.potential import Potential


class JaxWalkers:
    """As `spucc.targets.langevin.walkers.Walkers`, with one mobility for all units."""

    def __init__(
        self,
        potential: Potential,
        count: int,
        seed: tuple[int, ...],
        *,
        temperature: float = 1.0,
        mobility: float = 1.0,
        start: FloatArray | None = None,
    ) -> None:
        if not 0 < temperature < np.inf:
            fail(
                "E0553",
                f"units cannot be at the temperature {temperature:g}",
                help="give a temperature above 0",
            )
        assert not potential.others
        self.potential, self.count, self.temperature = potential, count, temperature
        self.mobility = np.broadcast_to(np.asarray(mobility, dtype=np.float64), (potential.n,))
        self._terms = tuple(
            jnp.asarray(v, jnp.float32)
            for v in (potential.linear, potential.quadratic.toarray(), potential.quartic)
        )
        # any tuple of words to the two words of a key
        words = np.random.SeedSequence(seed).generate_state(2)
        self._key = jnp.asarray(words, jnp.uint32)
        self._x = jnp.broadcast_to(
            jnp.asarray(0.0 if start is None else start, jnp.float32), (count, potential.n)
        )
        self._done = 0

    def adjusted(self, step: float, count: int) -> FloatArray:
        """`count` steps of the Metropolis-adjusted Langevin algorithm; the share accepted [count of trajectories]."""
        drift = self._mobility() * step
        self._x, share = _adjusted(
            self._x, self._terms, self._key, self._done, count, drift, self.temperature
        )
        self._done += count
        return np.asarray(share, dtype=np.float64)

    def overdamped(self, step: float, count: int) -> None:
        """`count` Leimkuhler–Matthews steps of `step` time units. Raises E0554 when a trajectory escapes."""
        drift = self._mobility() * step
        self._x = _overdamped(self._x, self._terms, self._key, self._done, count, drift, self.temperature)
        self._done += count
        if not bool(jnp.isfinite(self._x).all()):
            fail(
                "E0554",
                f"a trajectory escaped: the time step {step:g} is too long for the steepest unit",
                help="let the step be chosen from the energy, or give a shorter one",
            )

    def _mobility(self) -> float:
        return float(self.mobility[0]) if self.potential.n else 1.0

    def positions(self) -> FloatArray:
        """The present positions [count, n]."""
        return np.asarray(self._x, dtype=np.float64)

    def export(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs, as plain arrays."""
        return {"x": np.asarray(self._x), "done": np.array([self._done])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave. Raises E0555 when it belongs to another run."""
        x = state.get("x")
        if x is None or x.shape != self._x.shape:
            fail("E0555", "the checkpoint is of a run with other units or chains", help="start again")
        self._x, self._done = jnp.asarray(x), int(state["done"][0])


def _slope(x: Any, terms: Any) -> Any:
    linear, quadratic, quartic = terms
    return linear + x @ quadratic + 4 * quartic * x**3


def _energy(x: Any, terms: Any) -> Any:
    linear, quadratic, quartic = terms
    return (x * (linear + 0.5 * (x @ quadratic) + quartic * x**3)).sum(axis=1)


def _noise(key: Any, step: Any, shape: tuple[int, int], kind: int) -> Any:
    """Numbers of one step: standard normal [count, n], or uniform [count] for kind 1."""
    draw = jax.random.normal if kind == 0 else jax.random.uniform
    at = jax.vmap(lambda c: jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, c), step), kind))
    keys = at(jnp.arange(shape[0]))
    return jax.vmap(lambda k: draw(k, (shape[1],) if kind == 0 else (), jnp.float32))(keys)


def _follow(x: Any, terms: Any, key: Any, done: Any, count: Any, drift: Any, temperature: Any) -> Any:
    """x ← x − μh ∇V + √(2μkT h) (R_k + R_{k+1})/2 (Leimkuhler and Matthews 2013)."""
    half = jnp.sqrt(2 * drift * temperature) / 2

    def step(k: Any, held: Any) -> Any:
        x, old = held
        fresh = _noise(key, done + k + 1, x.shape, 0)
        return x - drift * _slope(x, terms) + half * (old + fresh), fresh

    return jax.lax.fori_loop(0, count, step, (x, _noise(key, done, x.shape, 0)))[0]


def _sample(x: Any, terms: Any, key: Any, done: Any, count: Any, drift: Any, temperature: Any) -> Any:
    """The drift is at most three standard deviations of the noise, as in `spucc.targets.langevin.steps`."""
    spread = jnp.sqrt(2 * drift * temperature)

    def moved(x: Any) -> Any:
        return x - jnp.clip(drift * _slope(x, terms), -3 * spread, 3 * spread)

    def step(k: Any, held: Any) -> Any:
        x, v, taken = held
        r = _noise(key, done + k, x.shape, 0)
        y = moved(x) + spread * r
        back = (x - moved(y)) / spread
        vy = _energy(y, terms)
        gain = (v - vy) / temperature + 0.5 * (r * r - back * back).sum(axis=1)
        take = jnp.log(_noise(key, done + k, x.shape, 1)) < jnp.where(jnp.isfinite(gain), gain, -jnp.inf)
        return jnp.where(take[:, None], y, x), jnp.where(take, vy, v), taken + take

    start = (x, _energy(x, terms), jnp.zeros(x.shape[0]))
    x, _, taken = jax.lax.fori_loop(0, count, step, start)
    return x, taken / jnp.maximum(count, 1)


_overdamped, _adjusted = jax.jit(_follow), jax.jit(_sample)
