"""The linear stochastic equation dx = −A (x − mean) dt + B dW of any family, stepped without discretisation
error.

    x(t + h) = F x(t) + noise of covariance Q,   F = exp(−A h),   Q = ∫₀ʰ e^{−As} B Bᵀ e^{−Aᵀs} ds

so that Q = S − F S Fᵀ with A S + S Aᵀ = B Bᵀ (physics §3, §4). A need not be normal, and B Bᵀ may be
singular, as it is in an RLC cell. F and Q come from a short step by doubling, F(2t) = F(t)², Q(2t) = Q(t) +
F(t) Q(t) F(t)ᵀ: sums of positive terms only, so that no interval, however short or long, loses Q to
cancellation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import factorial, inf, isfinite, ldexp

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.device import Family
from spucc.diagnostics import fail
from spucc.targets.circuits import Board, assert_followed
from spucc.targets.gaussian import DenseFactor, factorise

# Terms of the series of a short step, and what is left of a start that is forgotten.
_ORDER = 12
_FORGOTTEN = 1e-9


@dataclass(frozen=True, eq=False)
class Linear:
    """dx = −A (x − mean) dt + B dW for d states without units: state k is `unit[k]` of the SI unit.

    `drift` A [d, d] in 1/s, `noise` B [d, w]; the cells that are read are the last `cells` states.
    """

    drift: FloatArray
    noise: FloatArray
    mean: FloatArray
    unit: FloatArray
    cells: int
    stable: bool = False
    """Whether every eigenvalue of A is known to have a positive real part."""

    @property
    def d(self) -> int:
        return int(self.mean.size)

    @cached_property
    def rates(self) -> NDArray[np.complex128]:
        """The eigenvalues [d] of A, in 1/s."""
        if not np.isfinite(self.drift).all():
            return np.full(self.d, np.nan, dtype=np.complex128)
        return np.asarray(np.linalg.eigvals(self.drift), dtype=np.complex128)

    @property
    def read_unit(self) -> FloatArray:
        """The units [cells] of the cells."""
        return self.unit[self.d - self.cells :]

    def mean_read(self) -> FloatArray:
        """The mean of the cells, in SI units."""
        return np.asarray((self.mean * self.unit)[self.d - self.cells :])

    def read(self, covariance: FloatArray) -> FloatArray:
        """The block of a covariance [d, d] of states that belongs to the cells, in SI units."""
        block = covariance[self.d - self.cells :, self.d - self.cells :]
        return np.asarray(block * self.read_unit[:, None] * self.read_unit)


def system(circuit: Board) -> Linear:
    """The equation of a circuit (physics §1, §3). Capacitors have the states (i, v), the other families their
    cells; coupled coils in series with resistors L di = −R i dt + √(2κ) dW, so i ~ N(0, θL⁻¹) (mapping §4).
    Passive parts and a positive definite matrix make it stable: its energy can but fall, and no mode swings
    without a voltage on its resistors.

    Raises E0721 where the matrix of capacitors, conductances or coils is not positive definite, E0720 for parts that
    no passive circuit has.
    """
    assert_passive(circuit)
    n, k = circuit.n, np.asarray(circuit.matrix.toarray())
    if circuit.family is Family.CAPACITIVE:
        # L di = (v − r_s i) dt;  C dv = −(i + v/R) dt + √(2κ) dW
        inverse = DenseFactor(k).solve(np.eye(n))
        i_unit = np.sqrt(circuit.scale / circuit.inductance)
        v_unit = np.sqrt(circuit.scale / np.diagonal(k))
        left = inverse / v_unit[:, None]
        drift = np.zeros((2 * n, 2 * n))
        np.fill_diagonal(drift[:n, :n], circuit.series_resistance / circuit.inductance)
        np.fill_diagonal(drift[:n, n:], -v_unit / (circuit.inductance * i_unit))
        drift[n:, :n], drift[n:, n:] = left * i_unit, left * (v_unit / circuit.resistance)
        noise = np.concatenate([np.zeros((n, n)), left * np.sqrt(2.0 * circuit.noise)])
        return Linear(drift, noise, np.zeros(2 * n), np.concatenate([i_unit, v_unit]), n, True)
    unit = np.sqrt(circuit.scale / np.diagonal(k))
    if circuit.family is Family.INDUCTIVE:
        left = DenseFactor(k).solve(np.eye(n)) / unit[:, None]
        noise = left * np.sqrt(2.0 * circuit.noise)
        return Linear(left * (circuit.loop * unit), noise, np.zeros(n), unit, n, True)
    rate, strength = overdamped(circuit)
    mean = factorise(k).solve(circuit.bias) / unit
    return Linear(rate * k * unit / unit[:, None], np.diag(np.sqrt(strength) / unit), mean, unit, n, True)


def boltzmann(circuit: Board, linear: Linear) -> FloatArray:
    """The covariance [d, d] of `system(circuit)` after infinite time where the circuit is in equilibrium: θK⁻¹ of the
    cells, and of coils θ/L (physics §1)."""
    n, theta = circuit.n, circuit.temperature
    out = np.zeros((linear.d, linear.d))
    cells = theta * DenseFactor(np.asarray(circuit.matrix.toarray())).solve(np.eye(n))
    out[linear.d - n :, linear.d - n :] = cells / linear.read_unit[:, None] / linear.read_unit
    if linear.d > n:
        out[np.arange(n), np.arange(n)] = theta / circuit.inductance / linear.unit[:n] ** 2
    return out


def overdamped(circuit: Board) -> tuple[float, FloatArray]:
    """(a, D): dv = −a (K v − bias) dt + √D dW of the families whose matrix drives them."""
    if circuit.family is Family.RESISTIVE:
        return 1.0 / circuit.capacitance, 2.0 * circuit.noise / circuit.capacitance**2
    return circuit.mobility, 2.0 * circuit.mobility * circuit.noise


def assert_passive(circuit: Board) -> None:
    """Raises E0720 for parts that give energy, E0721 is left to the factor of the matrix."""
    parts = {
        "resistance": circuit.resistance > 0,
        "inductance": circuit.inductance > 0,
        "series resistance": circuit.series_resistance >= 0,
        "noise power": circuit.noise >= 0,
        "scale": np.array([circuit.scale > 0 and isfinite(circuit.scale)]),
    }
    for name, good in parts.items():
        if not good.all():
            fail(
                "E0720",
                f"the circuit is not passive: its {name} of cell {int(np.argmin(good))} is out of bounds",
                help="check the device file and its calibration",
            )
    assert_followed(circuit)


def assert_stable(linear: Linear) -> None:
    """Raises E0720 unless every eigenvalue of A has a positive real part."""
    if not np.isfinite(linear.drift).all() or (
        linear.d and not linear.stable and not linear.rates.real.min() > 0
    ):
        fail(
            "E0720",
            "the circuit is not stable: a disturbance of it grows instead of dying out",
            help="check the signs of resistances and couplers in the device file and the calibration",
        )


def transition(linear: Linear, h: float) -> tuple[FloatArray, FloatArray]:
    """F and Q [d, d] of an interval h ≥ 0 in s; for h = ∞, 0 and the stationary covariance.

    Raises:
        SpuccError: E0720 where the circuit is not stable, E0723 for an interval that is no time.
    """
    if not h >= 0:
        fail("E0723", f"the interval between draws is {h} s", help="give a time of 0 s or more")
    d = linear.d
    if h == 0 or d == 0:
        return np.eye(d), np.zeros((d, d))
    assert_stable(linear)
    rate = float(np.linalg.norm(linear.drift, 1))
    doublings = max(0, int(np.ceil(np.log2(h * rate))) + 2) if isfinite(h * rate) else None
    step = ldexp(h, -doublings) if doublings is not None else 0.25 / rate
    f, q = _short(linear.drift, linear.noise, step)
    return repeated(f, q, None if doublings is None else 1 << doublings)


def _short(drift: FloatArray, noise: FloatArray, t: float) -> tuple[FloatArray, FloatArray]:
    """F and Q [..., d, d] of a time t with ‖A‖₁ t ≤ ¼, up to terms below 1e-17 of the first, for A [..., d, d] and
    B [..., d, w]."""
    x = -t * drift
    return _exponential(x), _gathered(x, np.sqrt(t) * noise)


def _exponential(x: FloatArray) -> FloatArray:
    """Σ xᵏ/k! by Paterson and Stockmeyer's (1973) five products."""
    square = x @ x
    cube = square @ x
    low = np.stack([np.broadcast_to(np.eye(x.shape[-1]), x.shape), x, square]).reshape(3, -1)
    *rest, f = (_taylor() @ low).reshape(-1, *x.shape)
    f += cube / factorial(_ORDER)
    for part in reversed(rest):
        f = cube @ f
        f += part
    return np.asarray(f)


