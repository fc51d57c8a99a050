"""Codes of nonlinear units: the ledger's figures against scipy's quadrature and a transfer operator, and the descent's gain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, sparse

from spucc.driver import compile_program
from spucc.fidelity.quartic_law import points
from spucc.stages import Configuration, Program

PASSES = "condition,split,realise-langevin,place,fit-langevin,quantize-langevin{},lower-sweeps"


def units(bits: int) -> str:
    banks = " ".join(
        f"{k}.max=4 {k}.bits={bits}{'' if k == 'quartic' else f' {k}.signed=true'}"
        for k in ("ground", "coupling", "bias", "quartic")
    )
    return f"langevin-ideal{{{banks}}}"


def chain(n: int, bits: int, search: bool = True) -> Program:
    text = f"""
var x: real[{n}] ~ double_well(-0.7, 1)
energy 0.43 * sum(x[1:] * x[:-1]) + 0.13 * x[0] - 0.31 * x[1]**2
temperature 0.6
"""
    return compile_program(text, target=units(bits), passes=PASSES.format("" if search else "{search=false}"))


def terms(program: Program) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K, b, q over x, decoded by hand: code c is c·4/(2^bits − 1), x = s y with the read-back's s."""
    value = program.jobs[0].value
    assert isinstance(value, Configuration)
    codes, (back,) = value.codes, value.readback
    step = 4 / (2**program.device.spec.ground.bits - 1)
    n = codes.n
    k = np.diag(codes.ground[0] * step).astype(float)
    for (p, q), c in zip(codes.edges.tolist(), codes.coupling[0].tolist()):
        k[p, q] = k[q, p] = -c * step
    s = back.matrix.toarray().diagonal()
    assert back.matrix.nnz == n and s.all()
    return k / np.outer(s, s), codes.bias[0] * step / s, codes.quartic[0] * step / s**4


def model(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k = (np.eye(n, k=1) + np.eye(n, k=-1)) * 0.43 - 1.4 * np.eye(n)
    k[1, 1] -= 0.62
    b = np.zeros(n)
    b[0] = -0.13
    return k / 0.6, b / 0.6, np.ones(n) / 0.6


def energy(t: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray) -> np.ndarray:
    k, b, q = t
    return 0.5 * np.einsum("...i,ij,...j->...", x, k, x) - x @ b + x**4 @ q


def test_the_divergence_of_two_units_is_that_of_quadrature() -> None:
    program = chain(2, 4)
    p, r = model(2), terms(program)

    def over(f: object) -> float:
        return float(integrate.dblquad(lambda y, x: f(np.array([x, y])), -4, 4, -4, 4, epsabs=1e-11)[0])  # type: ignore[operator]

    zp, zr = (over(lambda v, t=t: np.exp(-energy(t, v))) for t in (p, r))
    gap = over(lambda v: np.exp(-energy(p, v)) * (energy(r, v) - energy(p, v))) / zp
    back = over(lambda v: np.exp(-energy(r, v)) * (energy(p, v) - energy(r, v))) / zr
    last = program.ledger[-1]
    assert last.basis == "exact"
    assert last.kl_forward == pytest.approx((gap + np.log(zr / zp)) / 2, rel=1e-6)
    assert last.kl_reverse == pytest.approx((back + np.log(zp / zr)) / 2, rel=1e-6)
    sd = [np.sqrt(over(lambda v, t=t: v[1] ** 2 * np.exp(-energy(t, v))) / z) for t, z in ((p, zp), (r, zr))]
    assert abs(sd[1] / sd[0] - 1) <= last.sd_error + 0.02


def test_the_divergence_of_a_chain_is_that_of_its_transfer_operator() -> None:
    """An estimate from 3,072 draws: within a quarter of the exact figure."""
    n, x = 6, np.linspace(-3, 3, 241)
    program = chain(n, 4)
    last = program.ledger[-1]
    assert last.basis == "estimate"

    def partition(t: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
        k, b, q = t
        own = [0.5 * k[i, i] * x**2 - b[i] * x + q[i] * x**4 for i in range(n)]
        left = np.exp(-own[0])
        total = 0.0
        for i in range(1, n):
            left = (left @ np.exp(-k[i - 1, i] * np.outer(x, x))) * np.exp(-own[i])
            total += np.log(left.max())
            left /= left.max()
        return float(total + np.log(left.sum()))

    p, r = model(n), terms(program)
    gap = [b - a for a, b in zip(p, r)]
    h = 1e-4
    ahead, behind = (partition(tuple(a + s * h * g for a, g in zip(p, gap))) for s in (1, -1))  # type: ignore[arg-type]
    mean = -(ahead - behind) / (2 * h)
    exact = (mean + partition(r) - partition(p)) / n
    assert exact > 0
    assert last.kl_forward == pytest.approx(exact, rel=0.25)


@pytest.mark.parametrize("n, bits", [(2, 3), (3, 4), (6, 4), (12, 5)])
def test_codes_chosen_together_are_never_further_than_the_nearest(n: int, bits: int) -> None:
    together, nearest = chain(n, bits), chain(n, bits, search=False)
    assert together.ledger[-1].kl_forward <= nearest.ledger[-1].kl_forward * (1 + 1e-12)
    if (n, bits) == (6, 4):
        assert together.ledger[-1].kl_forward < 0.8 * nearest.ledger[-1].kl_forward
        assert any("chosen together" in note for s in together.jobs[0].steps for note in s.notes)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_points_have_the_moments_whatever_the_unit_of_length(size: float) -> None:
    found = points(sparse.csr_array([[-2 / size**2]]), np.array([0.3 / size]), np.array([1 / size**4]))
    assert found is not None
    weight = lambda x: np.exp(-(x**4 - x**2 - 0.3 * x))  # noqa: E731
    want = [integrate.quad(lambda x, k=k: x**k * weight(x), -5, 5)[0] for k in range(3)]
    assert found.weight @ found.x[:, 0] / size == pytest.approx(want[1] / want[0], rel=1e-8)
    assert found.weight @ found.x[:, 0] ** 2 / size**2 == pytest.approx(want[2] / want[0], rel=1e-8)


def test_a_unit_without_a_quartic_term_is_held_by_its_neighbours() -> None:
    """K of two linear units is positive definite, its diagonal does not dominate; a third is quartic. ⟨x²⟩ against scipy."""
    k = np.array([[1.0, -0.9, 0.4], [-0.9, 1.0, 0.3], [0.4, 0.3, -1.0]])
    q = np.array([0.0, 0.0, 1.0])
    found = points(sparse.csr_array(k), np.zeros(3), q)
    assert found is not None
    inner = np.linalg.inv(k[:2, :2])

    def marginal(z: float) -> float:
        pull = -k[:2, 2] * z
        return float(np.exp(0.5 * pull @ inner @ pull + 0.5 * z**2 - z**4))

    norm = integrate.quad(marginal, -6, 6)[0]
    assert found.weight @ found.x[:, 2] ** 2 == pytest.approx(
        integrate.quad(lambda z: z**2 * marginal(z), -6, 6)[0] / norm, rel=1e-4
    )
