"""Jobs and circuits made without any pass: codes straight onto a device."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.device import (
    Adc,
    Bank,
    Circuit,
    Device,
    DeviceSpec,
    Family,
    Noise,
    Strays,
    Topology,
    TopologySpec,
)
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.readback import Affine, ReadBack
from spucc.stages import Configuration, Job, Quantized, Schedule, edge_list, plain_roles
from spucc.targets.circuits import Board

THETA = 1e-12


def matrix_job(
    matrix: FloatArray | sparse.csr_array,
    weights: tuple[float, ...] = (1.0,),
    bias: FloatArray | None = None,
    readback: tuple[ReadBack, ...] | None = None,
    scales: tuple[float, ...] | None = None,
) -> tuple[Job, Device]:
    """A job on an ideal device whose cells have the precision `matrix`; members differ by `scales`."""
    m = sparse.csr_array(matrix)
    n, k = m.shape[0], len(weights)
    edges, values = edge_list(m)
    spec = DeviceSpec(
        name="hand", family=Family.IDEAL, topology=TopologySpec(kind="any"), coupling=Bank(signed=True)
    )
    device = Device(spec, Topology("any", None, frozen(np.zeros((0, 2)), np.int64), frozen(np.zeros((0, 2)))))
    scale = np.array(scales if scales is not None else [1.0] * k)
    codes = Quantized(
        family=Family.IDEAL,
        domain=Domain.REAL,
        cell=frozen(np.arange(n), np.int64),
        chain=frozen(np.arange(n), np.int64),
        edges=edges,
        ground=frozen(np.tile(m.diagonal(), (k, 1))),
        coupling=frozen(np.tile(-values, (k, 1))),
        bias=frozen(np.tile(np.zeros(n) if bias is None else bias, (k, 1))),
        scale=frozen(scale),
        weight=frozen(weights),
        readback=tuple(Affine.identity(n) for _ in range(k)),
        coordinate=frozen(np.arange(n), np.int64),
        role=plain_roles(n),
    )
    return _job(codes, readback or (Affine.identity(n),)), device


def board_job(
    ground: FloatArray,
    coupling: FloatArray,
    *,
    schedule: Schedule | None = None,
    noise: Noise | None = None,
    adc: Adc | None = None,
    circuit: Circuit | None = None,
    strays: Strays | None = None,
    bank: Bank | None = None,
) -> tuple[Job, Device]:
    """A job on a complete capacitive board of 8-bit banks (4 pF a step): codes `ground` [n], `coupling` [n
    (n − 1) / 2]."""
    n = ground.size
    edges = np.stack(np.triu_indices(n, 1), axis=1)
    bank = bank or Bank(unit="F", max=1.02e-9, bits=8)
    spec = DeviceSpec(
        name="hand8",
        family=Family.CAPACITIVE,
        topology=TopologySpec(kind="complete", nodes=n),
        ground=bank,
        coupling=bank,
        circuit=circuit or Circuit(),
        noise=noise or Noise(),
        adc=adc or Adc(),
        strays=strays or Strays(),
    )
    device = Device(spec, Topology("complete", n, frozen(edges, np.int64), frozen(np.zeros((n, 2)))))
    codes = Quantized(
        family=Family.CAPACITIVE,
        domain=Domain.REAL,
        cell=frozen(np.arange(n), np.int64),
        chain=frozen(np.arange(n), np.int64),
        edges=frozen(edges, np.int64),
        ground=frozen(ground[None], np.int64),
        coupling=frozen(coupling[None], np.int64),
        bias=frozen(np.zeros((1, n)), np.int64),
        scale=frozen([THETA]),
        weight=frozen([1.0]),
        readback=(Affine.diagonal(np.full(n, 1e3)),),
        coordinate=frozen(np.arange(n), np.int64),
        role=plain_roles(n),
    )
    return _job(codes, (Affine.identity(n),), schedule), device


def _job(codes: Quantized, readback: tuple[ReadBack, ...], schedule: Schedule | None = None) -> Job:
    n = readback[0].n_out if isinstance(readback[0], Affine) else codes.n
    model = Energy(
        layout([("x", (n,), Domain.REAL, None)]),
        frozen(np.zeros(n)),
        Quadratic(sparse.csr_array(sparse.eye_array(n))),
    )
    return Job(
        "x", model, frozen(np.arange(n), np.int64), Configuration(codes, schedule or Schedule(), readback)
    )


def random_circuit(rng: np.random.Generator, family: Family, n: int, equal: bool) -> Board:
    """A random circuit of a family; unequal ones differ in every part, and have series resistance."""

    def about(value: float) -> FloatArray:
        return np.full(n, value) if equal else value * np.exp(0.3 * rng.standard_normal(n))

    w = np.triu(rng.exponential(1.0, (n, n)), 1) * (rng.random((n, n)) < 0.6)
    laplacian = np.diag((w + w.T).sum(axis=1)) - w - w.T
    matrix = laplacian / n + np.diag(0.3 + rng.random(n))
    series = np.zeros(n) if equal and rng.random() < 0.5 else np.full(n, 20.0) if equal else about(20.0)
    if family is Family.CAPACITIVE:
        matrix, noise = matrix * 1e-9, THETA / about(1e3)
    elif family is Family.RESISTIVE:
        matrix, noise = matrix * 1e-3, about(THETA * 1e-9)
    elif family is Family.INDUCTIVE:
        # Mutual inductances of both signs.
        flip = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        matrix, noise = matrix * np.outer(flip, flip) * 1e-4, THETA * about(1e3)
    else:
        noise = about(1.0)
    return Board(
        family=family,
        matrix=sparse.csr_array(matrix),
        bias=np.zeros(n)
        if family in (Family.CAPACITIVE, Family.INDUCTIVE)
        else rng.standard_normal(n) * 1e-3,
        resistance=about(1e3),
        inductance=about(1e-4),
        series_resistance=series,
        noise=noise,
        capacitance=1e-9,
        mobility=1.0,
        scale=THETA if family is not Family.IDEAL else 1.0,
    )


def lattice(rows: int, cols: int, mass: float = 0.1) -> sparse.csr_array:
    """The precision of a lattice field: −Δ + mass."""

    def chain(m: int) -> sparse.csr_array:
        return sparse.csr_array(
            sparse.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1])
        )

    eye = sparse.eye_array
    return sparse.csr_array(
        sparse.kron(chain(rows), eye(cols)) + sparse.kron(eye(rows), chain(cols)) + mass * eye(rows * cols)
    )
