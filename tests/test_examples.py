"""Every example against its oracle, and on the board where it fits.

The oracles (`tests/oracles`) were computed by other software; see examples/DATA.md. Draws are tested at 5 standard errors:
with some 300 figures in this file a false alarm has a chance below 2e-4, and the seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import spucc
from spucc import oracle
from spucc.driver import elaborated
from spucc.energy import Energy, QueryKind
from spucc.stages import Program

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def answers(name: str) -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests" / "oracles" / f"{name}.npz", allow_pickle=False) as content:
        return {k: content[k] for k in content.files}


def energy_of(name: str, data: str | None = None, **values: str) -> Energy:
    return elaborated(
        EXAMPLES / f"{name}.spu", data=values, files=[str(EXAMPLES / f"{data or name}.json")]
    ).energy


def moments(energy: Energy, query: str) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and covariance of a query's form."""
    law = oracle.gaussian(energy)
    form = next(q.form for q in energy.queries if q.name == query)
    assert form is not None
    return form.matrix @ law.mean + form.offset, form.matrix @ (form.matrix @ law.covariance()).T


GAUSSIAN = (
    "eight_schools",
    "kidscore",
    "kilpisjarvi",
    "nile",
    "nile_missing",
    "ecoli70",
    "magic_niab",
    "scotland",
)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_energy_is_the_oracle_s(name: str) -> None:
    """Mean and covariance to 1e-8 relative (of standard deviations for means and covariances)."""
    mean, cov = moments(energy_of(name), "draws")
    expected = answers(name)
    if name == "eight_schools":
        # The oracle puts the schools first and the common mean last, as the query does.
        assert mean.shape == (9,)
    sd = np.sqrt(np.diag(expected["cov"]))
    np.testing.assert_allclose(mean, expected["mean"], rtol=1e-8, atol=1e-8 * sd.max())
    np.testing.assert_allclose(cov / np.outer(sd, sd), expected["cov"] / np.outer(sd, sd), atol=1e-8)


@pytest.mark.parametrize("tau", ["1", "20"])
def test_a_datum_on_the_command_line_wins(tau: str) -> None:
    mean, cov = moments(energy_of("eight_schools", tau=tau), "draws")
    expected = answers("eight_schools")
    np.testing.assert_allclose(mean, expected[f"mean_tau{tau}"], rtol=1e-8)
    np.testing.assert_allclose(cov, expected[f"cov_tau{tau}"], rtol=1e-8)


def test_the_common_mean_integrated_out_changes_nothing() -> None:
    mean, cov = moments(energy_of("eight_schools_spu8", "eight_schools"), "draws")
    expected = answers("eight_schools")
    np.testing.assert_allclose(mean, expected["mean"][:8], rtol=1e-8)
    np.testing.assert_allclose(cov, expected["cov"][:8, :8], rtol=1e-8)


