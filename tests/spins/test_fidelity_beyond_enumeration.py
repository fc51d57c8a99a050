"""Fidelity of spin programs beyond the passes' own enumeration, against moments of all 2¹⁶ states made here."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.driver import compile_energy
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.stages import Configuration


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


def test_codes_are_compared_by_draws() -> None:
    """The figures stated from draws are within 5 of their errors (√(2/65536), false alarms below 1e-5) of the exact ones."""
    energy = ring(1)
    program = compile_energy(energy, "ideal-spin{coupling.bits=3 coupling.max=7 bias.bits=2 bias.max=3}")
    last = program.ledger[-1]
    assert last.basis == "estimate"
    value = program.jobs[0].value
    assert isinstance(value, Configuration)
    codes = value.codes
    k, f = np.zeros((16, 16)), np.zeros(16)
    at = codes.coordinate
    a, b = at[codes.edges].T
    k[a, b] = k[b, a] = np.asarray(codes.coupling[0], dtype=float) / codes.scale[0]
    f[at] = np.asarray(codes.bias[0], dtype=float) / codes.scale[0]
    want, got = moments(-energy.quadratic.toarray() / 0.9, -energy.linear / 0.9), moments(k, f)
    mean_error = np.abs((got[0] - want[0]) / np.sqrt(1 - want[0] ** 2)).max()
    pairs = np.nonzero(k)
    corr_error = np.abs(got[1] - want[1])[pairs].max()
    noise = np.sqrt(2 / 65536)
    assert abs(last.mean_error - mean_error) < 5 * noise
    assert abs(last.correlation_error - corr_error) < 5 * noise


def test_devices_without_rounding_are_exact_for_any_size_and_for_bits() -> None:
    for energy in (ring(2), ring(3, Domain.BIT)):
        last = compile_energy(energy, "ideal-spin").ledger[-1]
        assert (last.basis, last.mean_error, last.correlation_error) == ("exact", 0.0, 0.0)
