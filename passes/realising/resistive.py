"""Gaussians on resistive cells: any symmetric positive definite matrix, and the mean by bias currents (physics §3)."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.energy import Energy
from spucc.passes.fitting.spring_fit import step_error
from spucc.passes.realise import Realise, couplings
from spucc.passes.realising import moments
from spucc.passes.realising.readout import COLUMNS, Readout, search
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine

MARGINS = (1, 4, 16, 64)
"""Steps of the banks that the lowest eigenvalue of the cells is kept above, one after the other."""

_SEARCHED = 0.4
"""The part of `sd_error` that rounding may be predicted to cost here: the search for codes gains least where the board is full
and the model has one pinned direction, a factor of two."""


def resistive(energy: Energy, device: Device, options: Realise, context: Context) -> Outcome:
    """The precision as it is, with bias currents where there is a bias bank.

    A matrix of which rounding would spoil a standard deviation is read out by as many multiplications as bring that within
    bounds, where they are allowed.
    """
    p = moments.precision(energy)
    moments.check(energy, p)
    mean = moments.mean(energy, p)
    p = moments.couplings(energy)
    found = _readout(p, device, options) if energy.n <= COLUMNS and options.allows("readout") else None
    if found is not None:
        a = 1.0 / np.sqrt(p.diagonal())
        note = f"way: readout; {found.multiplications} multiplications a draw, since rounding would spoil the model as it is"
        read = Affine(sparse.csr_array(found.t * a[:, None]), frozen(mean))
        return Outcome(couplings(device, sparse.csr_array(found.k)), read, (note,))
    if device.spec.bias is None or not mean.any():
        back = Affine.diagonal(np.ones(energy.n), mean) if mean.any() else None
        notes = ("the mean is added at the read-out",) if mean.any() else ()
        return Outcome(couplings(device, p), back, notes)
    potential = -np.asarray(energy.linear) / energy.temperature
    return Outcome(couplings(device, p, potential), None, ("the mean is made by bias currents",))


def _readout(p: sparse.csr_array, device: Device, options: Realise) -> Readout | None:
    """The cheapest read-out whose rounding is predicted to stay within bounds, or the one predicted to lose least; None
    where the matrix as it is does."""
    a = 1.0 / np.sqrt(p.diagonal())
    unit = np.asarray(p.toarray() * np.outer(a, a))
    steps = [
        step_error(bank) / bank.max
        for bank in (device.spec.ground, device.spec.coupling)
        if not bank.continuous and np.isfinite(bank.max)
    ]
    step, bound = max(steps, default=0.0), _SEARCHED * options.sd_error
    best, least = None, rounding_error(unit, np.eye(a.size), step)
    for margin in MARGINS:
        if least <= bound:
            break
        lowest = margin * np.sqrt(12.0) * step
        found = search(unit, lambda k, lowest=lowest: above(k, lowest))  # type: ignore[misc]
        error = rounding_error(found.k, found.t, step)
        allowed = options.host_multiplications
        if error < least and (allowed is None or found.multiplications <= allowed):
            best, least = found, error
    return best


def rounding_error(k: FloatArray, t: FloatArray, step: float) -> float:
    """The root-mean-square relative error that plain rounding makes in the worst standard deviation of x = T y, y ~ N(0, K⁻¹),
    to first order; infinite when K [n, n] is not positive definite.

    Scaled to ones on its diagonal, every entry of K is off by `step` (root mean square), and an entry off by δ changes
    Var(x_i) by −δ Cov(x_i, y_a) Cov(x_i, y_b), twice that off the diagonal.
    """
    a = 1.0 / np.sqrt(np.diagonal(k))
    scaled = k * np.outer(a, a)
    try:
        reading = linalg.cho_solve(linalg.cho_factor(scaled, lower=True), (t * a).T).T
    except linalg.LinAlgError:
        return np.inf
    variance = np.einsum("ij,ij->i", t * a, reading)
    square = reading**2 / variance[:, None]
    held = (scaled != 0).astype(np.float64)
    total = 2.0 * np.einsum("ia,ia->i", square @ held, square) - np.einsum("ia,ia->i", square, square)
    return 0.5 * step * float(np.sqrt(total.max(initial=0.0)))


def above(k: FloatArray, least: float) -> bool:
    """Whether the eigenvalues of K, scaled to ones on its diagonal, are above `least`."""
    if not np.isfinite(k).all() or not (np.diagonal(k) > 0).all():
        return False
    a = 1.0 / np.sqrt(np.diagonal(k))
    try:
        linalg.cholesky(k * np.outer(a, a) - least * np.eye(a.size), lower=True)
    except linalg.LinAlgError:
        return False
    return True
