"""`argmin`: the state of least energy."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.energy import Energy, Query
from spucc.readback import Affine, fold
from spucc.results import Answer
from spucc.stages import Program, source_maps
from spucc.turns import takes_turns


class Minimum:
    """`argmin`: the state of least energy among the draws; for Gaussian models also their mean, and for spins and bits what a
    search finds, with a bound that no state goes below. Where reals and spins are drawn apart the reals are put where the
    spins want them."""

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
        """Search a model of spins and bits with pair couplings; what can be said of the state, empty where nothing can."""
        model = self._program.model
        whole = np.zeros(model.n)
        two = np.sort(np.concatenate(model.domains[1:]))
        if not two.size or model.higher or (two.size < model.n and not self._apart):
            return ""
        from spucc.passes.split import restricted
        from spucc.targets.spins.queries import best_state

        found = best_state(restricted(model, two), self._seed)
        whole[two] = found.state
        back = fold(
            [s.readback for s in self._program.steps if s.readback is not None], self._program.source.n
        )[0]
        assert isinstance(back, Affine)
        state = back.draws(whole[None, :])
        self._try(state)
        # the model's constant may differ from the source's by what was observed
        bound = found.bound + float(_energy(self._program.source, state)[0]) - found.energy
        if found.proof == "exact":
            return "and no state has less"
        return f"and no state is below {min(bound, self._energy):.6g} ({found.proof})"


def _energy(source: Energy, x: FloatArray) -> FloatArray:
    """E of each row, the Gaussians of matrix queries left out."""
    hidden = [v for v in source.variables if v.stands_for]
    if hidden:
        x = x.copy()
        for v in hidden:
            x[:, v.start : v.stop] = 0.0
    return source.at(x)
