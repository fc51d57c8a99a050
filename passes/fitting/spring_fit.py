"""Capacitor networks: from placed couplings to capacitances, noise scale and read-out (mapping §6).

Exact where the ranges allow it; otherwise the network within the ranges that is nearest in KL, whose divergence is the
board's representability floor for this model, apart from what rounding will cost later.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.circuit import assemble, required_edges, strays
from spucc.device import Bank, Device
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.passes.fitting.spring_scaling import Box, Network, balance, law_entries, plain, rounding_loss
from spucc.passes.realising.comparison import comparison, positive_definite_solve
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed

HOPELESS = 0.05
"""KL per cell [nat] beyond which a board's ranges are said to exclude a model."""


def fit_springs(job: Job, placed: Placed, device: Device, context: Context) -> Outcome:
    """Ground and coupling capacitors [F], θ [J] and the read-out y = D v/√θ.

    Raises E0530 when the ranges exclude the model, E0531 when no admissible noise keeps the voltages on scale.
    """
    edges, size, coupling = board_couplers(placed, device)
    k = assemble(device.family, edges, placed.ground, coupling)
    to_ground, across = strays(device, placed.cell, edges)
    negative = coupling < 0
    # A stray stays positive across a negative coupler: that is then larger by the stray, and both ground capacitors
    # smaller by twice the stray (`spucc.circuit.network`).
    shift = np.where(negative, 2 * across, 0.0)
    extra = np.bincount(edges[:, 0], shift, placed.n) + np.bincount(edges[:, 1], shift, placed.n)
    box = _box(device, to_ground + extra, np.where(negative, -across, across))
    sign = np.where(negative, -1.0, 1.0)
    sigma, cross = law_entries(k, edges, sign)
    used = size > 0
    net = Network(comparison(k), edges, size, sigma, cross)
    free = bool((used | (box.coupling_low <= 0)).all())
    d = plain(net, box) if free else None
    notes: tuple[str, ...] = ()
    if d is not None:
        if context.optimize > 0 and placed.n <= 2000:
            d = balance(net, box, d)
        g, c = net.components(d)
    else:
        from spucc.passes.fitting.spring_box import nearest_in_box

        near = nearest_in_box(k, edges, sign, box, optimal=context.optimize > 1)
        d, g, c = near.scale, near.ground, near.coupling
        notes = (f"the ranges of the banks cost KL {near.divergence:.2g} a cell before any rounding",)
        if not near.divergence < HOPELESS:
            worst = _names(job, placed, near.worst)
            fail(
                "E0530",
                f"the capacitor ranges of `{device.name}` exclude this model: the nearest network is {near.divergence:.2g} nat "
                f"a cell away, mostly at {worst}",
                help="a board with a larger ratio of largest to stray capacitance, `realise{ways=readout}`, or `resistive-64`",
            )
    ground = np.clip(g - to_ground - extra, device.spec.ground.min, device.spec.ground.max)
    value = np.clip(
        c - np.where(negative, -across, across), device.spec.coupling.min * (c > 0), device.spec.coupling.max
    )
    theta, swing = noise_scale(device, assemble(device.family, edges, g, sign * c), job)
    loss = rounding_loss(net, d, box) / max(placed.n, 1)
    if loss > 0:
        notes = (*notes, f"plain rounding is predicted to cost KL {loss:.1g} a cell")
    notes = (*notes, swing) if swing else notes
    result = Placed(
        placed.family,
        placed.domain,
        placed.cell,
        placed.chain,
        frozen(edges, np.int64),
        frozen(ground),
        frozen(sign * value),
        placed.bias,
        theta,
        placed.coordinate,
        placed.role,
        placed.quartic,
    )
    return Outcome(result, Affine.diagonal(d / np.sqrt(theta)), notes)


