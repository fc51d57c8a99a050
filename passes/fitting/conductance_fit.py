"""Resistive cells: from placed couplings to conductances, bias currents and noise scale (physics §3).

G = D K D has independent diagonals and couplings of either sign: G_ii = K_ii d_i², |G_ij| = |K_ij| d_i d_j, linear in log d. The
widest use of the ranges is a linear program; Jacobi scaling solves it when the two banks have the same maximum.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, sparse

from spucc.arrays import FloatArray, frozen
from spucc.circuit import assemble, strays
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.passes.fitting.spring_fit import board_couplers
from spucc.passes.realising.moments import inverse
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed


def fit_conductances(job: Job, placed: Placed, device: Device, context: Context) -> Outcome:
    """Conductances [S], bias currents [A], the scale κ0/C0 [A²s/F] and the read-out y = D v/√scale.

    Raises E0530 when a conductance cannot be brought into its range, E0531 when voltages or bias currents cannot.
    """
    spec = device.spec
    edges, _, coupling = board_couplers(placed, device)
    k = assemble(device.family, edges, placed.ground, coupling)
    to_ground, across = strays(device, placed.cell, edges)
    top_g, top_c = (
        float(np.max(spec.ground.table())) if spec.ground.levels else spec.ground.max,
        spec.coupling.max,
    )
    d = jacobi_scale(k, top_g + to_ground, top_c)
    i, j = edges[:, 0], edges[:, 1]
    diagonal, value = placed.ground * d**2, coupling * d[i] * d[j]
    ground, programmed = diagonal - to_ground, value - across
    bad = np.flatnonzero((ground < spec.ground.min * (1 - 1e-9)) | (ground > top_g * (1 + 1e-9)))
    outside = np.flatnonzero(np.abs(programmed) > top_c * (1 + 1e-9))
    wrong_sign = np.flatnonzero(programmed < 0) if not spec.coupling.signed else np.zeros(0, dtype=np.int64)
    for faults, what in (
        (bad, "its own conductance"),
        (i[outside], "a coupling"),
        (i[wrong_sign], "a repulsive coupling"),
    ):
        if faults.size:
            at = int(placed.coordinate[int(faults[0])])
            name = f"`{job.target.label(at)}`" if at >= 0 else "a hidden cell"
            fail(
                "E0530",
                f"the conductance ranges of `{device.name}` exclude this model: {what} of {name} does not fit",
                help="a device with a wider range or with signed couplings",
            )
    ground = np.clip(ground, spec.ground.min, top_g)
    programmed = np.clip(programmed, -top_c, top_c)
    theta_unit = spec.circuit.resistance * spec.circuit.capacitance
    low, high = spec.circuit.theta_min / theta_unit, spec.circuit.theta_max / theta_unit
    potential, mean = placed.bias, np.zeros(placed.n)
    notes: tuple[str, ...] = ()
    limit, worst = _largest_scale(placed.bias, device, d, k)
    if limit < low and placed.bias.any():
        # Without the bias currents the cells swing about zero, and the host adds the mean.
        mean = np.asarray(_covariance(k) @ placed.bias)
        potential, notes = (
            np.zeros(placed.n),
            ("bias currents would leave the ranges: the mean is added at the read-out",),
        )
        limit, worst = _largest_scale(potential, device, d, k)
    if limit < low:
        at = int(placed.coordinate[worst])
        name = f"`{job.target.label(at)}`" if at >= 0 else "a hidden cell"
        fail(
            "E0531",
            f"on `{device.name}` the voltage of {name} leaves its range even with the least noise",
            help="a device with a larger full scale",
        )
    scale = float(min(limit, high))
    # A scale of exactly 1 marks values without units (`Placed.dimensionless`).
    scale = float(np.nextafter(scale, 0.0)) if scale == 1.0 else scale
    bias = potential * d * np.sqrt(scale)
    result = Placed(
        placed.family,
        placed.domain,
        placed.cell,
        placed.chain,
        frozen(edges, np.int64),
        frozen(ground),
        frozen(programmed),
        frozen(bias),
        scale,
        placed.coordinate,
        placed.role,
        placed.quartic,
    )
    return Outcome(result, Affine.diagonal(d / np.sqrt(scale), mean), notes)


def jacobi_scale(k: sparse.csr_array, ground_top: FloatArray, coupling_top: float) -> FloatArray:
    """The largest d (in the sum of logarithms) with K_ii d_i² ≤ ground_top_i and |K_ij| d_i d_j ≤ coupling_top."""
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
    result = optimize.linprog(
        np.ones(d.size), A_ub=a, b_ub=-np.log(size[over] / coupling_top), bounds=(0, None)
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
    limit = (half / float(reach.max())) ** 2
    if spec.bias is not None and bias.any():
        limit = min(limit, (spec.bias.max / float(np.abs(bias * d).max())) ** 2)
    return limit, int(np.argmax(reach))
