"""`split`: parts of the model that do not interact become jobs of their own; parts that nobody asks about are dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.sparse import csgraph

from spucc.arrays import BoolArray, IntArray, frozen
from spucc.conditioning import restrict_origins
from spucc.energy import Energy, Monomials, QueryKind, restrict_variables
from spucc.pipeline import Context, Pass
from spucc.readback import Affine, fold
from spucc.stages import Job, Stage, State, Step


@dataclass(frozen=True)
class Split(Pass):
    """One job for every independent part. Beyond `most` parts, neighbours share a job as far as the device has cells."""

    name: ClassVar[str] = "split"
    takes: ClassVar[Stage] = Stage.ENERGY
    gives: ClassVar[Stage] = Stage.JOBS
    why: ClassVar[str] = (
        "parts that do not interact fit smaller devices, and a part that no query needs costs nothing"
    )

    most: int = 64

    def run(self, state: State, context: Context) -> State:
        model = state.model
        count, part = components(model)
        members = grouped(part, asked(state, part, count), self.most, state.device.topology.nodes)
        jobs: list[Job] = []
        for coordinates in members:
            target = restricted(model, coordinates)
            jobs.append(Job(_name(target, len(jobs)), target, frozen(coordinates, np.int64), target))
        note = (f"{len(jobs)} jobs of {_sizes(members)} variables",) if len(jobs) != 1 else ()
        step = Step(str(self), Affine.identity(model.n), note)
        return replace(state, stage=Stage.JOBS, jobs=tuple(jobs), steps=(*state.steps, step))


def _sizes(members: list[IntArray]) -> str:
    sizes = [m.size for m in members]
    if not sizes:
        return "no"
    return str(sizes[0]) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _name(target: Energy, k: int) -> str:
    """A job goes by the names of its variables as far as they are few."""
    names = [v.name for v in target.variables]
    return f"{k}:" + ",".join(names[:3]) + (",…" if len(names) > 3 else "")


def components(model: Energy) -> tuple[int, IntArray]:
    """How many independent parts the model has, and the part of each coordinate."""
    pattern = model.quadratic.pattern()
    for terms in model.higher:
        first = np.repeat(terms.index[:, :1], terms.degree, axis=1).ravel()
        star = np.ones(first.size)
        pattern = pattern + type(pattern)((star, (first, terms.index.ravel())), shape=pattern.shape)
    count, part = csgraph.connected_components(pattern, directed=False)
    return int(count), np.asarray(part, dtype=np.int64)


def asked(state: State, part: IntArray, count: int) -> BoolArray:
    """Which parts some query needs: those whose coordinates its forms touch, and for `argmin` and `logz` all of the user's
    model."""
    back = fold([s.readback for s in state.steps if s.readback is not None], state.source.n)[0]
    assert isinstance(back, Affine)
    needed = np.zeros(count, dtype=bool)
    for query in state.source.queries:
        for form in query.forms():
            touched = np.unique(form.matrix.indices[form.matrix.data != 0])
            rows = back.matrix if touched.size == back.n_out else back.matrix[touched]
            needed[part[rows.indices]] = True
        if query.kind in (QueryKind.ARGMIN, QueryKind.LOGZ, QueryKind.TRAJECTORY):
            for v in state.model.variables:
                if not v.stands_for:
                    needed[part[v.start : v.stop]] = True
    return needed


def restricted(model: Energy, keep: IntArray) -> Energy:
    """The energy of an independent part: coordinates `keep` (sorted), which do not interact with the others. The constant
    stays behind."""
    if keep.size == model.n:
        return replace(model, queries=())
    position = np.full(model.n, -1, dtype=np.int64)
    position[keep] = np.arange(keep.size)
    higher = []
    for terms in model.higher:
        inside = position[terms.index[:, 0]] >= 0
        if inside.any():
            index = frozen(position[terms.index[inside]], np.int64)
            higher.append(Monomials(index, frozen(terms.coefficient[inside])))
    return Energy(
        variables=restrict_variables(model.variables, keep),
        linear=frozen(model.linear[keep]),
        quadratic=model.quadratic.restrict(frozen(keep, np.int64)),
        higher=tuple(higher),
        temperature=model.temperature,
        origins=restrict_origins(model.origins, keep),
    )


def grouped(part: IntArray, needed: BoolArray, most: int, cells: int | None) -> list[IntArray]:
    """The sorted coordinates of each job, in the order of their first ones.

    Each needed part is a job; of more than `most`, consecutive parts share jobs, as many as half of the device's `cells` take
    (the other half is left for double covers).
    """
    first = np.full(needed.size, part.size)
    np.minimum.at(first, part, np.arange(part.size))
    order = np.argsort(first, kind="stable")
    order = order[needed[order]]
    sizes = np.bincount(part, minlength=needed.size)[order]
    ends = np.cumsum(sizes)
    starts = ends - sizes
    if sizes.size > most:
        capacity = part.size if cells is None else max(cells // 2, 1)
        heads = [0]
        while (after := int(np.searchsorted(ends, starts[heads[-1]] + capacity, side="right"))) < sizes.size:
            # A part that is larger than the capacity has a job of its own.
            heads.append(max(after, heads[-1] + 1))
        heads = [h for h in heads if h < sizes.size]
    else:
        heads = list(range(sizes.size))
    rank = np.full(needed.size, -1)
    rank[order] = np.arange(order.size)
    job = np.searchsorted(np.asarray(heads, dtype=np.int64), np.arange(order.size), side="right") - 1
    owner = np.where(rank[part] >= 0, job[rank[part]] if order.size else -1, -1)
    taken = np.argsort(owner, kind="stable")[int((owner < 0).sum()) :]
    return np.split(taken, np.cumsum(np.bincount(owner[taken], minlength=len(heads)))[:-1]) if heads else []
