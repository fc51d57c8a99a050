"""Every Gaussian workload, written as a small program, has the posterior that its stored oracle says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spucc.energy import Energy, Form
from spucc.grammar import elaborate

FOLDER = os.environ.get("SPUCC_WORKLOADS", "")
pytestmark = [pytest.mark.workloads, pytest.mark.skipif(not FOLDER, reason="SPUCC_WORKLOADS is not set")]

BLR = """
data X: real[n, k]
data y: real[n]
data sigma: real<lower=0>
data m0: real[k]
data s0: real[k]
var beta: real[k] ~ normal(m0, s0)
y ~ normal(X @ beta, sigma)
query z = mean(beta)
"""
LGBN = """
data B: real[n, n]
data intercept: real[n]
data variance: real[n]
var x: real[n]
for i in range(n) { x[i] ~ normal(intercept[i] + B[i] @ x, sqrt(variance[i])) }
query z = mean(x)
"""
AREAL = """
data y: real[n]
data v: real[n]
data X: real[n, k]
data tau: real
data alpha: real
data beta_sd: real
data W_i: int[m]
data W_j: int[m]
var phi: real[n]
var beta: real[k] ~ normal(0, beta_sd)

let A = sparse(concat(W_i, W_j), concat(W_j, W_i), ones(2 * m), n, n)
phi ~ gmrf(tau * (sparse(arange(n), arange(n), sum(A, axis=1), n, n) - alpha * A))
y ~ normal(X @ beta + phi, sqrt(v))
query z = mean(concat(phi, beta))
"""
GP = """
data X: real[n, 1]
data y: real[n]
data X_test: real[m, 1]
data noise_var: real
data mean: real
var f: real[n + m] ~ gp(concat(X, X_test), rbf, SD, LENGTH)
y ~ normal(f[:n] + mean, sqrt(noise_var))
query z = mean(f + mean)
"""
LMM = """
data Z_row: int[m]
data Z_col: int[m]
data Z_val: real[m]
data Z_shape: int[2]
data y: real[n]
data sigma: real
var b: real[Z_shape[1]]
b ~ gmrf(mtx("prior_precision.mtx.gz"))
y ~ normal(sparse(Z_row, Z_col, Z_val, Z_shape[0], Z_shape[1]) @ b, sigma)
query z = mean(b)
"""
NILE = """
data y: real[t]
data seen: int[t]
data n: int
var level: real[n] ~ rw1(sqrt(1469.1))
y ~ normal(level[seen], sqrt(15099))
query z = mean(level)
"""
SPD = 'let A = mtx("A.mtx.gz")\ndata b: real[n]\nquery z = solve(A, b)\nquery i = inverse(A)\nquery l = logdet(A)\n'


def moments(energy: Energy, form: Form) -> tuple[Any, Any]:
    """Mean and covariance of a form, by dense factorisation of the Jacobi-scaled precision."""
    q = energy.quadratic.toarray() / energy.temperature
    s = 1.0 / np.sqrt(np.diagonal(q))
    factor = np.linalg.inv(np.linalg.cholesky(q * s[:, None] * s))
    inverse = (factor.T @ factor) * s[:, None] * s
    m = form.matrix.toarray()
    mean = form.offset - m @ (inverse @ (energy.linear / energy.temperature))
    return mean, m @ inverse @ m.T


def close(found: Any, expected: Any, tolerance: float = 1e-8) -> None:
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance * scale


def at(name: str) -> Path:
    return Path(FOLDER) / name


def run(name: str, text: str, **data: Any) -> tuple[Any, Any, Any]:
    energy = elaborate(text, files=[at(name) / "data.npz"], folder=at(name), data=data)
    form = energy.queries[0].form
    assert form is not None
    mean, cov = moments(energy, form)
    return mean, cov, np.load(at(name) / "oracle.npz")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blr_sblrc", BLR), ("blr_kidscore_momhsiq", BLR), ("blr_kilpisjarvi", BLR), ("lgbn_ecoli70", LGBN),
        ("lgbn_magic_niab", LGBN), ("gmrf_columbus", AREAL), ("gmrf_scotland_lip", AREAL), ("lmm_pastes", LMM),
        ("lmm_dyestuff", LMM),
    ],
)  # fmt: skip
def test_posterior(name: str, text: str) -> None:
    mean, cov, oracle = run(name, text)
    close(mean, oracle["mean"])
    close(cov, oracle["cov"])


@pytest.mark.parametrize(("name", "sd", "length"), [("gp_mcycle", 45, 5), ("gp_regr11", 2.442, 6.874)])
def test_process(name: str, sd: float, length: float) -> None:
    mean, cov, oracle = run(name, GP.replace("SD", str(sd)).replace("LENGTH", str(length)))
    n = oracle["train_mean"].size
    close(mean[:n], oracle["train_mean"])
    close(mean[n:], oracle["test_mean"])
    close(np.diagonal(cov)[:n], oracle["train_var"])
    close(np.diagonal(cov)[n:], oracle["test_var"])
    close(cov[:n, :n], oracle["train_cov"])


@pytest.mark.parametrize("name", ["ssm_nile", "ssm_nile_missing"])
def test_nile(name: str) -> None:
    raw = np.load(at(name) / "data.npz")
    y = raw["y"]
    seen = np.flatnonzero(np.isfinite(y)) if "seen" not in raw.files else raw["seen"]
    energy = elaborate(NILE, data={"y": y[seen], "seen": seen, "n": y.size})
    form = energy.queries[0].form
    assert form is not None
    mean, cov = moments(energy, form)
    oracle = np.load(at(name) / "oracle.npz")
    close(mean, oracle["mean"])
    close(np.diagonal(cov), oracle["var"])


@pytest.mark.parametrize(
    "name", ["spd_kms8", "spd_lehmer8", "spd_minij8", "spd_bcsstk01", "spd_knot", "spd_lfat5", "spd_thermox_2x2",
             "spd_thermox_3x3", "spd_thermox_wishart50"]
)  # fmt: skip
def test_matrix(name: str) -> None:
    oracle = np.load(at(name) / "oracle.npz")
    energy = elaborate(SPD, data={"b": oracle["b"]}, folder=at(name))
    for query in energy.queries[:2]:
        assert query.form is not None
    n = oracle["b"].size
    q = energy.quadratic.toarray()
    assert np.array_equal(q[:n, :n], q[n:, n:]) and not q[:n, n:].any()
    s = 1.0 / np.sqrt(np.diagonal(q)[:n])
    x = s * np.linalg.solve(q[:n, :n] * s[:, None] * s, -energy.linear[:n] * s)
    close(x, oracle["x"])


def test_image() -> None:
    raw = np.load(at("image_camera_inpaint_128") / "data.npz")
    mask = np.unpackbits(raw["mask"].astype(np.uint8))[: 128 * 128]
    text = """
    data pixels: real[m]
    data seen: int[m]
    let G = grid(128, 128)
    var x: real[128 * 128]
    for (i, j) in edges(G) { energy 30.0 * (x[i] - x[j])**2 }
    energy 0.5 * 0.6 * sum((x - 0.5)**2)
    pixels / 255 ~ normal(x[seen], 0.05)
    query z = mean(x)
    """
    seen = np.flatnonzero(mask)
    pixels = raw["image"].ravel()[seen].astype(float)
    energy = elaborate(text, data={"pixels": pixels, "seen": seen})
    from scipy.sparse.linalg import spsolve

    mean = spsolve(energy.quadratic.tocsr().tocsc(), -energy.linear)
    close(mean, np.load(at("image_camera_inpaint_128") / "oracle.npz")["mean"])
