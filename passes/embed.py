"""`embed`: the strengths of chains, and the weights that read them (mapping.md §3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, frozen
from spucc.circuit import assemble, strays
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.passes.embedding.chain_margin import Rounding, relax
from spucc.passes.embedding.chain_solver import Network, Reading, read, tune
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage

_SHRINK = 0.7
_PATIENCE = 4
"""How many weaker chains are tried after the best."""
_EXACT = 1e-8
"""A residual ‖T − I‖ whose KL, a quarter of its square, is rounding error."""
_DEAR = 1e-4
"""From this expected KL per variable on, chains that are not exact are tried too."""
_STEPS = (0, 150, 800)
"""Steps of `relax` at each `--optimize`."""


@dataclass(frozen=True)
class Embed(JobPass):
    """Make chains of cells stand for their variables exactly, at the strength that loses least to rounding.

    `strength` fixes the start's κ in units of each variable's own K_ii (then nothing is searched); 0 leaves it to the
    compiler. `compensate=false` keeps the start's values: what chains cost without this pass. With `exact` chains are exact
    before rounding wherever they can be, even where rounding then costs more.
    """

    strength: float = 0.0
    compensate: bool = True
    exact: bool = False

    name: ClassVar[str] = "embed"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = (
        "the chains are known, and later passes need their values; without chains it does nothing"
    )

    def __post_init__(self) -> None:
        if not (np.isfinite(self.strength) and self.strength >= 0):
            raise ValueError("`strength` is a finite number ≥ 0")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        sizes = np.bincount(placed.chain)
        if placed.domain is not Domain.REAL or sizes.max(initial=1) == 1 or not self.compensate:
            return Outcome(placed)
        network, L = start(placed)
        stray, _ = strays(device, placed.cell, placed.edges)
        rounding = Rounding.of(
            device.spec.coupling, device.spec.ground, stray if placed.family.springs else np.zeros(placed.n)
        )
        best, reading = self._solve(network, L, rounding, context)
        outcome = with_values(placed, best)
        inner = (
            best.coupling[best.inner] / np.asarray((L**2).sum(axis=1))[best.chain[best.edges[best.inner, 0]]]
        )
        note = (
            f"{int((sizes > 1).sum())} variables are chains of up to {sizes.max()} cells, {placed.n} in all; inner couplers "
            f"{inner.min():.2g}–{inner.max():.2g} of the variable's own term; KL {reading.kl:.1e} per variable"
        )
        return Outcome(outcome, read_chains(best), (note,))

    def _solve(
        self, network: Network, L: FloatArray, rounding: Rounding, context: Context
    ) -> tuple[Network, Reading]:
        if self.strength > 0:
            fixed = scaled_chains(network, self.strength / network_strength(network, L))
            found = tune(fixed, L)
            if found is None:
                fail(
                    "E0581",
                    f"chains of strength {self.strength:g} do not hold: the cells' matrix is not positive definite",
                    help="raise `strength`, or leave it out and the compiler chooses",
                )
            return found
        network = _firm(network, L)
        # Can these chains be exact at all? If not, or if exactness makes rounding dear, it is given up for what it costs.
        first = tune(network, L)
        tried: list[tuple[Network, Reading]] = []
        if first is not None and first[1].residual < _EXACT:
            tried.append(_weakened(network, L, rounding, context, True))
        if not tried or (not (self.exact or context.stop.is_set()) and rounding.cost(*tried[0]) > _DEAR):
            tried.append(_weakened(network, L, rounding, context, False))
        return min(tried, key=lambda pair: rounding.cost(*pair))


def _weakened(
    network: Network, L: FloatArray, rounding: Rounding, context: Context, exact: bool
) -> tuple[Network, Reading]:
    """Weaker and weaker chains while that costs less, then the least cost near the best of them."""
    best: tuple[float, Network, Reading] | None = None
    worse = 0
    while worse < _PATIENCE and not (best is not None and context.stop.is_set()):
        now = read(network, L)
        if now is None:
            break
        goal = _EXACT if exact else min(max(rounding.worth(network, now), _EXACT), 0.1)
        found = tune(network, L, goal=goal)
        if found is None:
            break
        network, reading = found
        cost = rounding.cost(network, reading)
        worse = 0 if best is None or cost < best[0] else worse + 1
        if best is None or cost < best[0]:
            best = cost, network, reading
        network = scaled_chains(network, _SHRINK)
    assert best is not None, "the start is positive definite"
    steps = _STEPS[min(context.optimize, len(_STEPS) - 1)]
    return relax(best[1], best[2], L, rounding, steps, context.stop.is_set)


def start(placed: Placed) -> tuple[Network, FloatArray]:
    """The chains of a placement as a network with even weights, and the Cholesky factor L of the precision VᵀKV that its
    variables are to have."""
    i, j = placed.edges.T
    springs = placed.family.springs
    if springs:
        sign, coupling = np.where(placed.coupling < 0, -1.0, 1.0), np.abs(placed.coupling)
        ground = np.maximum(placed.ground, 0.0)
    else:
        sign, coupling = np.ones(i.size), np.asarray(placed.coupling)
        load = np.bincount(i, coupling, placed.n) + np.bincount(j, coupling, placed.n)
        ground = placed.ground - load
    weight = (1.0 / np.bincount(placed.chain))[placed.chain]
    network = Network(placed.edges, sign, coupling, ground, placed.chain, weight, springs)
    K = assemble(placed.family, placed.edges, placed.ground, placed.coupling)
    V = sparse.csr_array(sparse.coo_array((np.ones(placed.n), (np.arange(placed.n), placed.chain))))
    P = np.asarray((V.T @ K @ V).toarray())
    try:
        return network, np.asarray(linalg.cholesky((P + P.T) / 2, lower=True))
    except linalg.LinAlgError:
        fail(
            "E0582",
            "the matrix that the chains are to realise is not positive definite",
            help="run `realise` before `place`",
        )


def network_strength(network: Network, L: FloatArray) -> float:
    """The median strength of the inner couplers in units of their variable's own term."""
    own = np.asarray((L**2).sum(axis=1))
    inner = network.inner
    return float(np.median(network.coupling[inner] / own[network.chain[network.edges[inner, 0]]]))