def test_the_gaussian_process_with_a_singular_kernel() -> None:
    energy = energy_of("gp")
    assert energy.n < 32, "the field at inputs that coincide is carried by fewer coordinates"
    mean, cov = moments(energy, "draws")
    expected = answers("gp")
    np.testing.assert_allclose(mean, expected["test_mean"], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(np.diag(cov), expected["test_var"], rtol=1e-6)


def test_the_boltzmann_machine_by_enumeration() -> None:
    law = oracle.enumerate_spins(energy_of("bars_stripes"))
    expected = answers("bars_stripes")
    assert law.log_z == pytest.approx(float(expected["log_partition"]), rel=1e-10)
    np.testing.assert_allclose(law.mean, np.concatenate([expected["p_v"], expected["p_h"]]), rtol=1e-10)
    np.testing.assert_allclose(law.second[:4, 4:], expected["vh"], rtol=1e-10)


def test_the_karate_club_is_the_ising_model_of_the_oracle() -> None:
    """34 spins are too many to enumerate: the members with one or two ties are summed out one after the other, and the
    rest by enumeration of what is left of the graph."""
    energy = energy_of("karate")
    assert (energy.n, energy.temperature) == (34, pytest.approx(10.0))
    expected = answers("karate")
    ground = expected["ground"].astype(float)
    assert energy.at(ground) == pytest.approx(-231.0)
    assert transfer_log_z(energy) == pytest.approx(float(expected["log_partition"]), rel=1e-10)


def transfer_log_z(energy: Energy) -> float:
    """log Z of spins by eliminating one after the other, least neighbours first: each leaves a table over its neighbours."""
    n, t = energy.n, energy.temperature
    q = energy.quadratic.toarray()
    factors: list[tuple[tuple[int, ...], np.ndarray]] = []
    s = np.array([-1.0, 1.0])
    for i in range(n):
        factors.append(((i,), -energy.linear[i] * s / t))
        factors += [((i, j), -q[i, j] * np.outer(s, s) / t) for j in range(i + 1, n) if q[i, j]]
    left = set(range(n))
    total = -energy.constant / t
    while left:
        around = {i: {k for scope, _ in factors if i in scope for k in scope} for i in left}
        i = min(left, key=lambda k: (len(around[k]), k))
        scope = tuple(sorted(around[i]))
        table = np.zeros((2,) * len(scope))
        for own, values in [f for f in factors if i in f[0]]:
            order = np.argsort(own)
            axes = [2 if k in own else 1 for k in scope]
            table = table + values.transpose(order).reshape(axes)
        factors = [f for f in factors if i not in f[0]]
        summed = np.logaddexp.reduce(table, axis=scope.index(i))
        rest = tuple(k for k in scope if k != i)
        if rest:
            factors.append((rest, summed))
        else:
            total += float(summed)
        left.discard(i)
    return total


def check_draws(program: Program, seed: int = 1, samples: int = 4000) -> None:
    """Mean and variance of every entry of every `sample` query within 5 standard errors of the exact law, which the ledger's
    own errors are allowed to add to."""
    result = program.run(samples=samples, seed=seed)
    worst = {e.job: e for e in program.ledger}
    slack = max((e.sd_error for e in worst.values()), default=0.0)
    drift = max((e.mean_error for e in worst.values()), default=0.0)
    for q in program.source.queries:
        if q.kind is not QueryKind.SAMPLE:
            continue
        mean, cov = moments(program.source, q.name)
        sd = np.sqrt(np.diag(cov))
        draws = result[q.name].reshape(samples, -1)
        assert np.all(np.abs(draws.mean(axis=0) - mean) <= (5 / np.sqrt(samples) + drift) * sd)
        assert np.all(np.abs(draws.std(axis=0) / sd - 1) <= 5 / np.sqrt(2 * samples) + slack)


@pytest.mark.parametrize("name", [*GAUSSIAN, "gp"])
def test_on_the_ideal_target(name: str) -> None:
    program = spucc.compile(EXAMPLES / f"{name}.spu", files=[EXAMPLES / f"{name}.json"])
    assert all(e.kl_forward < 1e-12 for e in program.ledger)
    check_draws(program)


@pytest.mark.parametrize("name", ["eight_schools_spu8", "kidscore", "kilpisjarvi"])
def test_on_the_eight_cell_board(name: str) -> None:
    data = "eight_schools" if name.startswith("eight") else name
    program = spucc.compile(EXAMPLES / f"{name}.spu", files=[EXAMPLES / f"{data}.json"], target="spu8")
    last = program.ledger[-1]
    assert last.sd_error < 0.02
    assert last.mean_error < 0.02
    check_draws(program)


def test_spins_are_refused_by_a_gaussian_board_in_the_model_s_words() -> None:
    with pytest.raises(spucc.SpuccError) as caught:
        spucc.compile(EXAMPLES / "karate.spu", files=[EXAMPLES / "karate.json"], target="spu8")
    assert caught.value.diagnostics[0].code.startswith("E05")
    assert "`s[0]`" in str(caught.value) or "`s[" in str(caught.value)


def test_too_many_variables_are_refused() -> None:
    with pytest.raises(spucc.SpuccError) as caught:
        spucc.compile(EXAMPLES / "nile.spu", files=[EXAMPLES / "nile.json"], target="spu8")
    assert caught.value.diagnostics[0].code in ("E0512", "E0541")
