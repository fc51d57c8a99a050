"""The file that a run writes as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import QueryKind
from spucc.running.estimates import Estimate
from spucc.running.results import Answer, Result
from spucc.running.taker import Plan, Taker
from spucc.stages import Program

if TYPE_CHECKING:
    from spucc.running.claim import Claim
    from spucc.running.draws_file import DrawsFile, Layout


class Tape:
    """The file that a run writes as it goes, if it writes one."""

    def __init__(
        self,
        path: Path | None,
        plan: Plan,
        takers: Sequence[Taker],
        origin: dict[str, Any],
        program: Program,
    ) -> None:
        self._path, self._plan, self._takers, self._origin, self._program = (
            path,
            plan,
            takers,
            origin,
            program,
        )
        self._claim: Claim | None = None
        self._file: DrawsFile | None = None
        self.done = 0

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *problem: object) -> None:
        if self._file is not None:
            self._file.close()
        elif self._claim is not None:
            self._claim.drop()

    def claim(self) -> None:
        """Make sure, before anything is drawn, that no other run writes the file. Raises E0742, E0392."""
        from spucc.running.claim import Claim

        if self._path is not None:
            self._claim = Claim(self._path)

    def take_up(self) -> None:
        """Go on with the file that is there. Raises E0744, E0745."""
        from spucc.running.draws_file import resume

        if self._path is None:
            fail("E0745", "there is no file to resume", help="name it with -o FILE.nc")
        self._file = resume(self._path, self._origin)
        self.done = self._file.done
        self._attach()
        for taker in self._takers if self.done else ():
            taker.restore(self._file.restored(f"sum_{taker.query.name}"), self.done)

    def states(self) -> list[FloatArray | None]:
        """The state of each job to go on from."""
        names = [f"state_{k}" for k in range(len(self._program.jobs))]
        return [None if self._file is None or not self.done else self._file.restored(n) for n in names]

    def bytes(self) -> int:
        """The size of the file to be, without states."""
        return 0 if self._path is None else self._layout([]).bytes

    def begin(self, states: Sequence[FloatArray | None], notes: dict[str, Any]) -> None:
        """Create the file when the first draws are there: only then is it known what a job's state is, and what its
        backend says of itself in `notes`."""
        if self._claim is None or self._file is not None:
            return
        from spucc.running.draws_file import create
        from spucc.running.stored import packed

        layout = replace(self._layout(states), program=packed(self._program))
        self._file = create(self._claim, layout, {**self._origin, **notes})
        self._attach()

    def mark(self, seen: int, states: Sequence[FloatArray | None]) -> None:
        """A checkpoint after `seen` draws, where every job can go on from."""
        if self._file is None:
            return
        held = {f"state_{k}": s for k, s in enumerate(states) if s is not None}
        self._file.checkpoint(seen, self._sums(), held)

    def finish(self, answers: Sequence[Answer], complete: bool) -> None:
        """Write the answers; those of an interrupted run too, of the draws so far."""
        if self._file is None or self._file.finished:
            return
        seen = max((t.seen for t in self._takers if isinstance(t, Estimate)), default=self._plan.draws)
        found = Result(tuple(answers), {"samples": seen * self._plan.chains})
        for name, value in found.arrays().items():
            if f"answers/{name}" in self._file:
                self._file.array(f"answers/{name}")[...] = value
        if complete:
            self._file.checkpoint(self._plan.draws, self._sums(), {}, finished=True)

    def _sums(self) -> dict[str, FloatArray]:
        return {f"sum_{t.query.name}": t.sums() for t in self._takers}

    def _attach(self) -> None:
        assert self._file is not None
        shared, written = self._places(), set[str]()
        for t in self._takers:
            if isinstance(t, Estimate) and t.keeps:
                name = t.query.name
                # Files of earlier versions hold the draws of each query apart.
                place = f"run/{name}" if f"run/{name}" in self._file else shared[name]
                array = self._file.array(place) if t.size else np.empty(0)
                t.kept = array.reshape(self._plan.chains, self._plan.draws, t.size)
                # Draws that are kept once are written once.
                t.reads = place in written
                written.add(place)

    def _places(self) -> dict[str, str]:
        """Where the draws of each query are kept: once for all queries that ask about the same, with those of `sample`
        where there is one."""
        own = [t for t in self._takers if isinstance(t, Estimate) and t.keeps]
        own.sort(key=lambda t: t.query.kind is not QueryKind.SAMPLE)
        first: dict[object, str] = {}
        found = {}
        for t in own:
            name = t.query.name
            if t.query.kind is QueryKind.SAMPLE:
                found[name] = f"posterior/{name}"
                first.setdefault(_subject(t), found[name])
            else:
                found[name] = first.setdefault(_subject(t), f"run/{name}")
        return found

    def _layout(self, states: Sequence[FloatArray | None]) -> Layout:
        from spucc.running.draws_file import Layout

        own = [t for t in self._takers if isinstance(t, Estimate) and t.keeps]
        places = self._places()
        return Layout(
            chains=self._plan.chains,
            draws=self._plan.draws,
            samples=tuple((t.query.name, t.shape) for t in own if t.query.kind is QueryKind.SAMPLE),
            kept=tuple((t.query.name, t.size) for t in own if places[t.query.name] == f"run/{t.query.name}"),
            answers=tuple(pair for t in self._takers for pair in (*t.answer_shapes(), *_figure_shapes(t))),
            sums=tuple((f"sum_{t.query.name}", t.sums().size) for t in self._takers if t.sums().size),
            states=tuple((f"state_{k}", s.shape) for k, s in enumerate(states) if s is not None),
        )


def _subject(t: Estimate) -> object:
    """What a query asks about, equal for queries whose draws are the same numbers."""
    form = t.query.form
    assert form is not None
    if t.query.products:
        return t.query.name
    m = form.matrix
    return m.shape, m.indptr.tobytes(), m.indices.tobytes(), m.data.tobytes(), form.offset.tobytes()


def _figure_shapes(t: Taker) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The arrays that tell how good an estimate is, beside its error."""
    if not isinstance(t, Estimate):
        return ()
    name = t.query.name
    scheduled = [(f"{name}.scheduled", shape) for n, shape in t.answer_shapes() if n == f"{name}.error"]
    rhat = [(f"{name}.rhat", t.shape)] if t.chains > 1 and not t.independent else []
    return (*scheduled, (f"{name}.ess", t.shape), *rhat, (f"{name}.autocorrelation", t.shape))
