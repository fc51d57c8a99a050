"""Gaussians on resistive cells: any symmetric positive definite matrix, and the mean by bias currents (physics §3). On coupled
coils likewise, but for partial correlations that are stronger than two coils can be coupled (mapping §4)."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.passes.fitting.spring_fit import step_error
from spucc.passes.realise import Realise, couplings
from spucc.passes.realising import moments
from spucc.passes.realising.boards import component_limit, could_embed, could_hold, live_cells
from spucc.passes.realising.capacitive import READOUT_LIMIT, odd_pair
from spucc.passes.realising.comparison import congruence, two_colouring
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

    A matrix of which rounding would spoil a standard deviation, or with couplings beyond the board's `reach`, is read out by
    as many multiplications as bring that within bounds, where they are allowed.
    """
    p = moments.precision(energy)
    moments.check(energy, p)
    mean = moments.mean(energy, p)
    p = moments.precision(energy)
    balanced, gauge = (True, np.ones(energy.n)) if device.spec.coupling.signed else two_colouring(p)
    tight = beyond(p, device, energy)
    # A board with too few cells is `place`'s to name.
    serves = balanced and not tight and (energy.n > live_cells(device) or could_embed(p, device))
    found = None
    if options.allows("readout") and energy.n <= (COLUMNS if serves else READOUT_LIMIT):
        found = _readout(p, device, options, serves)
    if found is not None:
        a = 1.0 / np.sqrt(p.diagonal())
        part = sparse.csr_array(found.k)
        flips = np.ones(energy.n) if device.spec.coupling.signed else two_colouring(part)[1]
        why = (
            "rounding would spoil the model as it is"
            if serves
            else tight or "the board cannot hold the model as it is"
        )
        note = f"way: readout; {found.multiplications} multiplications a draw, since {why}"
        read = Affine(sparse.csr_array(found.t * a[:, None] * flips), frozen(mean))
        return Outcome(couplings(device, congruence(part, flips)), read, (note,))
    if not balanced:
        fail(
            "E0512",
            f"the couplers of `{device.name}` are positive, and repulsive couplings close odd cycles, the strongest between "
            f"{odd_pair(p, energy)}",
            help="allow `readout`, and as many multiplications as it takes, or choose a device with signed couplers",
        )
    notes: tuple[str, ...] = (f"beyond the couplers: {tight}",) if tight else ()
    flipped = gauge if (gauge < 0).any() else None
    if flipped is not None:
        p = congruence(p, gauge)
    if device.spec.bias is None or not mean.any():
        back = Affine.diagonal(gauge, mean) if mean.any() or flipped is not None else None
        notes += ("the mean is added at the read-out",) if mean.any() else ()
        return Outcome(couplings(device, p), back, notes)
    potential = -gauge * np.asarray(energy.linear) / energy.temperature
    back = None if flipped is None else Affine.diagonal(gauge)
    return Outcome(couplings(device, p, potential), back, (*notes, "the mean is made by bias currents"))


def _readout(p: sparse.csr_array, device: Device, options: Realise, serves: bool) -> Readout | None:
    """The cheapest read-out whose rounding is predicted to stay within bounds, or the one predicted to lose least; None
    where the matrix as it is does and `serves`, or where none has few enough multiplications."""
    a = 1.0 / np.sqrt(p.diagonal())
    unit = np.asarray(p.toarray() * np.outer(a, a))
    steps = [
        step_error(bank) / bank.max
        for bank in (device.spec.ground, device.spec.coupling)
        if not bank.continuous and np.isfinite(bank.max)
    ]
    step, bound = max(steps, default=0.0), _SEARCHED * options.sd_error
    best, least = None, rounding_error(unit, np.eye(a.size), step) if serves else np.inf
    allowed = options.host_multiplications
    tile = component_limit(device, a.size)

    def fits(k: FloatArray, lowest: float) -> bool:
        if not above(k, lowest):
            return False
        part = sparse.csr_array(k)
        if strongest(part)[0] > reach(device):
            return False
        return could_hold(part, device) and (device.spec.coupling.signed or two_colouring(part)[0])

    for margin in MARGINS:
        if least <= bound:
            break
        lowest = margin * np.sqrt(12.0) * step
        found = search(unit, lambda k, lowest=lowest: fits(k, lowest), tile)  # type: ignore[misc]
        error = rounding_error(found.k, found.t, step)
        if error < least and (allowed is None or found.multiplications <= allowed):
            best, least = found, error
    return best


def reach(device: Device) -> float:
    """The largest |K_ij|/√(K_ii K_jj) that a coupler can make: that of its bank's end on cells at their banks' begin, which
    on coils is below 1, and without limit where cells can be as small as wanted."""
    own, mutual, strays = device.spec.ground, device.spec.coupling, device.spec.strays
    least = (own.min if own.levels is None else min(own.levels)) + strays.ground
    most = (mutual.max if mutual.levels is None else max(mutual.levels)) + strays.coupling
    return most / least if least > 0 else np.inf


def strongest(k: sparse.csr_array) -> tuple[float, int, int]:
    """The largest |K_ij|/√(K_ii K_jj) and where it is; 0 where nothing is coupled."""
    coo, root = sparse.coo_array(sparse.triu(k, k=1)), np.sqrt(k.diagonal())
    if not coo.nnz:
        return 0.0, 0, 0
    size = np.abs(coo.data) / (root[coo.row] * root[coo.col])
    at = int(np.argmax(size))
    return float(size[at]), int(coo.row[at]), int(coo.col[at])


def beyond(k: sparse.csr_array, device: Device, energy: Energy) -> str:
    """Which pair is coupled more strongly than the board can, in the user's names; empty where none is."""
    most, i, j = strongest(k)
    if most <= reach(device) * (1 + 1e-9):
        return ""
    return (
        f"`{energy.label(i)}` and `{energy.label(j)}` have a partial correlation of size {most:.4g}, and couplers of "
        f"`{device.name}` reach {reach(device):.3g}"
    )


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