def _gathered(x: FloatArray, b: FloatArray) -> FloatArray:
    """∫₀¹ Z(s) Z(s)ᵀ ds with Z(s) = Σ sᵏ xᵏ b/k!, by Gauss and Legendre's rule: a sum of squares, so that it loses nothing to
    cancellation."""
    *batch, d, w = b.shape
    term = np.empty((*batch, d, _ORDER + 1, w))
    y = term[..., 0, :] = b
    for k in range(1, _ORDER + 1):
        y = x @ y
        y /= k
        term[..., k, :] = y
    q = np.zeros((*batch, d, d))
    for points in np.split(_gauss(), 3):
        z = (points @ term).reshape(*batch, d, -1)
        q += z @ z.swapaxes(-1, -2)
    return q


@cache
def _taylor() -> FloatArray:
    """1/k! [order/3, 3] of k = 0 … order − 1."""
    return 1.0 / np.array([factorial(k) for k in range(_ORDER)], dtype=np.float64).reshape(-1, 3)


@cache
def _gauss() -> FloatArray:
    """√weight · sᵏ [points, order + 1] of the rule on [0, 1], with an error of 5e-20 for a short step."""
    point, weight = np.polynomial.legendre.leggauss(6)
    power = (0.5 * (point + 1.0))[:, None] ** np.arange(_ORDER + 1)
    return np.asarray(np.sqrt(0.5 * weight)[:, None] * power)