def board_couplers(placed: Placed, device: Device) -> tuple[IntArray, FloatArray, FloatArray]:
    """The couplers of the placed cells, those that cannot be switched off included: pairs, magnitudes, signed values."""
    needed = required_edges(device, placed.cell)
    if needed.size == 0:
        return placed.edges, np.abs(placed.coupling), np.asarray(placed.coupling)
    n = placed.n
    have, want = placed.edges[:, 0] * n + placed.edges[:, 1], needed[:, 0] * n + needed[:, 1]
    key = np.union1d(have, want)
    coupling = np.zeros(key.size)
    coupling[np.searchsorted(key, have)] = placed.coupling
    return np.stack([key // n, key % n], axis=1), np.abs(coupling), coupling


def step_error(bank: Bank) -> float:
    """The standard error of rounding to a bank's levels, uniform in a step [the bank's unit]."""
    if bank.continuous:
        return 0.0
    if bank.levels is not None and len(bank.levels) > 1:
        return float(np.sqrt(np.mean(np.diff(np.sort(bank.levels)) ** 2) / 12))
    return float(bank.step / np.sqrt(12))


def _box(device: Device, to_ground: FloatArray, across: FloatArray) -> Box:
    spec = device.spec
    top_g = spec.ground.max if spec.ground.levels is None else max(spec.ground.levels)
    top_c = spec.coupling.max if spec.coupling.levels is None else max(spec.coupling.levels)
    return Box(
        spec.ground.min + to_ground,
        top_g + to_ground,
        np.maximum(spec.coupling.min + across, 0.0),
        top_c + across,
        np.full(to_ground.size, step_error(spec.ground)),
        np.full(across.size, step_error(spec.coupling)),
    )


def noise_scale(device: Device, c: sparse.csr_array, job: Job) -> tuple[float, str]:
    """θ [J] that puts the widest voltage's standard deviation at a quarter of full scale (1 V if there is none), within
    the noise's range, and a note when that range is what decides."""
    variance = _widest_variance(c)
    circuit, adc = device.spec.circuit, device.spec.adc
    limit = adc.full_scale / 4 if np.isfinite(adc.full_scale) else 1.0
    wanted = limit**2 / variance
    theta = min(max(wanted, circuit.theta_min), circuit.theta_max)
    # A scale of exactly 1 marks values without units (`Placed.dimensionless`).
    theta = float(np.nextafter(theta, 0.0)) if theta == 1.0 else theta
    sd = float(np.sqrt(theta * variance))
    if np.isfinite(adc.full_scale) and sd > adc.full_scale / 2:
        fail(
            "E0531",
            f"on `{device.name}` the voltages of job `{job.name}` swing by {sd:.2g} V rms with the least noise, against a "
            f"full scale of {adc.full_scale:g} V",
            help="a board whose noise can be turned lower, or whose read-out has a larger full scale",
        )
    if theta < wanted * 0.05 and adc.noise > 0 and adc.noise > 0.05 * sd:
        return theta, f"voltages of {sd:.1g} V rms at most, against {adc.noise:.1g} V of read-out noise"
    return theta, ""


def _widest_variance(c: sparse.csr_array) -> float:
    """max_i (C⁻¹)_ii; for a large Z-matrix the bound max_i (C⁻¹1)_i."""
    n = int(c.shape[0])
    if n <= 1500:
        from spucc.passes.realising.moments import inverse

        return float(np.diagonal(inverse(c.toarray())).max())
    bound = positive_definite_solve(comparison(c), np.ones(n))
    assert bound is not None
    return float(bound.max())


def _names(job: Job, placed: Placed, positions: IntArray) -> str:
    energy: Energy = job.target
    names = []
    for p in positions.tolist():
        k = int(placed.coordinate[p]) if placed.coordinate[p] >= 0 else -1
        if k >= 0 and energy.label(k) not in names:
            names.append(energy.label(k))
    return ", ".join(f"`{x}`" for x in names[:3]) or "hidden cells"
