"""`logz` and `logdet` in a run."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.backend import Backend, Progress
from spucc.energy import Energy, Query, QueryKind
from spucc.running.results import Answer
from spucc.running.taker import Plan
from spucc.stages import Program


class Normaliser:
    """`logz` and `logdet` (`spucc.running.free_energy`): from programs of their own along a path, each run with as many draws;
    of spins and bits from the model itself. Its error is that of the work along the path; a program's schedule says nothing of
    that, so there is no scheduled one."""

    def __init__(
        self,
        program: Program,
        query: Query,
        plan: Plan,
        seed: int,
        engine: Backend,
        mode: str,
        progress: Progress,
    ) -> None:
        self.query = query
        self._program, self._plan, self._seed = program, plan, seed
        self._engine, self._mode, self._progress = engine, mode, progress

    def add(self, chunks: list[FloatArray]) -> None:
        """Draws of the program itself say nothing of its normalising constant."""

    def sums(self) -> FloatArray:
        return np.zeros(0)

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Nothing is carried along."""

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""
        return (self.query.name, ()), (f"{self.query.name}.error", ())

    def answer(self) -> Answer:
        from spucc.running.free_energy import answer, spin_answer

        model = self._program.model
        if self.query.kind is QueryKind.LOGZ and not model.is_gaussian:
            return spin_answer(self.query, model, self._seed)
        return answer(self.query, model, self._draw)

    def _draw(self, energy: Energy, number: int) -> tuple[FloatArray, float, float]:
        from spucc.driver import compile_energy

        passes = self._program.pipeline.partition(";")[0]
        program = compile_energy(energy, self._program.device.alone, passes=passes or None)
        from spucc.running.run import run_program

        result = run_program(
            program,
            samples=self._plan.draws * self._plan.chains,
            chains=self._plan.chains,
            # Each program has its own noise.
            seed=self._seed * 1_000_003 + number + 1,
            backend=getattr(self._engine, "reals", self._engine),
            mode=self._mode,
            progress=lambda text, share: self._progress(f"{self.query.name}, program {number + 1}", share),
        )
        (found,) = result.answers
        share = 1.0 if found.ess is None else float(found.ess.min()) / found.value.shape[0]
        last = {entry.job: entry.sd_error for entry in program.ledger}
        return found.value, min(share, 1.0), max(last.values(), default=0.0)
