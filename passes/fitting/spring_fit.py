"""Capacitor networks: from placed couplings to capacitances, noise scale and read-out (mapping §6).

Exact where the ranges allow it; otherwise the network within the ranges that is nearest in KL. What that costs is the
range's share of the loss, apart from what rounding will cost later; `range_floor` proves how little it could be at best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.circuit import assemble, required_edges, strays
from spucc.device import Bank, Device
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.passes.fitting.spring_scaling import Box, Network, balance, law_entries, plain, rounding_loss
from spucc.passes.realising.comparison import comparison, positive_definite_solve
from spucc.passes.realising.moments import inverse
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine, HostLoop
from spucc.stages import Job, Placed, Role

if TYPE_CHECKING:
    from spucc.passes.fitting.conductance_box import Nearest as OnCells
    from spucc.passes.fitting.spring_box import Nearest

HOLD = "range: the banks hold the law exactly (certified: floor 0)"
"""Said where a network within the ranges is the law, which is its own proof."""

EXACT = 1e-12
"""KL per cell [nat] below which a network is the law but for rounding in floating point."""

HOPELESS = 0.05
"""KL per cell [nat] beyond which a board's ranges are said to exclude a model."""


def fit_springs(job: Job, placed: Placed, device: Device, context: Context) -> Outcome:
    """Ground and coupling capacitors [F], θ [J] and the read-out y = D v/√θ.

    Raises E0530 when the ranges exclude the model, E0531 when no admissible noise keeps the voltages on scale.
    """
    edges, size, coupling = board_couplers(placed, device)
    k = assemble(device.family, edges, placed.ground, coupling)
    sign = np.where(coupling < 0, -1.0, 1.0)
    bench = bench_of(device, placed.cell, edges, sign)
    box = bench.box
    try:
        sigma, cross = law_entries(k, edges, sign)
    except linalg.LinAlgError:
        worst = np.argsort(k.diagonal(), kind="stable")[[0, -1]].astype(np.int64)
        fail(
            "E0530",
            f"the capacitors of job `{job.name}` differ by more orders of magnitude than double precision holds: "
            f"{names(job, placed, worst)} have too different units for this way onto `{device.name}`",
            help="rescale these variables, or take another way: `realise{ways=scale+readout}`",
        )
    net = Network(comparison(k), edges, size, sigma, cross)
    free = bool(((size > 0) | (box.coupling_low <= 0)).all())
    d = plain(net, box) if free else None
    if d is not None:
        if context.optimize > 0 and placed.n <= 2000:
            d = balance(net, box, d)
        g, c = net.components(d)
        notes: tuple[str, ...] = (HOLD,)
    else:
        near, notes = _nearest(job, placed, device, k, edges, sign, box, context)
        d, g, c = near.scale, near.ground, near.coupling
    ground, value = bench.programmed(g, c)
    theta, swing = noise_scale(device, assemble(device.family, edges, g, sign * c), job)
    loss = rounding_loss(net, d, box) / max(placed.n, 1)
    if loss > 0:
        notes = (*notes, f"bits: plain rounding is predicted to cost KL {loss:.1g} a cell")
    notes = (*notes, swing) if swing else notes
    result = replace(
        placed,
        edges=frozen(edges, np.int64),
        ground=frozen(ground),
        coupling=frozen(sign * value),
        scale=theta,
    )
    return Outcome(result, Affine.diagonal(d / np.sqrt(theta)), notes)


def _nearest(
    job: Job,
    placed: Placed,
    device: Device,
    k: sparse.csr_array,
    edges: IntArray,
    sign: FloatArray,
    box: Box,
    context: Context,
) -> tuple[Nearest, tuple[str, ...]]:
    """The nearest network in range, and a note on what the ranges cost and what is proved of it; E0530 beyond `HOPELESS`."""
    from spucc.passes.fitting.range_floor import LARGEST, range_floor
    from spucc.passes.fitting.spring_box import nearest_in_box

    stop = context.stop.is_set
    near = nearest_in_box(k, edges, sign, box, context.optimize > 1, stop=stop)
    if near.divergence < EXACT:
        return near, (HOLD,)
    # A proof about the cells' law is one about the variables' only where the one is read as the other.
    whole = np.unique(placed.chain).size == placed.n and bool((placed.role == Role.PLAIN).all())
    whole = whole and not any(isinstance(back, HostLoop) for back in job.readbacks())
    proof = "not certified"
    if stop():
        proof = "not certified: the search was stopped"
    elif whole and context.optimize > 0 and placed.n > LARGEST:
        proof = f"not certified: that is done up to {LARGEST} cells"
    elif whole and context.optimize > 0:
        floor = range_floor(inverse(k.toarray()), edges, sign, box)
        proof = "not certified: the convex problem did not converge"
        if floor is not None:
            other = nearest_in_box(k, edges, sign, box, context.optimize > 1, [floor.scale])
            near = min(near, other, key=lambda found: found.divergence)
            bound = min(floor.bound / placed.n, near.divergence)
            proof = f"certified: none with these couplers costs less than {bound:.2g}"
    help = "a board with a larger ratio of largest to stray capacitance, `realise{ways=readout}`, or `resistive-64`"
    return near, (reach(job, placed, f"the capacitor ranges of `{device.name}`", near, proof, help, stop()),)


