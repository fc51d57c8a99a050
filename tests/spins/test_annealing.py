"""States of least energy: against enumeration, and the best known cuts."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from spucc.targets.spins.annealing import anneal, recombine
from spucc.targets.spins.model import SpinModel, spin_model


@pytest.mark.parametrize("kind", ["gauss", "signs", "fields"])
def test_ground_states_of_small_systems(kind: str) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        n = 14
        j = np.triu(rng.normal(size=(n, n)), 1)
        if kind == "signs":
            j = np.sign(j) * (rng.random((n, n)) < 0.5)
        j = j + j.T
        h = rng.normal(size=n) if kind == "fields" else np.zeros(n)
        s = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        lowest = (-0.5 * ((s @ j) * s).sum(axis=1) - s @ h).min()
        found = anneal(spin_model(sparse.csr_array(j), h), (seed,), chains=16, sweeps=50, tabu_steps=200)
        assert found.energy == pytest.approx(lowest, abs=1e-9)


def test_clamped_spins_stay() -> None:
    rng = np.random.default_rng(1)
    n = 12
    j = np.triu(rng.normal(size=(n, n)), 1)
    j, start, fixed = j + j.T, np.ones(n), np.arange(n) < 4
    s = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    energy = -0.5 * ((s @ j) * s).sum(axis=1)
    found = anneal(
        spin_model(sparse.csr_array(j), np.zeros(n), fixed), (1,), chains=16, sweeps=50, start=start
    )
    assert (found.spins[:4] == 1).all()
    assert found.energy == pytest.approx(energy[(s[:, :4] == 1).all(axis=1)].min())


def test_recombination_never_loses() -> None:
    rng = np.random.default_rng(2)
    n = 200
    i, k = rng.integers(0, n, (2, 400))
    j = sparse.coo_array((rng.normal(size=400), (i, k)), shape=(n, n))
    model = spin_model(sparse.csr_array(j + j.T), rng.normal(size=n) * 0.1)
    spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(12, n))
    energy = model.energy(spins)
    better, new = recombine(model, spins, energy)
    np.testing.assert_allclose(new, model.energy(better), atol=1e-9)
    assert new.min() < energy.min() - 1.0


def cut_model(folder: Path) -> tuple[SpinModel, float, float]:
    words = gzip.decompress((folder / "graph.txt.gz").read_bytes()).split()
    n, m = int(words[0]), int(words[1])
    edges = np.array(words[2 : 2 + 3 * m], dtype=float).reshape(m, 3)
    w = sparse.coo_array(
        (-edges[:, 2], (edges[:, 0].astype(int) - 1, edges[:, 1].astype(int) - 1)), shape=(n, n)
    )
    best = json.loads((folder / "oracle.json").read_text())["best_cut"]
    return spin_model(sparse.csr_array(w + w.T), np.zeros(n)), float(edges[:, 2].sum()), float(best)


@pytest.mark.workloads
@pytest.mark.skipif("SPUCC_WORKLOADS" not in os.environ, reason="SPUCC_WORKLOADS names no folder")
@pytest.mark.parametrize(
    "name, share",
    [
        ("cut_g05_60_0", 1.0),
        ("cut_g05_60_1", 1.0),
        ("cut_pm1s_80_0", 1.0),
        ("cut_pw01_100_0", 1.0),
        ("cut_G1", 0.999),
        ("cut_G32", 0.999),
    ],
)
def test_best_known_cuts(name: str, share: float) -> None:
    model, total, best = cut_model(Path(os.environ["SPUCC_WORKLOADS"]) / name)
    found = anneal(model, (1,))
    assert (total - found.energy) / 2 >= share * best
