"""`project`: couplings for which the board has no coupler are projected out in KL (mapping §2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import IntArray, frozen
from spucc.circuit import assemble
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.passes.realising.comparison import comparison, ldl, positive_scaling
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage, edge_list

if TYPE_CHECKING:
    from spucc.passes.projecting.projection import Projection


@dataclass(frozen=True)
class Project(JobPass):
    """The nearest law, in KL, whose couplings lie on the board's couplers. Nothing is done when they all do.

    `max_kl` [nat per variable] is the loss beyond which the board is said not to fit the model.
    """

    name: ClassVar[str] = "project"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "only placed cells know which couplings have a coupler"

    max_kl: float = 0.1

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if fits(placed, device) or np.unique(placed.chain).size < placed.n:
            return Outcome(placed)
        from spucc.passes.projecting.projection import project_precision

        k = assemble(placed.family, placed.edges, placed.ground, placed.coupling)
        pattern = board_pairs(placed.cell, device)
        signed = device.spec.coupling.signed or not device.family.springs
        try:
            found = project_precision(k, pattern, springs=not signed)
        except (linalg.LinAlgError, ValueError):
            fail(
                "E0535",
                f"the projection of job `{job.name}` onto the couplers of `{device.name}` did not converge",
                help="a board with more couplers, or `realise{ways=readout}`, which needs fewer",
            )
        loss = divergence(k, found.q) / placed.n
        if not loss <= self.max_kl:
            fail(
                "E0535",
                f"`{device.name}` lacks couplers that this model cannot do without: leaving them out costs "
                f"{loss:.2g} nat a variable",
                help="a board with more couplers, `realise{ways=readout}`, or `project{max-kl=…}` to accept it",
            )
        return _outcome(placed, found, device, loss, job)


def _outcome(placed: Placed, found: Projection, device: Device, loss: float, job: Job) -> Outcome:
    q = found.q
    d = positive_scaling(comparison(q)) if device.family.springs else np.ones(placed.n)
    if d is None:
        fail(
            "E0536",
            f"what is nearest to job `{job.name}` on the couplers of `{device.name}` is not a network of capacitors",
            help="`realise{ways=readout}`, or a board without negative couplers",
        )
    scale = sparse.diags_array(d)
    edges, values = edge_list(sparse.csr_array(scale @ q @ scale))
    ground = q.diagonal() * d**2
    if device.family.springs:
        size = np.abs(values)
        ground = ground - np.bincount(edges[:, 0], size, d.size) - np.bincount(edges[:, 1], size, d.size)
    mean = np.zeros(placed.n)
    value = replace(placed, edges=edges, ground=frozen(ground), coupling=frozen(-values))
    if placed.bias.any():
        # The projection keeps the mean: μ = K⁻¹b stays, b becomes D Q μ.
        k = assemble(placed.family, placed.edges, placed.ground, placed.coupling)
        mean = np.asarray(sparse.linalg.spsolve(sparse.csc_matrix(k), placed.bias))
        value = replace(value, bias=frozen(d * (q @ mean)))
    gap = found.gap / placed.n
    proof = (
        f"certified: no law on these couplers is nearer by more than {max(gap, 1e-15):.1g}"
        if np.isfinite(gap)
        else "not certified to be the least"
    )
    note = f"couplings without a coupler are projected out: KL {loss:.2g} a variable ({proof})"
    return Outcome(value, Affine.diagonal(d), (note,))


def fits(placed: Placed, device: Device) -> bool:
    """Whether every coupling stands on a working coupler."""
    if device.topology.nodes is None or not placed.edges.size:
        return True
    ids = device.coupler_ids(placed.cell[placed.edges])
    return bool((ids >= 0).all() and device.live_edges[ids].all())


def board_pairs(cells: IntArray, device: Device) -> IntArray:
    """All pairs (p < q) of positions whose cells have a working coupler, in lexicographic order."""
    position = np.full(device.topology.nodes or 0, -1, dtype=np.int64)
    position[cells] = np.arange(cells.size)
    ends = np.sort(position[device.topology.edges[device.live_edges]], axis=1)
    ends = ends[ends[:, 0] >= 0]
    return frozen(ends[np.lexsort((ends[:, 1], ends[:, 0]))], np.int64)


def divergence(p: sparse.csr_array, q: sparse.csr_array) -> float:
    """KL(N(0, P⁻¹) ‖ N(0, Q⁻¹)) in nats; for large matrices at matched moments, where tr(QΣ) = n."""
    if p.shape[0] <= 1500:
        from spucc.passes.realising.nearest import divergence as dense

        return dense(p.toarray(), q.toarray())
    a, b = ldl(p), ldl(q)
    if a is None or b is None:
        return np.inf
    return 0.5 * float(np.log(a.U.diagonal()).sum() - np.log(b.U.diagonal()).sum())
