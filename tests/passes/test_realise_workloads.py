"""Every Gaussian workload with at most 64 variables has an exact way onto capacitors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from spucc.devices import load_device
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.realise import Realise
from spucc.pipeline import Context
from spucc.readback import Affine
from spucc.stages import Job


@pytest.mark.workloads
@pytest.mark.parametrize(
    "name",
    [
        "blr_kidscore_momhsiq",
        "blr_sblrc",
        "lmm_dyestuff",
        "lmm_pastes",
        "gmrf_columbus",
        "gmrf_scotland_lip",
        "lgbn_ecoli70",
    ],
)
def test_read_out_of_the_board_is_the_models_law(name: str) -> None:
    folder = os.environ.get("SPUCC_WORKLOADS")
    if not folder:
        pytest.skip("SPUCC_WORKLOADS is not set")
    tables = np.load(Path(folder) / name / "oracle.npz")
    cov, mean = tables["cov"], tables["mean"]
    p = np.linalg.inv(cov)
    a = 1 / np.sqrt(np.diag(p))
    p = np.where(np.abs(p * np.outer(a, a)) < 1e-9, 0.0, p)
    p = (p + p.T) / 2
    energy = Energy(
        layout([("x", mean.shape, Domain.REAL, None)]), -(p @ mean), Quadratic(sparse.csr_array(p))
    )
    outcome = Realise().apply(
        Job(name, energy, np.arange(mean.size), energy), load_device("king-8x8"), Context()
    )
    back = outcome.readback
    assert isinstance(back, Affine)
    got_mean, got = back.moments(np.zeros(back.n_in), np.linalg.inv(outcome.value.matrix.toarray()))  # type: ignore[union-attr]
    sd = np.sqrt(np.diag(cov))
    assert np.abs((got - cov) / np.outer(sd, sd)).max() < 1e-6
    assert np.abs((got_mean - mean) / sd).max() < 1e-6
