"""Fidelity of spin programs beyond the passes' own enumeration, against moments of all 2¹⁶ states made here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.driver import compile_energy
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.fidelity import spins as spin_fidelity
from spucc.stages import Configuration, Program


def ring(seed: int, domain: Domain = Domain.SPIN) -> Energy:
    rng = np.random.default_rng(seed)
    i = np.arange(16)
    j = sparse.coo_array((rng.normal(size=16), (i, (i + 1) % 16)), shape=(16, 16))
    q = Quadratic(sparse.csr_array(j + j.T))
    return Energy(layout([("s", (16,), domain, None)]), frozen(0.4 * rng.normal(size=16)), q, temperature=0.9)


def moments(j: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = 1.0 - 2.0 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    weight = np.exp(0.5 * ((s @ j) * s).sum(axis=1) + s @ h)
    p = weight / weight.sum()
    mean = p @ s
    cov = (s * p[:, None]).T @ s - np.outer(mean, mean)
    sd = np.sqrt(np.diagonal(cov))
    return mean, cov / np.outer(sd, sd)


def check(program: Program, energy: Energy, slack: float) -> None:
    """The stated figures are within `slack` of those of all states of the codes."""
    last = program.ledger[-1]
    value = program.jobs[0].value
    assert isinstance(value, Configuration)
    codes = value.codes
    k, f = np.zeros((16, 16)), np.zeros(16)
    at = codes.coordinate
    a, b = at[codes.edges].T
    k[a, b] = k[b, a] = np.asarray(codes.coupling[0], dtype=float) / codes.scale[0]
    f[at] = np.asarray(codes.bias[0], dtype=float) / codes.scale[0]
    own = -energy.quadratic.toarray() / 0.9, -energy.linear / 0.9
    want, got = moments(*own), moments(k, f)
    mean_error = np.abs((got[0] - want[0]) / np.sqrt(1 - want[0] ** 2)).max()
    pairs = np.nonzero(own[0])
    corr_error = np.abs(got[1] - want[1])[pairs].max()
    assert abs(last.mean_error - mean_error) < slack
    assert abs(last.correlation_error - corr_error) < slack
    s = 1.0 - 2.0 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    one, two = (0.5 * ((s @ j) * s).sum(axis=1) + s @ h for j, h in (own, (k, f)))
    p = np.exp(one - one.max())
    p /= p.sum()
    kl = p @ (one - two) + np.log(p @ np.exp(two - one))
    assert last.basis == "estimate"
    assert last.kl_forward == pytest.approx(kl / 16, rel=0.3)


COARSE = "ideal-spin{coupling.bits=3 coupling.max=7 bias.bits=2 bias.max=3}"
FINE = "ideal-spin{coupling.bits=5 coupling.max=31 bias.bits=4 bias.max=15}"


def test_codes_are_compared_by_draws() -> None:
    """Within 5 of the noise of independent draws, √(2/65536): false alarms below 1e-5."""
    energy = ring(1)
    check(compile_energy(energy, COARSE), energy, 5 * np.sqrt(2 / 65536))


@pytest.mark.parametrize("target", [COARSE, FINE])
@pytest.mark.parametrize("close", [0.0, 0.5])
def test_codes_on_wide_lattices_are_compared_by_sweeps(
    target: str, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, as if the graph were too wide to draw from exactly, by two runs and by one that is weighed. 8000 draws of
    1000 chains: an entry's noise is below 0.02 for independent runs, and 5 of them are allowed."""
    monkeypatch.setattr(spin_fidelity, "_WIDE", 0)
    monkeypatch.setattr(spin_fidelity, "_CLOSE", close)
    energy = ring(1)
    program = compile_energy(energy, target)
    noise = float(program.ledger[-1].note.split("±")[1].split()[0])
    assert noise < 0.02
    check(program, energy, 5 * noise)


def test_embedded_codes_on_wide_lattices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains on a board, against the law of the spins that are read, cells summed out: within 5 noises of an entry."""
    rng = np.random.default_rng(5)
    j = np.triu(rng.normal(size=(16, 16)) * (rng.random((16, 16)) < 0.2), 1) * 0.5
    energy = Energy(
        layout([("s", (16,), Domain.SPIN, None)]),
        frozen(0.2 * rng.normal(size=16)),
        Quadratic(sparse.csr_array(j + j.T)),
    )
    monkeypatch.setattr(spin_fidelity, "_WIDE", 0)
    program = compile_energy(energy, "king-cmos")
    (job,), last = program.jobs, program.ledger[-1]
    assert isinstance(job.value, Configuration)
    assert job.value.codes.n > 16
    noise = float(last.note.split("±")[1].split()[0])
    monkeypatch.setattr(spin_fidelity, "_SPINS", 16)
    exact = spin_fidelity.spin_figures(job, program.device)
    assert exact is not None
    assert last.basis == "estimate"
    assert np.isnan(last.kl_forward)
    assert abs(last.mean_error - exact[3]) < 5 * noise
    # the ledger's correlations are those of coupled variables, the exact figure's of all
    assert last.correlation_error < exact[4] + 5 * noise


def test_devices_without_rounding_are_exact_for_any_size_and_for_bits() -> None:
    for energy in (ring(2), ring(3, Domain.BIT)):
        last = compile_energy(energy, "ideal-spin").ledger[-1]
        assert (last.basis, last.mean_error, last.correlation_error) == ("exact", 0.0, 0.0)
