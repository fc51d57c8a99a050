"""Models as statisticians write them, on boards: each law against numpy's inverse of the same model."""

from __future__ import annotations

import numpy as np
import pytest

import spucc
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy, elaborated
from spucc.running.law import law_arrays, program_law
from spucc.stages import Program


def way(program: Program) -> str:
    return next((n for s in program.jobs[0].steps for n in s.notes if n.startswith("way: ")), "direct")


def worst(program: Program, mean: np.ndarray, cov: np.ndarray) -> tuple[float, float]:
    """The worst relative error of a standard deviation, and shift of a mean in standard deviations."""
    law, sd = program_law(program), np.sqrt(np.diag(cov))
    return float(np.abs(np.sqrt(law.variance) / sd - 1).max()), float(np.abs((law.mean - mean) / sd).max())


def rows(n: int, *parts: tuple[np.ndarray, float]) -> np.ndarray:
    """The precision of rows a·x ~ N(0, sd)."""
    p = np.zeros((n, n))
    for a, sd in parts:
        a = np.atleast_2d(a)
        p += a.T @ a / sd**2
    return p


def test_units_do_not_make_a_covariance_singular(tmp_path) -> None:
    """Variables in units of 1e9 … 1e-9 have as many degrees of freedom as in one unit."""
    g = np.random.default_rng(26).normal(size=(6, 12))
    unit = np.array([1e9, 1e-9, 1e6, 1.0, 1e-6, 1e3])
    cov = g @ g.T / 12 * np.outer(unit, unit)
    mean = 3 * unit
    source = tmp_path / "m.spu"
    for text, data in (
        ("data S: spd[n]\nvar x: real[n] ~ multi_normal(m, S)", {"S": (cov + cov.T) / 2}),
        ("data L: real[n, n]\nvar x: real[n] ~ multi_normal_cholesky(m, L)", {"L": np.linalg.cholesky(cov)}),
    ):
        source.write_text(f"data m: real[n]\n{text}\n")
        program = compile_energy(elaborated(source, data={**data, "m": mean}).energy, "spu8")
        sd, shift = worst(program, mean, cov)
        assert sd < 1e-3 and shift < 1e-6


def test_a_field_with_a_pinned_sum_on_resistive_cells() -> None:
    """A ring of districts with structured and unstructured effects: rounded as it is it misses 2 %, so it is read out."""
    n = 25
    e = np.eye(2 * n + 1)
    mu, u, v = e[0], e[1 : n + 1], e[n + 1 :]
    p = rows(
        2 * n + 1,
        (mu, 5.0),
        (u - np.roll(u, 1, axis=0), 0.5),
        (u.sum(axis=0), 0.025),
        (v, 0.3),
        (mu + u + v, 0.35),
    )
    program = compile_energy(spucc.gaussian(np.ones(2 * n + 1), precision=p), "resistive-64")
    sd, shift = worst(program, np.ones(2 * n + 1), np.linalg.inv(p))
    assert sd < 0.02 and shift < 0.02
    assert "readout" in way(program)


@pytest.mark.parametrize("target", ["king-8x8", "resistive-64"])
def test_tracking_with_position_and_velocity(target: str) -> None:
    """Forty coordinates of condition 1e5 after scaling, neither balanced nor dominant."""
    t = 20
    e = np.eye(2 * t)
    x, v = e[:t], e[t:]
    steps = (x[1:] - x[:-1] - 0.5 * v[:-1], 0.02), (v[1:] - v[:-1], 0.3)
    p = rows(2 * t, (x[:1], 10.0), (v[:1], 5.0), *steps, (x, 1.0))
    mean = np.concatenate([np.arange(t), np.full(t, 0.7)])
    program = compile_energy(spucc.gaussian(mean, precision=p), target)
    sd, shift = worst(program, mean, np.linalg.inv(p))
    assert sd < 0.01 and shift < 1e-6


def test_couplings_that_are_rounding_noise_take_no_coupler() -> None:
    """What is diagonal but for the last bits of the products it was summed from is diagonal on the board."""
    n = 24
    own = np.geomspace(1, 1e6, n)
    noise = np.random.default_rng(1).normal(size=(n, n)) * 1e-16 * np.sqrt(np.outer(own, own))
    p = np.diag(own) + (noise + noise.T) / 2 * (1 - np.eye(n))
    program = compile_energy(spucc.gaussian(np.zeros(n), precision=p), "king-8x8")
    assert way(program).startswith("way: scale; all 0 couplings")


def test_a_refusal_names_a_board_that_is_large_enough() -> None:
    energy = spucc.gaussian(np.zeros(900), precision=np.eye(900) + 0.001)
    for target, larger in (
        ("spu8", "king-32x32"),
        ("grid-16x16", "grid(30,30)"),
        ("king(4,4)", "king-32x32"),
    ):
        with pytest.raises(SpuccError) as caught:
            compile_energy(energy, target, passes="condition,split,realise")
        assert larger in caught.value.diagnostics[0].help


def test_the_law_speaks_of_a_singular_process_by_its_name(tmp_path) -> None:
    """A process at two equal inputs has no coordinates of its own; its law is there under the user's name."""
    source = tmp_path / "m.spu"
    source.write_text(
        'data t: real[4] = [0, 1, 2, 2]\nvar f: real[4] ~ gp(t, "rbf", 1, 1)\n[0.1, 0.2, 0.3] ~ normal(f[:3], 0.1)\n'
    )
    arrays = law_arrays(compile_energy(elaborated(source).energy, "spu8"))
    t, y = np.array([0.0, 1.0, 2.0, 2.0]), np.array([0.1, 0.2, 0.3])
    k = np.exp(-0.5 * (t[:, None] - t) ** 2)
    gain = np.linalg.solve(k[:3, :3] + 0.01 * np.eye(3), k[:3]).T
    cov = k - gain @ k[:3]
    np.testing.assert_allclose(arrays["f.mean"], gain @ y, atol=1e-3)
    np.testing.assert_allclose(arrays["f.cov"], cov, atol=1e-4)