def scaled_chains(network: Network, factor: float) -> Network:
    """The network with its inner couplers times `factor`."""
    return replace(network, coupling=np.where(network.inner, network.coupling * factor, network.coupling))


def _firm(network: Network, L: FloatArray) -> Network:
    """The network with chains strong enough to be positive definite: for large κ it tends to P on the variables."""
    for _ in range(60):
        if read(network, L) is not None:
            return network
        network = scaled_chains(network, 2.0)
    fail(
        "E0581",
        "no chain strength makes the cells' matrix positive definite in double precision",
        help="the model is too ill-conditioned to be spread over chains; choose a target with more couplers a cell",
    )


def with_values(placed: Placed, network: Network) -> Placed:
    """The placement with the network's values, and biases that keep the mean: β = W b."""
    ground, coupling = network.ground, network.coupling * network.sign
    if not network.positive:
        ground = network.matrix().diagonal()
    b = np.bincount(placed.chain, placed.bias)
    return replace(
        placed,
        ground=frozen(ground),
        coupling=frozen(coupling),
        bias=frozen(network.weight * b[placed.chain]),
    )


def read_chains(network: Network) -> Affine:
    """Every cell → its variable's weighted mean Wᵀy, so that the read-back of `place` finds it in any cell of the chain."""
    cells = network.chain.size
    V = sparse.csr_array((np.ones(cells), (np.arange(cells), network.chain)))
    return Affine(sparse.csr_array(V @ network.readout()), frozen(np.zeros(cells)))
