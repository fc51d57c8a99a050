"""When to read a configured device: settle time, interval and draws from the poles of its circuit (physics §4).

With equal L and R, mode k of the capacitance matrix (eigenvalue c_k) has the poles s = −1/(2Rc_k) ±
√(1/(2Rc_k)² − 1/(ℓc_k)), and its voltage the autocorrelation e^(−gt)(cos ωt − (g/ω) sin ωt), g = 1/(2Rc_k). The
slowest modes are those of high precision. With unequal parts or series resistance the poles are those of the
2n-dimensional linear system. A resistive cell network has the real poles −λ_k(G)/C0, coupled coils those of −L⁻¹R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray
from spucc.circuit import network
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.fidelity.ledger import decode
from spucc.readback import Affine, ReadBack
from spucc.stages import Quantized, Schedule

SETTLED = 1e-4
"""The relative error of a variance that is left of a cold start when reading begins."""

_DENSE = 800


@dataclass(frozen=True)
class Pace:
    """How fast a circuit forgets: `slowest` [1/s] is the least |Re s| of its poles, `ess_per_draw` the
    effective sample size that one draw at `interval` [s] has for the worst variance."""

    slowest: float
    interval: float
    ess_per_draw: float


def schedule_of(
    codes: Quantized,
    device: Device,
    draws: int,
    chains: int,
    rel_error: float | None,
    host: float,
    back: Sequence[ReadBack] = (),
) -> tuple[Schedule, tuple[str, ...]]:
    """The schedule of a configuration and notes on it.

    `rel_error` asks for as many draws as bring the expected relative Frobenius error of the covariance below it:
    ε = √((1 + r)/N), r = tr(Σ)²/tr(Σ²), N effective draws. `host` is the multiplications for one draw. `back`
    leads to the user's variables, whose Σ is meant; without it r ≤ n is used.
    """
    paces = [_pace(codes, m, device) for m in range(codes.members)] if codes.n else []
    found = [p for p in paces if p is not None]
    if not found:
        pace, settle = Pace(np.inf, 0.0, 1.0), 0.0
    else:
        worst = max(found, key=lambda p: p.interval)
        pace = Pace(min(p.slowest for p in found), worst.interval, min(p.ess_per_draw for p in found))
        settle = float(np.log(1 / SETTLED)) / (2 * pace.slowest)
    notes: list[str] = []
    if rel_error is not None:
        if not 0 < rel_error < 1:
            raise ValueError("rel-error lies between 0 and 1")
        needed = (1 + _participation(codes, device, back)) / rel_error**2
        draws = max(int(np.ceil(needed / (chains * pace.ess_per_draw))), 1)
        notes.append(f"{draws} draws a chain bring the covariance within {rel_error:g} of itself (Frobenius)")
    if found:
        notes.append(
            f"settles in {settle:.2g} s, one draw every {pace.interval:.2g} s, {pace.ess_per_draw:.2f} effective draws each"
        )
    return Schedule(settle, pace.interval, draws, chains, pace.ess_per_draw, host), tuple(notes)


def _pace(codes: Quantized, m: int, device: Device) -> Pace | None:
    if not device.family.electric:
        return None
    ground, coupling = decode(codes, m, device)
    matrix = network(device, codes.cell, codes.edges, ground, coupling)
    shortest = 1.0 / device.spec.adc.rate
    circuit, measured = device.spec.circuit, device.calibration
    if device.family is Family.RESISTIVE:
        return resistive_pace(extremes(matrix) / circuit.capacitance, shortest)
    n = codes.n
    r = np.full(n, circuit.resistance) if measured.resistance is None else measured.resistance[codes.cell]
    s = np.full(n, circuit.series_resistance)
    if measured.series_resistance is not None:
        s = measured.series_resistance[codes.cell]
    if device.family is Family.INDUCTIVE:
        # The eigenvalues of L⁻¹R are one over those of the symmetric R^−½ L R^−½.
        root = sparse.diags_array(1.0 / np.sqrt(r + s))
        return resistive_pace(1.0 / extremes(sparse.csr_array(root @ matrix @ root)), shortest)
    l = np.full(n, circuit.inductance) if measured.inductance is None else measured.inductance[codes.cell]
    uneven = np.ptp(r) > 0 or np.ptp(l) > 0 or s.any()
    if uneven and n <= _DENSE // 2:
        return general_pace(circuit_poles(matrix.toarray(), r, l, s), shortest)
    return resonator_pace(extremes(matrix), float(r.mean()), float(l.mean()), shortest)


def extremes(matrix: sparse.csr_array) -> FloatArray:
    """The eigenvalues of a symmetric positive definite matrix; for a large one a bound above the largest and,
    by inverse iteration, the smallest."""
    n = int(matrix.shape[0])
    if n <= _DENSE:
        values: FloatArray = linalg.eigvalsh(matrix.toarray())
        return np.maximum(values, np.finfo(float).tiny)
    top = sparse_linalg.eigsh(matrix, k=1, which="LA", v0=np.ones(n), tol=1e-3, return_eigenvectors=False)
    low = sparse_linalg.eigsh(
        sparse.csc_array(matrix),
        k=1,
        sigma=0.0,
        which="LM",
        v0=np.ones(n),
        tol=1e-3,
        return_eigenvectors=False,
    )
    return np.array([low[0], top[0] * 1.001])


def resonator_poles(c: FloatArray, r: float, l: float) -> tuple[FloatArray, FloatArray]:
    """The two poles of modes with capacitance c [F], complex: s± = −g ± √(g² − 1/(ℓc))."""
    g = 1.0 / (2 * r * c)
    root = np.sqrt((g**2 - 1.0 / (l * c)).astype(complex))
    return -g + root, -g - root


def resonator_autocorrelation(t: FloatArray, c: float, r: float, l: float) -> FloatArray:
    """Autocorrelation of a mode's voltage at times t: (s₊e^{s₊t} − s₋e^{s₋t})/(s₊ − s₋), real."""
    (plus,), (minus,) = resonator_poles(np.array([c]), r, l)
    if abs(plus - minus) < 1e-9 * abs(plus):
        return np.real(np.exp(plus * t) * (1 + plus * t))
    return np.real((plus * np.exp(plus * t) - minus * np.exp(minus * t)) / (plus - minus))


