"""`trajectory`: paths of the device's own dynamics, asked for by a program."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.energy import Query
from spucc.results import Answer
from spucc.stages import Program, source_maps
from spucc.taker import Plan


class Trajectory:
    """Takes part in a run as the estimates do, but simulates paths of its own.

    Of a run of `plan.draws` draws on each of `plan.chains` chains it makes `plan.chains` paths, read at `plan.draws` times
    that divide the query's duration evenly. All coordinates start at 0 (what is observed at its value) unless the query gives
    a start.
    """

    def __init__(self, program: Program, query: Query, plan: Plan, seed: int) -> None:
        self.query = query
        self._program, self._plan, self._seed = program, plan, seed

    def add(self, chunks: list[FloatArray]) -> None:
        """Draws in equilibrium say nothing of a path from a start."""

    def sums(self) -> FloatArray:
        return np.zeros(0)

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Nothing is carried along."""

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""
        assert self.query.form is not None
        name, paths = self.query.name, self._plan.chains
        return (
            (name, (paths, self._plan.draws, *self.query.form.shape)),
            (f"{name}.time", (self._plan.draws,)),
            (f"{name}.heat", (paths,)),
        )

    def answer(self) -> Answer:
        """`value` [paths, times, *shape]; `extra`: `time` [times] in the device's unit, `heat` [paths] in kT. Raises E0554 for
        a path that escapes."""
        from spucc.targets.langevin.paths import follow

        query, plan = self.query, self._plan
        form, duration = query.form, query.duration
        assert form is not None and duration is not None
        maps, offset = source_maps(self._program)
        start = np.zeros(offset.size) if query.start is None else np.asarray(query.start)
        # what no job carries was observed, and stays where it is
        x = np.broadcast_to(offset, (plan.chains, plan.draws, offset.size)).copy()
        heat = np.zeros(plan.chains)
        steps, biases, mobilities = [0.0], [0.0], [0.0]
        for job, m in zip(self._program.jobs, maps):
            got = follow(
                job,
                self._program.device,
                np.asarray(m.T @ (start - offset)),
                duration=duration,
                times=plan.draws,
                paths=plan.chains,
                seed=self._seed,
            )
            x += np.asarray((m @ got.values.reshape(-1, m.shape[1]).T).T).reshape(x.shape)
            heat += got.heat
            steps.append(got.step)
            biases.append(got.bias)
            mobilities.append(got.mobility)
        error = float(heat.std(ddof=1) / np.sqrt(heat.size)) if heat.size > 1 else np.nan
        note = (
            f"{plan.chains} paths read at {plan.draws} times; time step {max(steps):.3g} (bias of <x^2> up to {max(biases):.1g}),"
            f" mobility {max(mobilities):.3g}; heat to the bath {heat.mean():.4g} ± {error:.2g} kT a path"
        )
        return Answer(
            query.name,
            query.kind,
            form.at(x),
            chains=plan.chains,
            note=note,
            extra={"time": duration * np.arange(1, plan.draws + 1) / plan.draws, "heat": heat},
        )
