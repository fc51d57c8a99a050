"""`gauge`: spins stored flipped where a device's couplers have one sign only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NoReturn

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Energy, Quadratic
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Stage


@dataclass(frozen=True)
class Gauge(JobPass):
    """Flip spins so that every coupling attracts, for devices whose couplers only do; others pass unchanged."""

    name: ClassVar[str] = "gauge"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.JOBS
    why: ClassVar[str] = "which spins are flipped hangs on all couplings, those of auxiliary spins included"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        energy = job.value
        assert isinstance(energy, Energy)
        real, _, bit = energy.domains
        if device.spec.coupling.signed or real.size or bit.size:
            return Outcome(energy)
        q = energy.quadratic.tocsr()
        k = sparse.csr_array(q - sparse.diags_array(q.diagonal()))
        k.eliminate_zeros()
        if not (k.data > 0).any():
            return Outcome(energy)
        sign = gauge(k)
        if sign is None:
            _frustrated(energy, k, device)
        d = sparse.diags_array(sign)
        flipped = replace(
            energy,
            linear=frozen(sign * energy.linear),
            quadratic=Quadratic(sparse.csr_array(d @ q @ d)),
            queries=(),
        )
        note = f"{int((sign < 0).sum())} spins are stored flipped, so that every coupling attracts"
        return Outcome(flipped, Affine.diagonal(sign), (note,))


def gauge(k: sparse.csr_array) -> FloatArray | None:
    """Signs d ∈ {−1, +1}ⁿ with d_i K_ij d_j ≤ 0 for all i ≠ j (all couplings attractive), or None where loops
    forbid it.

    The signed double cover of the graph falls apart exactly when the signs are balanced (Harary 1953).
    """
    n = int(k.shape[0])
    part = csgraph.connected_components(_cover(k), directed=False)[1]
    if (part[:n] == part[n:]).any():
        return None
    # in each pair of mirrored components the one that is numbered first is up
    return np.asarray(np.where(part[:n] < part[n:], 1.0, -1.0))


def frustrated_cycle(k: sparse.csr_array) -> list[int]:
    """A loop with an odd number of repelling couplings (K > 0) in a K that has one, its nodes in order: a shortest one
    through each of the first 50 nodes that lie on one."""
    n = int(k.shape[0])
    cover = _cover(k)
    part = csgraph.connected_components(cover, directed=False)[1]
    best: list[int] = []
    for v in np.flatnonzero(part[:n] == part[n:])[:50]:
        _, parent = csgraph.breadth_first_order(cover, int(v), directed=False)
        walk, at = [], int(v) + n
        while at != int(v):
            at = int(parent[at])
            walk.append(at % n)
        loop = _odd_loop(walk, k)
        if not best or len(loop) < len(best):
            best = loop
        if len(best) <= 3:
            break
    return best


def _odd_loop(walk: list[int], k: sparse.csr_array) -> list[int]:
    """A simple loop with an odd number of repelling couplings within a closed walk that has one: loops with an even
    number are cut off until it shows."""
    stack: list[int] = []
    at: dict[int, int] = {}
    for node in walk:
        if node not in at:
            at[node] = len(stack)
            stack.append(node)
            continue
        loop = stack[at[node] :]
        if _repelling(loop, k) % 2:
            return loop
        for gone in loop[1:]:
            del at[gone]
        del stack[at[node] + 1 :]
    return stack


def _repelling(loop: list[int], k: sparse.csr_array) -> int:
    ends = loop[1:] + loop[:1]
    return sum(float(k[i, j]) > 0 for i, j in zip(loop, ends))


def _cover(k: sparse.csr_array) -> sparse.csr_array:
    """The signed double cover: i⁺ meets j⁺ where they attract (K < 0), j⁻ where they repel."""
    n = int(k.shape[0])
    coo = sparse.coo_array(k)
    attract = coo.data < 0
    rows = np.concatenate([coo.row, coo.row + n])
    cols = np.concatenate([np.where(attract, coo.col, coo.col + n), np.where(attract, coo.col + n, coo.col)])
    return sparse.csr_array(sparse.coo_array((np.ones(rows.size), (rows, cols)), shape=(2 * n, 2 * n)))


def _frustrated(energy: Energy, k: sparse.csr_array, device: Device) -> NoReturn:
    loop = frustrated_cycle(k)
    names = [f"`{energy.label(i)}`" for i in loop]
    shown = names if len(names) <= 8 else [*names[:7], f"… ({len(names) - 7} more)"]
    ends = loop[1:] + loop[:1]
    pairs = [(i, j) for i, j in zip(loop, ends) if k[i, j] > 0]
    origin = energy.origin_of(*sorted(pairs[0])) if pairs else None
    fail(
        "E0557",
        f"`{device.name}` has couplings that attract only, and no flips make the model so: around the loop "
        f"{' – '.join(shown)} an odd number of couplings repel ({len(pairs)} of {len(loop)})",
        origin.span if origin else None,
        help="choose a target whose `coupling` bank is `signed`, such as `pbit-grid` or `ideal-spin`",
    )
