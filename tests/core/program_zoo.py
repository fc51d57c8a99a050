"""Small programs of every way that the compiler goes, for tests that hold a program to its law."""

from __future__ import annotations

import numpy as np

import spucc
from spucc.device import Device
from spucc.devices import load_device
from spucc.driver import compile_energy, default_passes
from spucc.energy import Energy
from spucc.stages import Program
from spucc.targets.board_model import calibrated_device, draw_board


def balanced(n: int, seed: int) -> np.ndarray:
    """A diagonally dominant precision with a gauge that makes every coupling attractive."""
    rng = np.random.default_rng(seed)
    s = rng.choice([-1.0, 1.0], n)
    a = -np.abs(rng.normal(size=(n, n))) * np.outer(s, s)
    a = np.triu(a, 1) + np.triu(a, 1).T
    return a + np.diag(np.abs(a).sum(axis=1) * 1.2 + 0.5)


def frustrated(n: int, seed: int) -> np.ndarray:
    """A diagonally dominant precision whose signs no gauge takes away."""
    a = balanced(n, seed)
    a[:3, :3] = np.abs(a[:3, :3])
    return a


def wishart(n: int, seed: int) -> np.ndarray:
    """A random precision that is no H-matrix."""
    x = np.random.default_rng(seed).normal(size=(2 * n, n))
    return x.T @ x / n


def attractive(n: int, seed: int) -> np.ndarray:
    a = -np.abs(balanced(n, seed))
    return a - 2 * np.diag(np.diagonal(a))


def model(precision: np.ndarray, seed: int = 0) -> Energy:
    mean = np.random.default_rng(seed + 100).normal(size=precision.shape[0])
    return spucc.gaussian(mean, precision=precision)


def measured(target: str) -> Device:
    """A drawn board as a lab that measured it knows it."""
    device = load_device(target)
    return calibrated_device(device, draw_board(device, 3))


def compiled(
    energy: Energy, target: str | Device, way: str = "", ensemble: int = 1, optimize: int = 0
) -> Program:
    """`way` is forced; an ensemble of so many members."""
    device = load_device(target) if isinstance(target, str) else target
    pipeline = default_passes(device)
    if way:
        pipeline = pipeline.replace("realise", f"realise{{ways={way}}}")
    if ensemble > 1:
        pipeline = pipeline.replace("quantize", f"quantize{{ensemble={ensemble}}}")
    return compile_energy(energy, device, passes=pipeline, optimize=optimize)


ZOO = {
    "ideal": lambda: compiled(model(wishart(5, 1)), "ideal"),
    "plain": lambda: compiled(model(attractive(8, 2)), "spu8"),
    "gauge": lambda: compiled(model(balanced(6, 3)), "spu8", "gauge"),
    "signed": lambda: compiled(model(frustrated(7, 4)), "spu8-signed", "signed"),
    "double-cover": lambda: compiled(model(frustrated(4, 5)), "spu8", "double-cover"),
    "charge": lambda: compiled(model(np.linalg.inv(balanced(5, 6))), "spu8", "charge"),
    "readout": lambda: compiled(model(wishart(6, 7)), "spu8", "readout"),
    "split": lambda: compiled(model(wishart(4, 8)), "spu8-signed", "split"),
    "resistive": lambda: compiled(model(wishart(8, 9)), "resistive-64"),
    "inductive": lambda: compiled(model(wishart(8, 12)), "inductive-64"),
    "measured coils": lambda: compiled(model(wishart(5, 13)), measured("inductive-64")),
    "calibrated": lambda: compiled(model(attractive(6, 11)), measured("spu8")),
    "ensemble": lambda: compiled(model(attractive(5, 10)), "spu8{bits=4}", ensemble=4),
}
"""Name → what compiles it."""
