"""`trajectory`: paths of the device's own dynamics, asked for by a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.backend import Backend
from spucc.device import Family
from spucc.diagnostics import fail
from spucc.energy import Query
from spucc.running.results import Answer
from spucc.running.taker import Plan
from spucc.stages import Job, Program, source_maps

if TYPE_CHECKING:
    from spucc.targets.langevin.paths import Paths
    from spucc.targets.paths import LinearPaths


class Trajectory:
    """Takes part in a run as the estimates do, but simulates paths of its own.

    Of a run of `plan.draws` draws on each of `plan.chains` chains it makes `plan.chains` paths, read at `plan.draws` times
    that divide the query's duration evenly. All coordinates start at 0 (what is observed at its value) unless the query gives
    a start; coils start without a current.
    """

    def __init__(
        self, program: Program, query: Query, plan: Plan, seed: int, engine: Backend | None = None
    ) -> None:
        """Raises E0738 for an engine that cannot begin at a start."""
        if engine is not None and not getattr(_reals(engine), "follows", True):
            fail(
                "E0738",
                f"the backend `{engine.name}` does not follow a path from a given start, as `{query.name}` asks for",
                help="leave --backend out, or choose board-model; `sample` with --mode trajectory runs on any",
            )
        self.query = query
        self._engine = engine
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
        a path that escapes, E0493 for a job in a loop with the host."""
        query, plan = self.query, self._plan
        form, duration = query.form, query.duration
        assert form is not None and duration is not None
        maps, offset = source_maps(self._program)
        start = np.zeros(offset.size) if query.start is None else np.asarray(query.start)
        # what no job carries was observed, and stays where it is
        x = np.broadcast_to(offset, (plan.chains, plan.draws, offset.size)).copy()
        heat = np.zeros(plan.chains)
        found = [
            self._follow(job, np.asarray(m.T @ (start - offset)), duration)
            for job, m in zip(self._program.jobs, maps)
        ]
        for got, m in zip(found, maps):
            x += np.asarray((m @ got.values.reshape(-1, m.shape[1]).T).T).reshape(x.shape)
            heat += got.heat
        error = float(heat.std(ddof=1) / np.sqrt(heat.size)) if heat.size > 1 else np.nan
        note = (
            f"{plan.chains} paths read at {plan.draws} times; {_worst(found)}; "
            f"heat to the bath {heat.mean():.4g} ± {error:.2g} kT a path"
        )
        return Answer(
            query.name,
            query.kind,
            form.at(x),
            chains=plan.chains,
            note=note,
            extra={"time": duration * np.arange(1, plan.draws + 1) / plan.draws, "heat": heat},
        )

    def _follow(self, job: Job, start: FloatArray, duration: float) -> Paths | LinearPaths:
        """The paths of one job, by the equation of its device's family, or by the backend's own."""
        device, plan = self._program.device_of(job), self._plan
        follow: Callable[..., Paths | LinearPaths]
        if hasattr(_reals(self._engine), "follow"):
            follow = _reals(self._engine).follow
        elif device.family is Family.LANGEVIN:
            from spucc.targets.langevin.paths import follow
        else:
            from spucc.targets.paths import follow
        return follow(
            job, device, start, duration=duration, times=plan.draws, paths=plan.chains, seed=self._seed
        )


def _reals(engine: Backend | None) -> Any:
    """Of the backends of a pair, that of the reals."""
    return getattr(engine, "reals", engine)


def _worst(found: Sequence[Paths | LinearPaths]) -> str:
    """How far paths are from the device's equation, the worst of all jobs."""
    stepped = [p for p in found if not hasattr(p, "error")]
    if stepped:
        return (
            f"time step {max(p.step for p in stepped):.3g} (bias of <x^2> up to {max(p.bias for p in stepped):.1g}), "
            f"mobility {max(p.mobility for p in stepped):.3g}"
        )
    error = max((p.error for p in found if hasattr(p, "error")), default=0.0)
    return f"steps within {error:.1g} sd of the circuit's" if error else "steps without discretisation error"