def reach(
    job: Job, placed: Placed, excluded: str, near: Nearest | OnCells, proof: str, help: str, stopped: bool
) -> str:
    """A note on what the ranges cost and what is proved of it; E0530 where that is beyond `HOPELESS`."""
    if not near.divergence < HOPELESS and not stopped:
        fail(
            "E0530",
            f"{excluded} exclude this model: the nearest network is {near.divergence:.2g} nat "
            f"a cell away, mostly at {names(job, placed, near.worst)}",
            notes=(proof,),
            help=help,
        )
    return f"range: the nearest network that the banks hold costs KL {near.divergence:.2g} a cell ({proof})"


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


def bank_ranges(device: Device, cell: IntArray, edges: IntArray) -> tuple[FloatArray, ...]:
    """Least and largest programmed value of each cell's ground bank [n], [n] and of each coupler [m], [m], those of the
    measured level tables where there are any."""
    spec, measured = device.spec, device.calibration
    nominal: list[FloatArray] = []
    for bank, count in ((spec.ground, cell.size), (spec.coupling, edges.shape[0])):
        ends = (bank.min, bank.max) if bank.levels is None else (min(bank.levels), max(bank.levels))
        nominal.extend(np.full(count, end) for end in ends)
    if measured.ground_levels is not None:
        table = device.ground_levels(cell)
        nominal[:2] = table.min(axis=1), table.max(axis=1)
    if measured.coupling_levels is not None and edges.size:
        table = device.coupling_levels(device.coupler_ids(cell[edges]))
        nominal[2:] = table.min(axis=1), table.max(axis=1)
    return tuple(nominal)


@dataclass(frozen=True, eq=False)
class Bench:
    """What a board offers some cells: the `box` of their total capacitors, strays included, and what of it is stray: `ground`
    [n] at each cell and `coupling` [m] across each coupler of the given sign."""

    box: Box
    ground: FloatArray
    coupling: FloatArray

    def programmed(self, g: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The banks' values for total capacitors g [n] and c [m] within the box, an absent coupler's being 0."""
        ground, coupling, box = g - self.ground, c - self.coupling, self.box
        return (
            np.clip(ground, box.ground_low - self.ground, box.ground_high - self.ground),
            np.clip(
                coupling, (box.coupling_low - self.coupling) * (c > 0), box.coupling_high - self.coupling
            ),
        )


def bench_of(device: Device, cell: IntArray, edges: IntArray, sign: FloatArray) -> Bench:
    """The bench of the cells `cell` [n] and couplers `edges` [m, 2], `sign` −1 for negative ones.

    A stray stays positive across a negative coupler: that is then larger by the stray, and both ground capacitors smaller by
    twice the stray (`spucc.circuit.network`).
    """
    spec, n = device.spec, cell.size
    to_ground, across = strays(device, cell, edges)
    shift = np.where(sign < 0, 2 * across, 0.0)
    ground = to_ground + np.bincount(edges[:, 0], shift, n) + np.bincount(edges[:, 1], shift, n)
    coupling = sign * across
    ground_low, ground_high, low, high = bank_ranges(device, cell, edges)
    box = Box(
        ground_low + ground,
        ground_high + ground,
        np.maximum(low + coupling, 0.0),
        high + coupling,
        np.full(n, step_error(spec.ground)),
        np.full(sign.size, step_error(spec.coupling)),
    )
    return Bench(box, ground, coupling)


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
        return float(np.diagonal(inverse(c.toarray())).max())
    bound = positive_definite_solve(comparison(c), np.ones(n))
    assert bound is not None
    return float(bound.max())


def names(job: Job, placed: Placed, positions: IntArray) -> str:
    """The variables that the first of the cells at `positions` stand for, in the user's words."""
    energy: Energy = job.target
    found: list[str] = []
    for p in positions.tolist():
        k = int(placed.coordinate[p]) if placed.coordinate[p] >= 0 else -1
        if k >= 0 and energy.label(k) not in found:
            found.append(energy.label(k))
    return ", ".join(f"`{x}`" for x in found[:3]) or "hidden cells"
