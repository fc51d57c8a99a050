"""`argmin`: the state of least energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.energy import Energy, Query
from spucc.readback import Affine, fold
from spucc.running.mixed import solve_proper
from spucc.running.results import Answer
from spucc.running.turns import takes_turns
from spucc.stages import Program, source_maps


class Minimum:
    """`argmin`: the state of least energy among the draws; for Gaussian models also their mean, and for spins and bits what a
    search finds, with a bound that no state goes below. Where reals and spins are drawn apart, or are Gaussian given the spins,
    the reals are put where the spins want them."""

    def __init__(self, program: Program, query: Query, seed: int = 0) -> None:
        self.query, self._seed = query, seed
        self._program = program
        self._maps, self._offset = source_maps(program)
        self._apart = program.device.partner is not None and not takes_turns(program)
        if self._apart:
            # the Gaussian part is of least energy at 0
            self._maps = [0 * m if j.target.is_gaussian else m for m, j in zip(self._maps, program.jobs)]
        self._model = [v for v in program.source.variables if not v.stands_for]
        self._state: FloatArray | None = None
        self._energy = np.inf
        self._sum: FloatArray = np.zeros(program.source.n)
        self._count = 0

    def add(self, chunks: list[FloatArray]) -> None:
        width = max(1, (1 << 22) // max(self._offset.size, 1))
        rows = chunks[0].shape[0] * chunks[0].shape[1]
        for start in range(0, rows, width):
            x: FloatArray = np.zeros((min(width, rows - start), self._offset.size)) + self._offset
            for m, c in zip(self._maps, chunks):
                x += np.asarray((m @ c.reshape(rows, -1)[start : start + width].T).T)
            self._sum += x.sum(axis=0)
            self._count += x.shape[0]
            self._try(x)

    def _try(self, x: FloatArray) -> None:
        energy = _energy(self._program.source, x)
        k = int(np.argmin(energy))
        if energy[k] < self._energy:
            self._energy, self._state = float(energy[k]), x[k].copy()

    def sums(self) -> FloatArray:
        """What is carried from draw to draw, as one vector."""
        state = np.full(self._sum.size, np.nan) if self._state is None else self._state
        return np.concatenate([[self._energy, float(self._count)], state, self._sum])

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Go on with what `sums` gave."""
        if sums is not None and seen:
            n = self._sum.size
            self._energy, self._count = float(sums[0]), int(sums[1])
            self._state, self._sum = sums[2 : 2 + n].copy(), sums[2 + n :].copy()

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""
        return tuple((f"{self.query.name}.{v.name}", v.shape) for v in self._model)

    def answer(self) -> Answer:
        if self._program.source.is_gaussian and self._count:
            self._try((self._sum / self._count)[None, :])
        note = self._searched()
        assert self._state is not None
        parts = [self._state[v.start : v.stop] for v in self._model]
        return Answer(
            self.query.name,
            self.query.kind,
            np.concatenate(parts) if parts else np.zeros(0),
            parts=tuple((v.name, v.shape) for v in self._model),
            note=f"energy {self._energy:.6g}, {note or f'the least found in {self._count} draws'}",
        )

    def _searched(self) -> str:
        """Search the spins and bits of a model; what can be said of the state, empty where nothing can."""
        model = self._program.model
        whole = np.zeros(model.n)
        two = np.sort(np.concatenate(model.domains[1:]))
        if not two.size:
            return ""
        back = fold(
            [s.readback for s in self._program.steps if s.readback is not None], self._program.source.n
        )[0]
        assert isinstance(back, Affine)
        if takes_turns(self._program):
            assert self._state is not None
            found = reals_given_spins(
                model, two, np.asarray(back.matrix.T @ (self._state - back.offset)), self._seed
            )
            if found is None:
                return ""
            self._try(back.draws(found[0][None, :]))
            return found[1]
        if two.size < model.n and not self._apart:
            return ""
        from spucc.passes.split import restricted
        from spucc.targets.spins.queries import best_state

        best = best_state(restricted(model, two), self._seed)
        whole[two] = best.state
        state = back.draws(whole[None, :])
        self._try(state)
        # the model's constant may differ from the source's by what was observed
        bound = best.bound + float(_energy(self._program.source, state)[0]) - best.energy
        if best.proof == "exact":
            return "and no state has less"
        return f"and no state is below {min(bound, self._energy):.6g} ({best.proof})"


def reals_given_spins(
    model: Energy, two: IntArray, start: FloatArray, seed: int = 0
) -> tuple[FloatArray, str] | None:
    """The state [n] of least energy of a model that is Gaussian given its spins and bits, the coordinates `two`, and what is
    known of it; None where it is not Gaussian.

    Given them the reals x minimise ½ xᵀQx + b·x, at −Q⁻¹b. Of up to 12 every state is looked at; of more, single flips that
    lower that minimum are made until there are none, from `start` [n] and then from tosses of a coin, as long as `_FLIPS` last.
    Raises E0515 where the
    reals have no minimum.
    """
    from spucc.conditioning import conditioned

    real, spin, _ = model.domains
    low = np.where(np.isin(two, spin), -1.0, 0.0)

    def best(s: FloatArray) -> tuple[float, FloatArray]:
        given = conditioned(model, real, two, s)
        x = -solve_proper(given.quadratic.tocsr().tocsc(), given.linear, given, np.arange(real.size))
        return given.constant + 0.5 * float(given.linear @ x), x

    if any(np.isin(t.index, real).sum(axis=1).max(initial=0) > 2 for t in model.higher):
        return None
    if two.size <= 12:
        codes = (np.arange(2**two.size)[:, None] >> np.arange(two.size)) & 1
        states = np.where(codes == 1, 1.0, low)
        s = states[int(np.argmin([best(state)[0] for state in states]))]
        said = "and no state has less"
    else:
        s, settled, tried, least = start[two], False, 0, np.inf
        begin, rng = s, np.random.Generator(np.random.Philox(abs(seed)))
        while tried < _FLIPS:
            end, energy, count = _descended(lambda x: best(x)[0], begin, low, _FLIPS - tried)
            tried += count
            if energy < least - 1e-12 * max(1.0, abs(least)) or not np.isfinite(least):
                s, least, settled = end, energy, tried < _FLIPS
            begin = np.where(rng.random(two.size) < 0.5, low, 1.0)
        said = f"the reals best for its spins{', and no flip of one lowers it' if settled else ''}"
    state = np.empty(model.n)
    state[two], state[real] = s, best(s)[1]
    return state, said


_FLIPS = 2048
"""Flips of one spin that are tried, each a system of equations."""


def _descended(
    energy: Callable[[FloatArray], float], s: FloatArray, low: FloatArray, most: int
) -> tuple[FloatArray, float, int]:
    """Where flips that lower the energy lead from s [k], what it is there, and how many were tried, at most about `most`."""
    now, tried, still = energy(s), 0, 0
    while still < s.size and tried < most:
        k = tried % s.size
        flipped = s.copy()
        flipped[k] = low[k] + 1.0 - s[k]
        other = energy(flipped)
        tried, still = tried + 1, still + 1
        if other < now - 1e-12 * max(1.0, abs(now)):
            s, now, still = flipped, other, 0
    return s, now, tried


def _energy(source: Energy, x: FloatArray) -> FloatArray:
    """E of each row, the Gaussians of matrix queries left out."""
    hidden = [v for v in source.variables if v.stands_for]
    if hidden:
        x = x.copy()
        for v in hidden:
            x[:, v.start : v.stop] = 0.0
    return source.at(x)
