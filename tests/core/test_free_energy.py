"""`logz` and `logdet` against numpy and closed forms. z-scores below 5: a false alarm in less than 1e-6 of runs each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import io, sparse

import spucc
from spucc.energy import Energy
from spucc.oracle import gaussian
from spucc.running.free_energy import logdet, path


def spd(n: int, seed: int, condition: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (q * np.geomspace(1, condition, n)) @ q.T


def exact_draws(count: int, seed: int = 0):
    """Independent draws by Cholesky, no compiler in between."""

    def draw(energy: Energy, number: int) -> tuple[np.ndarray, float, float]:
        law = gaussian(energy)
        rng = np.random.default_rng((seed, number))
        return rng.multivariate_normal(law.mean, law.covariance(), size=count, method="cholesky"), 1.0, 0.0

    return draw


@pytest.mark.parametrize("condition", [1.5, 30.0, 1e4])
@pytest.mark.parametrize("n", [2, 8])
def test_both_ways_give_the_determinant(n: int, condition: float) -> None:
    a = spd(n, n, condition)
    found = logdet(sparse.csr_array(a), exact_draws(20_000))
    want = np.linalg.slogdet(a)[1]
    assert abs(found.value - want) < 5 * found.error
    assert found.error < 0.2 and found.agree
    assert abs(found.jarzynski - want) < 5 * found.jarzynski_error


@pytest.mark.parametrize("lowest", [1.0, 0.3, 1e-3, 1e-6])
def test_quadrature_of_the_path(lowest: float) -> None:
    """∫ μ/(1 + λμ) dλ = log(1 + μ) for both ends of the spectrum, far below any sampling error."""
    nodes, weights = path(lowest, 6 + int(np.ceil(2 * -np.log10(lowest))))
    for mu in (lowest - 1, -0.3 * (1 - lowest), 0.5, 3.0):
        assert weights @ (mu / (1 + nodes * mu)) == pytest.approx(np.log1p(mu), abs=3e-3, rel=1e-3)


def test_wrong_draws_are_noticed() -> None:
    """Draws with twice the variance: the two ways no longer agree with one another or with numpy."""
    a = spd(6, 1, 50.0)
    good = exact_draws(20_000)

    def wrong(energy: Energy, number: int) -> tuple[np.ndarray, float, float]:
        x, share, sd = good(energy, number)
        return np.sqrt(2) * x, share, sd

    found = logdet(sparse.csr_array(a), wrong)
    assert abs(found.value - np.linalg.slogdet(a)[1]) > 20 * found.error
    assert not found.agree


def test_diagonal_needs_no_draws() -> None:
    found = logdet(sparse.csr_array(np.diag([2.0, 8.0])), exact_draws(10))
    assert found.value == pytest.approx(np.log(16)) and found.programs == 0


@pytest.mark.parametrize("target", ["ideal", "spu8", "resistive-64"])
def test_queries_on_devices(target: str, tmp_path: Path) -> None:
    """The evidence of a conjugate normal and a 2 × 2 determinant, beside an `inverse` whose own Gaussian must not count."""
    (tmp_path / "z.spu").write_text(
        "data A: real[2,2] = [[3.0, -1.0], [-1.0, 2.0]]\nvar x: real[3] ~ normal(1, 2)\n"
        "var y: real ~ normal(x[0] + 0.5*x[1], 1)\nobserve y = 3\n"
        "query z = logz()\nquery ld = logdet(A)\nquery ai = inverse(A)\n"
    )
    program = spucc.compile(tmp_path / "z.spu", target=target)
    result = program.run(samples=10_000, seed=2)
    # Energies carry no normalisation: evidence N(3; 1.5, 6) times √(2π)σ of each statement.
    evidence = -0.5 * np.log(2 * np.pi * 6) - 1.5**2 / 12
    want = evidence + 3 * 0.5 * np.log(2 * np.pi * 4) + 0.5 * np.log(2 * np.pi)
    for name, value in (("z", want), ("ld", np.log(5.0))):
        a = result.answer(name)
        assert abs(a.value - value) < 5 * a.error and a.error < 0.05
        assert "agrees" in a.note
    assert np.abs((result["ai"] - np.linalg.inv([[3, -1], [-1, 2]])) / result.answer("ai").error).max() < 5


def test_only_a_determinant_is_asked(tmp_path: Path) -> None:
    (tmp_path / "d.spu").write_text("data A: real[2,2]\nquery ld = logdet(A)\n")
    program = spucc.compile(tmp_path / "d.spu", {"A": [[2.0, 1.0], [1.0, 2.0]]})
    a = program.run(samples=20_000, seed=1).answer("ld")
    assert abs(a.value - np.log(3)) < 5 * a.error


SPD = ("spd_thermox_2x2", "spd_thermox_3x3", "spd_kms8", "spd_minij8")


def _matrix(name: str) -> np.ndarray:
    folder = Path(os.environ["SPUCC_WORKLOADS"]) / name
    found = sorted(folder.glob("*.mtx.gz"))
    if found:
        return np.asarray(sparse.csr_array(io.mmread(found[0])).toarray())
    data = np.load(folder / "data.npz")
    return np.asarray(data["A"])


@pytest.mark.workloads
@pytest.mark.slow
@pytest.mark.parametrize("name", SPD)
@pytest.mark.parametrize("target", ["ideal", "spu8", "resistive-64"])
def test_linear_algebra_of_the_workloads(name: str, target: str, tmp_path: Path) -> None:
    """inverse, solve and logdet against numpy, within 5 standard errors and what the ledger states."""
    a = _matrix(name)
    n = a.shape[0]
    assert json.loads((Path(os.environ["SPUCC_WORKLOADS"]) / name / "model.json").read_text())
    b = np.arange(1.0, n + 1)
    (tmp_path / "a.spu").write_text(
        f"data A: real[{n},{n}]\ndata b: real[{n}]\nquery ai = inverse(A)\nquery u = solve(A, b)\nquery ld = logdet(A)\n"
    )
    program = spucc.compile(tmp_path / "a.spu", {"A": a, "b": b}, target=target)
    result = program.run(samples=12_000, seed=3)
    slack = max(e.sd_error for e in {e.job: e for e in program.ledger}.values())
    inverse = np.linalg.inv(a)
    answer = result.answer("ai")
    size = np.sqrt(np.outer(np.diagonal(inverse), np.diagonal(inverse)))
    assert (np.abs(answer.value - inverse) < 5 * answer.error + 2 * slack * size).all()
    u = result.answer("u")
    assert (
        np.abs(u.value - np.linalg.solve(a, b)) < 5 * u.error + slack * np.sqrt(np.diagonal(inverse))
    ).all()
    ld = result.answer("ld")
    assert abs(ld.value - np.linalg.slogdet(a)[1]) < 5 * ld.error + 2 * n * slack
