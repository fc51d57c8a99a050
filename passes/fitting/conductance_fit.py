"""Resistive cells: from placed couplings to conductances, bias currents and noise scale (physics §3). Coupled coils are the
same with inductances for conductances and currents for voltages, without a bias (mapping §4).

G = D K D has independent diagonals and couplings of either sign: G_ii = K_ii d_i², |G_ij| = |K_ij| d_i d_j, linear in log d. The
widest use of the ranges is a linear program; Jacobi scaling solves it when the two banks have the same maximum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.circuit import assemble, strays
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.passes.fitting.conductance_box import Nearest, Ranges, nearest_conductances
from spucc.passes.fitting.spring_fit import bank_ranges, board_couplers, reach
from spucc.passes.realising.comparison import congruence
from spucc.passes.realising.moments import inverse
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed

SEARCHED = 300
"""Up to so many cells the nearest network in range is looked for."""


def fit_conductances(job: Job, placed: Placed, device: Device, context: Context) -> Outcome:
    """Conductances [S], bias currents [A], the scale κ0/C0 [A²s/F] and the read-out y = D v/√scale; of coils inductances [H],
    θ [J] and y = D i/√θ.

    Exact where the ranges allow it, otherwise the nearest network within them. Raises E0530 when that is far off, E0531 when no
    admissible noise keeps the voltages (currents) on scale.
    """
    spec = device.spec
    edges, _, coupling = board_couplers(placed, device)
    k = assemble(device.family, edges, placed.ground, coupling)
    to_ground, across = strays(device, placed.cell, edges)
    ranges = ranges_of(device, placed, edges, coupling)
    # Of a coupler that cannot be nothing and has to be negative the largest is the lower end.
    top = np.where(ranges.coupling_high > 0, ranges.coupling_high, -ranges.coupling_low)
    d = jacobi_scale(k, ranges.ground_high, float(top.min(initial=np.inf)), ranges.ground_low)
    i, j = edges[:, 0], edges[:, 1]
    diagonal, value = placed.ground * d**2, coupling * d[i] * d[j]
    potential, mean = placed.bias, np.zeros(placed.n)
    notes: tuple[str, ...] = ()
    if not ranges.hold(diagonal, value):
        near, note = _nearest(job, placed, device, k, edges, ranges, d, context)
        d, diagonal, value, notes = near.scale, near.ground, near.coupling, (note,)
        if placed.bias.any():
            potential = _covariance(k) @ placed.bias
        k = congruence(assemble(device.family, edges, diagonal, value), 1 / d)
        potential = k @ potential
    low, high = ranges.ground_low - to_ground, ranges.ground_high - to_ground
    ground = np.clip(diagonal - to_ground, low, high)
    programmed = np.clip(value - across, ranges.coupling_low - across, ranges.coupling_high - across)
    coils = device.family is Family.INDUCTIVE
    theta_unit = 1.0 if coils else spec.circuit.resistance * spec.circuit.capacitance
    least, most = spec.circuit.theta_min / theta_unit, spec.circuit.theta_max / theta_unit
    limit, worst = _largest_scale(potential, device, d, k)
    if limit < least and potential.any():
        # Without the bias currents the cells swing about zero, and the host adds the mean.
        mean = np.asarray(_covariance(k) @ potential)
        potential = np.zeros(placed.n)
        notes = (*notes, "bias currents would leave the ranges: the mean is added at the read-out")
        limit, worst = _largest_scale(potential, device, d, k)
    if limit < least:
        at = int(placed.coordinate[worst])
        name = f"`{job.target.label(at)}`" if at >= 0 else "a hidden cell"
        fail(
            "E0531",
            f"on `{device.name}` the {'current' if coils else 'voltage'} of {name} leaves its range even with the least noise",
            help="a device with a larger full scale",
        )
    scale = float(min(limit, most))
    # A scale of exactly 1 marks values without units (`Placed.dimensionless`).
    scale = float(np.nextafter(scale, 0.0)) if scale == 1.0 else scale
    bias = potential * d * np.sqrt(scale)
    result = replace(
        placed,
        edges=frozen(edges, np.int64),
        ground=frozen(ground),
        coupling=frozen(programmed),
        bias=frozen(bias),
        scale=scale,
    )
    return Outcome(result, Affine.diagonal(d / np.sqrt(scale), mean), notes)


def ranges_of(device: Device, placed: Placed, edges: IntArray, coupling: FloatArray) -> Ranges:
    """What the banks and their strays offer the placed cells and the couplers `edges` [m, 2]; one that cannot be nothing has
    the sign of the wanted `coupling` [m]."""
    to_ground, across = strays(device, placed.cell, edges)
    ground_low, ground_high, low, high = bank_ranges(device, placed.cell, edges)
    if device.spec.coupling.signed:
        negative = (coupling < 0) | (low <= 0)
        low, high = np.where(negative, -high, low), np.where((coupling < 0) & (low > 0), -low, high)
    return Ranges(ground_low + to_ground, ground_high + to_ground, low + across, high + across)


def _nearest(
    job: Job,
    placed: Placed,
    device: Device,
    k: sparse.csr_array,
    edges: IntArray,
    ranges: Ranges,
    d: FloatArray,
    context: Context,
) -> tuple[Nearest, str]:
    """The nearest network in range, and what it costs and what is proved of that; E0530 beyond `HOPELESS`."""
    what = "inductance" if device.family is Family.INDUCTIVE else "conductance"
    if placed.n > SEARCHED:
        fail(
            "E0530",
            f"the {what} ranges of `{device.name}` exclude this model of {placed.n} cells as it is",
            notes=(f"the nearest network within them is looked for up to {SEARCHED} cells",),
            help="a device with a wider range or with signed couplings",
        )
    near = nearest_conductances(
        inverse(k.toarray()),
        edges,
        ranges,
        d,
        (100, 1000, 3000)[min(context.optimize, 2)],
        context.stop.is_set,
    )
    # A proof about the cells' law is one about the variables' only where the one is read as the other.
    whole = np.unique(placed.chain).size == placed.n
    proof = (
        f"certified: none with these couplers costs less than {near.floor:.2g}" if whole else "not certified"
    )
    help = "a device with a wider range or with signed couplings, or `realise{ways=readout}`"
    excluded = f"the {what} ranges of `{device.name}`"
    return near, reach(job, placed, excluded, near, proof, help, context.stop.is_set())


def jacobi_scale(
    k: sparse.csr_array, ground_top: FloatArray, coupling_top: float, ground_low: FloatArray | float = 0.0
) -> FloatArray:
    """The largest d (in the sum of logarithms) with ground_low_i ≤ K_ii d_i² ≤ ground_top_i and |K_ij| d_i d_j ≤
    coupling_top; where there is none, the first of these gives way."""
    from scipy import optimize

    diagonal = k.diagonal()
    top = np.where(np.isfinite(ground_top), ground_top, 1.0)
    d = np.sqrt(top / diagonal)
    coo = sparse.coo_array(sparse.triu(k, k=1))
    size = np.abs(coo.data) * d[coo.row] * d[coo.col]
    over = size > coupling_top
    if not over.any():
        return np.asarray(d)
    # In y = −log(d/d_max) ≥ 0: minimise Σ y with y_i + y_j ≥ log(size/top) for the couplings that are too strong.
    rows = np.repeat(np.arange(int(over.sum())), 2)
    cols = np.stack([coo.row[over], coo.col[over]], axis=1).ravel()
    a = sparse.csr_array((-np.ones(rows.size), (rows, cols)), shape=(int(over.sum()), d.size))
    with np.errstate(divide="ignore"):
        most = -0.5 * np.log(np.broadcast_to(np.maximum(ground_low, 0.0) / top, d.shape))
    result = optimize.linprog(
        np.ones(d.size),
        A_ub=a,
        b_ub=-np.log(size[over] / coupling_top),
        bounds=np.stack([np.zeros(d.size), np.maximum(most, 0.0)], axis=1),
    )
    if result.x is None:
        return np.asarray(d * np.sqrt(coupling_top / size.max()))
    return np.asarray(d * np.exp(-result.x))


def _covariance(k: sparse.csr_array) -> FloatArray:
    """K⁻¹ [n, n]; for more than 2000 cells only the inverse of its diagonal."""
    return inverse(k.toarray()) if k.shape[0] <= 2000 else np.diag(1.0 / k.diagonal())


def _largest_scale(bias: FloatArray, device: Device, d: FloatArray, k: sparse.csr_array) -> tuple[float, int]:
    """The largest noise scale that keeps four standard deviations and the mean on scale, and bias currents in range; and the
    cell that swings most."""
    spec = device.spec
    half = spec.adc.full_scale if np.isfinite(spec.adc.full_scale) else 4.0
    sigma = _covariance(k)
    mean = sigma @ bias if bias.any() else np.zeros(bias.size)
    reach = (np.abs(mean) + 4 * np.sqrt(np.diagonal(sigma))) / d
    # A product of floats that is too large is infinite, a power an error.
    root = half / float(reach.max())
    if spec.bias is not None and bias.any():
        root = min(root, spec.bias.max / float(np.abs(bias * d).max()))
    return root * root, int(np.argmax(reach))
