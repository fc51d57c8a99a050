"""Every Gaussian workload of the folder named by SPUCC_WORKLOADS, compiled for `ideal`, agrees with its stored oracle to 1e-8:
the law is computed from the configured program (`spucc.running.law`), by code that the passes do not share."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spucc.driver import compile_energy
from spucc.energy import Energy
from spucc.grammar import elaborate
from spucc.running.law import program_law

FOLDER = os.environ.get("SPUCC_WORKLOADS", "")
pytestmark = [pytest.mark.workloads, pytest.mark.skipif(not FOLDER, reason="SPUCC_WORKLOADS is not set")]


def programs() -> Any:
    """The workloads' programs, which the front end's own test holds."""
    path = Path(__file__).parent / "grammar" / "test_elaborate_workloads.py"
    spec = importlib.util.spec_from_file_location("workload_programs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def energy_of(name: str) -> Energy:
    texts, folder = programs(), Path(FOLDER) / name
    if name.startswith("spd"):
        oracle = np.load(folder / "oracle.npz")
        text = texts.SPD.replace("query l = logdet(A)\n", "")
        return elaborate(text, data={"b": oracle["b"]}, folder=folder)
    if name.startswith("ssm"):
        y = np.load(folder / "data.npz")["y"]
        seen = np.flatnonzero(np.isfinite(y))
        return elaborate(texts.NILE, data={"y": y[seen], "seen": seen, "n": y.size})
    kind = {"blr": "BLR", "lgb": "LGBN", "gmr": "AREAL", "lmm": "LMM", "gp_": "GP"}[name[:3]]
    text = getattr(texts, kind)
    if kind == "GP":
        sd, length = {"gp_mcycle": ("45", "5"), "gp_regr11": ("2.442", "6.874")}[name]
        text = text.replace("SD", sd).replace("LENGTH", length)
    return elaborate(text, files=[folder / "data.npz"], folder=folder)


NAMES = """
blr_kidscore_momhsiq blr_kilpisjarvi blr_sblrc gmrf_columbus gmrf_scotland_lip gp_mcycle gp_regr11 lgbn_ecoli70
lgbn_magic_niab lmm_dyestuff lmm_pastes spd_bcsstk01 spd_kms8 spd_knot spd_lehmer8 spd_lfat5 spd_minij8
spd_thermox_2x2 spd_thermox_3x3 spd_thermox_wishart50 ssm_nile ssm_nile_missing
""".split()


def close(found: Any, expected: Any) -> None:
    """To 1e-8 of the largest entry."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_law_is_the_oracle_s(name: str) -> None:
    program = compile_energy(energy_of(name), "ideal")
    law = program_law(program)
    assert law.covariance is not None
    oracle = np.load(Path(FOLDER) / name / "oracle.npz")
    moments = {}
    for query in program.source.queries:
        form = query.form
        assert form is not None
        moments[query.name] = (
            form.matrix @ law.mean + form.offset,
            form.matrix @ (form.matrix @ law.covariance).T,
        )
    mean, cov = moments["z"]
    if name.startswith("spd"):
        close(mean, oracle["x"])
        close(np.diagonal(moments["i"][1]), oracle["inv_diag"])
    elif name.startswith("gp"):
        n = oracle["train_mean"].size
        close(mean, np.concatenate([oracle["train_mean"], oracle["test_mean"]]))
        close(np.diagonal(cov), np.concatenate([oracle["train_var"], oracle["test_var"]]))
        close(cov[:n, :n], oracle["train_cov"])
    else:
        close(mean, oracle["mean"])
        close(np.diagonal(cov), oracle["var"])


@pytest.mark.parametrize("tau", [1, 5, 20])
def test_eight_schools(tau: int) -> None:
    folder = Path(FOLDER) / "eight_schools"
    raw, oracle = np.load(folder / "data.npz"), np.load(folder / "oracle.npz")
    text = (
        "data y: real[J]\ndata sigma: real[J]\ndata tau: real\nvar mu: real ~ normal(0, 5)\n"
        "var theta: real[J] ~ normal(mu, tau)\ny ~ normal(theta, sigma)\nquery z = mean(concat(theta, [mu]))\n"
    )
    program = compile_energy(
        elaborate(text, data={"y": raw["y"], "sigma": raw["sigma"], "tau": tau}), "ideal"
    )
    law = program_law(program)
    form = program.source.queries[0].form
    assert form is not None and law.covariance is not None
    close(form.matrix @ law.mean, oracle[f"mean_tau{tau}"])
    close(form.matrix @ (form.matrix @ law.covariance).T, oracle[f"cov_tau{tau}"])


def test_no_gaussian_workload_is_forgotten() -> None:
    """The image has 16,384 variables and is checked where it is elaborated and drawn; all others are above."""
    gaussian = set()
    for model in Path(FOLDER).glob("*/model.json"):
        kind = json.loads(model.read_text())["cls"]
        if not any(word in kind.lower() for word in ("ising", "boltzmann", "langevin", "images")):
            gaussian.add(model.parent.name)
    assert gaussian - set(NAMES) == {"eight_schools", "image_camera_inpaint_128"}