def repeated(f: FloatArray, q: FloatArray, times: int | None) -> tuple[FloatArray, FloatArray]:
    """F and Q of `times` steps of (F, Q) [d, d]; of infinitely many for None. F must be stable."""
    if times == 0:
        return np.eye(f.shape[0]), np.zeros_like(q)
    f, q, spare, part = f.copy(), q.copy(), np.empty_like(f), np.empty_like(f)
    total: tuple[FloatArray, FloatArray] | None = None
    left = times
    while True:
        if left is not None and left & 1:
            total = (f.copy(), q.copy()) if total is None else (f @ total[0], f @ total[1] @ f.T + q)
            if left == 1:
                return total[0], 0.5 * (total[1] + total[1].T)
        # What F leaves of Q is nothing once it is below the root of the rounding.
        if left is None and float(np.abs(f).max(initial=0.0)) < _FORGOTTEN:
            return np.zeros_like(f), 0.5 * (q + q.T)
        np.matmul(f, q, out=part)
        np.matmul(part, f.T, out=spare)
        q += spare
        np.matmul(f, f, out=spare)
        f, spare = spare, f
        # Denormal numbers cost a hundred times the others, and mean nothing here.
        f[np.abs(f) < 1e-150] = 0.0
        left = None if left is None else left >> 1


def updated(linear: Linear, tau: float, hold: str) -> tuple[FloatArray, FloatArray, int]:
    """F, Q of one update interval τ of noise that is not white, and the number of states that stand before
    the circuit's.

    `held`: the current B ξ_k/√τ over the whole interval, states (ξ_k, x). `linear`: in a straight line from
    ξ_k to ξ_(k+1), states (ξ_k, ξ_(k+1), x). Both exact. The states are those at the Gauss point τ(1 −
    1/√3)/2 of each interval, where the variance is its mean over the interval to third order: a converter
    that runs on a clock of its own sees that mean (physics §5).
    """
    d, w = linear.noise.shape
    if hold not in ("held", "linear"):
        fail("E0720", f"noise cannot be updated in the way `{hold}`", help="the ways are held and linear")
    assert_stable(linear)
    at = 0.5 * (1.0 - 1.0 / np.sqrt(3.0))
    f1, c1, r1 = _response(linear, at * tau)
    f2, c2, r2 = _response(linear, (1.0 - at) * tau)
    # Ramps of unit slope in τ, currents in 1/√τ.
    c1, c2, r1, r2 = (x / np.sqrt(tau) for x in (c1, c2, at * r1, (1.0 - at) * r2))
    if hold == "held":
        f = np.zeros((w + d, w + d))
        f[w:, :w], f[w:, w:] = f1 @ c2, f1 @ f2
        kick = np.concatenate([np.eye(w), c1])
        return f, kick @ kick.T, w
    f = np.zeros((2 * w + d, 2 * w + d))
    f[:w, w : 2 * w] = np.eye(w)
    f[2 * w :, :w] = f1 @ ((1.0 - at) * c2 - r2)
    f[2 * w :, w : 2 * w] = f1 @ (at * c2 + r2) + c1 - r1
    f[2 * w :, 2 * w :] = f1 @ f2
    kick = np.concatenate([np.zeros((w, w)), np.eye(w), r1])
    return f, kick @ kick.T, 2 * w