def resonator_pace(c: FloatArray, r: float, l: float, shortest: float) -> Pace:
    """The pace of equal resonators: an interval of twice the slowest mode's R c, at least `shortest`."""
    plus, minus = resonator_poles(c, r, l)
    slowest = float(np.min(-np.real(np.concatenate([plus, minus]))))
    if not slowest > 0:
        fail(
            "E0720",
            "the circuit never settles: in double precision its slowest mode does not decay at all",
            help="check the resistance and the inductance in the device file",
        )
    interval = max(shortest, 1.0 / slowest)
    ess = min(
        _effective(resonator_autocorrelation(_lags(interval, slowest), float(x), r, l)) for x in _spread(c)
    )
    return Pace(slowest, interval, ess)


def resistive_pace(rates: FloatArray, shortest: float) -> Pace:
    """The pace of modes that decay at real rates [1/s]."""
    slowest = float(rates.min())
    interval = max(shortest, 1.0 / slowest)
    return Pace(slowest, interval, _effective(np.exp(-slowest * _lags(interval, slowest))))


def general_pace(poles: FloatArray, shortest: float) -> Pace:
    """The pace of any linear system, by the envelope of its slowest pole: a lower bound of the effective sample
    size."""
    slowest = float(np.min(-np.real(poles)))
    interval = max(shortest, 1.0 / slowest)
    return Pace(slowest, interval, _effective(np.exp(-slowest * _lags(interval, slowest))))


def circuit_poles(c: FloatArray, r: FloatArray, l: FloatArray, series: FloatArray) -> FloatArray:
    """The 2n poles of i' = L⁻¹(v − r_s i), v' = −C⁻¹(R⁻¹v + i), for C [n, n] and per-cell R, L, r_s [n]."""
    n = r.size
    b = np.block([[np.diag(-series), np.eye(n)], [-np.eye(n), np.diag(-1.0 / r)]])
    mass = linalg.block_diag(np.diag(l), c)
    return np.asarray(linalg.eigvals(b, mass))


def _lags(interval: float, slowest: float) -> FloatArray:
    """The lags 1, 2, … draws until a square of the slowest autocorrelation is below 1e-8."""
    count = int(np.clip(np.ceil(9.3 / (slowest * interval)), 1, 4000))
    return np.asarray(interval * np.arange(1, count + 1), dtype=np.float64)


def _effective(autocorrelation: FloatArray) -> float:
    """Effective draws for a variance for each draw: 1/(1 + 2 Σ ρ²)."""
    return 1.0 / (1.0 + 2.0 * float(np.sum(autocorrelation**2)))


def _spread(c: FloatArray) -> FloatArray:
    """At most 32 of the modes, the extreme ones among them."""
    return np.sort(c)[np.unique(np.linspace(0, c.size - 1, min(c.size, 32)).astype(np.int64))]


def _participation(codes: Quantized, device: Device, back: Sequence[ReadBack]) -> float:
    """r = tr(Σ)²/tr(Σ²) of the user's variables, or its bound, the number of cells."""
    if codes.n > _DENSE or not back or not all(isinstance(b, Affine) for b in back):
        return float(codes.n)
    from spucc.fidelity.ledger import member_law

    try:
        mean, cov = member_law(codes, 0, device)
    except linalg.LinAlgError:
        return float(codes.n)
    for step in reversed(back):
        if isinstance(step, Affine):
            mean, cov = step.moments(mean, cov)
    return float(np.trace(cov) ** 2 / np.sum(cov**2))
