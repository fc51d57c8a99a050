"""`realise-langevin`: real variables with terms up to degree 4 on nonlinear units (physics §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.energy import Domain, Energy
from spucc.pipeline import Context, JobPass, Outcome
from spucc.stages import Couplings, Job, Stage, plain_roles


@dataclass(frozen=True)
class RealiseLangevin(JobPass):
    """E/T as ½ yᵀKy − bias·y + Σ quartic y⁴, what a nonlinear unit and its couplers are."""

    name: ClassVar[str] = "realise-langevin"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.COUPLINGS
    why: ClassVar[str] = "a term that no unit has must be refused before anything has a place"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        assert isinstance(job.value, Energy)
        return Outcome(units(job.value, device))


def units(energy: Energy, device: Device) -> Couplings:
    """Raises E0511 for spins, bits, and terms of degree above 2 that are no fourth power; E0551 for an energy
    that is not bounded below or not finite."""
    _, spin, bit = energy.domains
    others = np.sort(np.concatenate([spin, bit]))
    if others.size:
        fail(
            "E0511",
            f"nonlinear units are real numbers, but `{energy.label(int(others[0]))}` takes two values",
            help="compile for a p-bit target such as `ideal-spin`; `spucc targets` lists them",
        )
    quartic = np.zeros(energy.n)
    for terms in energy.higher:
        pure = (terms.index == terms.index[:, :1]).all(axis=1) & (terms.degree == 4)
        if not pure.all():
            row = terms.index[np.flatnonzero(~pure)[0]]
            names = " · ".join(energy.label(int(k)) for k in row)
            fail(
                "E0511",
                f"`{device.name}` has quadratic couplings and fourth powers of single units, not the term {names}",
                help="simulate the model as it is with `spucc.targets.langevin`, or write it with pair couplings",
            )
        np.add.at(quartic, terms.index[:, 0], terms.coefficient)
    t = energy.temperature
    k = sparse.csr_array(energy.quadratic.tocsr() / t)
    k.sort_indices()
    check_bounded(energy, k, quartic)
    return Couplings(
        family=Family.LANGEVIN,
        domain=Domain.REAL,
        matrix=k,
        bias=frozen(-np.asarray(energy.linear) / t),
        coordinate=frozen(np.arange(energy.n), np.int64),
        role=plain_roles(energy.n),
        quartic=frozen(quartic / t),
    )


def check_bounded(energy: Energy, k: sparse.csr_array, quartic: np.ndarray) -> None:
    """Raises E0551: a fourth power with a negative factor, or among the units without one a direction in
    which the quadratic part does not rise. Fourth powers of single units leave no other way down."""
    finite = np.isfinite(k.data).all() and np.isfinite(quartic).all() and np.isfinite(energy.linear).all()
    if not finite:
        fail("E0551", "a coefficient of the energy is infinite or undefined", help="give finite couplings")
    if (quartic < 0).any():
        name = energy.label(int(np.argmin(quartic)))
        fail(
            "E0551",
            f"the energy falls without bound along `{name}`: its fourth power has a negative factor",
            help="a quartic term needs a positive factor: `double_well(J2, J4)` with J4 > 0",
        )
    free = np.flatnonzero(quartic == 0)
    if not free.size:
        return
    direction = _not_rising(k[free][:, free])
    if direction is not None:
        top = np.argsort(-np.abs(direction), kind="stable")[:3]
        parts = [f"{direction[i]:+.2g} {energy.label(int(free[i]))}" for i in top if abs(direction[i]) > 1e-3]
        fail(
            "E0551",
            f"the energy falls without bound, or is flat, along {' '.join(parts)}",
            help="hold that direction by a quartic term (`double_well`), a prior, or an observation",
        )


def _not_rising(k: sparse.csr_array) -> np.ndarray | None:
    """A direction u with uᵀKu ≤ 0, or None for a positive definite K."""
    d = k.diagonal()
    if (d <= 0).any():
        return np.asarray(np.eye(1, d.size, int(np.argmin(d)))[0])
    row = np.asarray(abs(k).sum(axis=1)).ravel()
    if (2 * d > row * (1 + 1e-12)).all():
        return None
    if d.size <= 2000:
        values, vectors = np.linalg.eigh(k.toarray())
        return np.asarray(vectors[:, 0]) if values[0] <= 1e-12 * values[-1] else None
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    try:
        values, vectors = eigsh(k, k=1, which="SA", tol=1e-6, maxiter=5000)
    except ArpackNoConvergence:
        return None
    return np.asarray(vectors[:, 0]) if values[0] <= 0 else None