def _response(linear: Linear, t: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """exp(−A t), and what a constant current B, and one that grows from 0 to B, leave in x after a time t."""
    d, w = linear.noise.shape
    block = np.zeros((d + 2 * w, d + 2 * w))
    block[:d, :d] = -linear.drift * t
    block[:d, d : d + w] = linear.noise * t
    block[d : d + w, d + w :] = np.eye(w)
    exp = linalg.expm(block)
    return exp[:d, :d], exp[:d, d : d + w], exp[:d, d + w :]


def stationary(linear: Linear) -> FloatArray:
    """S [d, d] with A S + S Aᵀ = B Bᵀ. Raises E0720 where the circuit is not stable."""
    return transition(linear, inf)[1]


# --- systems that fall apart into modes
# ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Modes:
    """The equation as functions of one symmetric matrix M of the cells: every eigenvalue m of M is a mode of
    its own.

    Of an overdamped circuit x' = −a mᵖ x, p = 1, of coupled coils p = −1: one number a mode. Of equal RLC
    cells, C's mode c has the states (i, v) in units √(θ/ℓ), √θ/√c: two. `kind` is 1 or 2; see `transfer`.
    """

    kind: int
    rate: float
    scale: float
    inductance: float = 1.0
    resistance: float = 1.0
    series: float = 0.0
    kappa: float = 0.0
    power: int = 1

    def transfer(self, m: FloatArray, h: float) -> tuple[FloatArray, FloatArray]:
        """F and a lower root of Q for eigenvalues m [k]: [k, kind, kind] each, in SI units."""
        if self.kind == 1:
            x = self.rate * m**self.power * h
            spread = -np.expm1(-2.0 * x) / m if isfinite(h) else 1.0 / m
            root = np.sqrt(self.scale * spread)
            return np.exp(-x)[:, None, None], root[:, None, None]
        f, q = self._pair(m, h)
        low = np.zeros_like(q)
        low[:, 0, 0] = np.sqrt(np.maximum(q[:, 0, 0], 0.0))
        np.divide(q[:, 1, 0], low[:, 0, 0], out=low[:, 1, 0], where=low[:, 0, 0] > 0)
        low[:, 1, 1] = np.sqrt(np.maximum(q[:, 1, 1] - low[:, 1, 0] ** 2, 0.0))
        return f, low

    def variance(self, m: FloatArray) -> FloatArray:
        """The stationary variance [k] of the cells in the modes of eigenvalues m [k].

        Of an RLC mode with series resistance r, from its 2 × 2 Lyapunov equation, θ = κR:
        θ/c · (r²c + ℓ(1 + r/R)) / (ℓ(1 + r/R) + c r(r + R)); physics §5 has its first order.
        """
        if self.kind == 1:
            return self.scale / m
        r, big_r, theta = self.series, self.resistance, self.kappa * self.resistance
        alpha = self.inductance * (1.0 + r / big_r)
        return theta / m * (r * r * m + alpha) / (alpha + m * r * (r + big_r))

    def _pair(self, c: FloatArray, h: float) -> tuple[FloatArray, FloatArray]:
        """F and Q [k, 2, 2] of RLC modes by the same doubling, all modes at once."""
        k = c.size
        i_unit, v_unit = np.sqrt(self.scale / self.inductance), np.sqrt(self.scale / c)
        w = 1.0 / np.sqrt(self.inductance * c)
        a = np.empty((k, 2, 2))
        a[:, 0, 0], a[:, 0, 1] = self.series / self.inductance, -w
        a[:, 1, 0], a[:, 1, 1] = w, 1.0 / (self.resistance * c)
        noise = np.zeros((k, 2, 1))
        noise[:, 1, 0] = np.sqrt(2.0 * self.kappa / c / self.scale)
        rate = float(np.abs(a).sum(axis=1).max())
        doublings = max(0, int(np.ceil(np.log2(h * rate))) + 2) if isfinite(h * rate) and h > 0 else None
        step = h if h == 0 else ldexp(h, -doublings) if doublings is not None else 0.25 / rate
        f, q = _short(a, noise, step)
        done = 0
        while h > 0 and (done < doublings if doublings is not None else np.abs(f).max() > 1e-12):
            q = q + f @ q @ f.swapaxes(1, 2)
            f = f @ f
            f[np.abs(f) < 1e-150] = 0.0
            done += 1
        unit = np.stack([np.full(k, i_unit), v_unit], axis=1)
        f = f * unit[:, :, None] / unit[:, None, :]
        return f, q * unit[:, :, None] * unit[:, None, :]


def modes(circuit: Board) -> Modes | None:
    """The circuit as functions of its matrix where it is one: equal cells, equal noise. None else."""

    def equal(x: FloatArray) -> bool:
        return bool(np.ptp(x) <= 1e-12 * np.abs(x).max(initial=0.0)) if x.size else True

    if circuit.n == 0:
        return None
    assert_passive(circuit)
    if circuit.family is Family.CAPACITIVE:
        parts = (circuit.resistance, circuit.inductance, circuit.series_resistance, circuit.noise)
        if not all(equal(p) for p in parts):
            return None
        r, ell, series, kappa = (float(p[0]) for p in parts)
        return Modes(2, 0.0, circuit.scale, ell, r, series, kappa)
    if circuit.family is Family.INDUCTIVE:
        if not (equal(circuit.loop) and equal(circuit.noise)):
            return None
        return Modes(1, float(circuit.loop[0]), circuit.temperature, power=-1)
    rate, strength = overdamped(circuit)
    if not equal(strength):
        return None
    return Modes(1, rate, float(strength[0]) / (2.0 * rate))
