"""The inverse of an 8×8 matrix from 12,000 draws of an eight-cell board whose parts are 1 % off.

    python benchmarks/inverse.py [--seeds N] [--quick]

Each seed is another matrix and another board: capacitors, resistors, inductors, strays and noise sources drawn from their
tolerances, and a converter of 14 bits. `calibrated` compiles for the parts that a lab measured (all but the noise sources),
`nominal` for the file. Draws are one after another on the board, at the interval that the program schedules. Relative
Frobenius error of the sample covariance against A⁻¹. It is taken apart: `law` is the error of the board's law after infinite
time, of which `codes` is what the codes leave on a board exactly as measured (the rest is what was not measured), `draws` the
distance of the sample from that law, and `floor` the expected error of so many independent draws of the exact law,
√((1 + r)/N), r = tr(Σ)²/tr(Σ²) (physics §4). Published boards of this kind: 25–31 % (Melanson et al., Nature Communications
16:3757).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import spucc
from spucc.device import Device
from spucc.devices import load_device
from spucc.driver import compile_energy
from spucc.running.law import program_law
from spucc.running.run import run_program
from spucc.stages import Configuration, Program
from spucc.targets.board_model import BoardModel, Truth, calibrated_device, draw_board, true_circuit
from spucc.targets.law import cells

Floats = NDArray[np.float64]
DRAWS = 12_000


def realisable(rng: np.random.Generator, n: int = 8) -> Floats:
    """Attractive couplings of every strength, and dominant."""
    w = np.triu(rng.random((n, n)), 1)
    w = w + w.T
    return np.diag(w.sum(axis=1) + 0.3 * n * rng.random(n)) - w


def wishart(rng: np.random.Generator, n: int = 8) -> Floats:
    x = rng.standard_normal((n, 2 * n))
    return x @ x.T / (2 * n)


KINDS: dict[str, tuple[Callable[[np.random.Generator], Floats], float]] = {
    "realisable": (realisable, 0.05),
    "Wishart": (wishart, 0.06),
}
"""Matrices, and the error that is asked for."""


@dataclass(frozen=True)
class Found:
    """Relative Frobenius errors of one matrix on one board."""

    calibrated: float
    law: float
    codes: float
    draws: float
    nominal: float
    floor: float
    way: str


def inverse_on_a_board(kind: str, seed: int, device: Device, draws: int = DRAWS) -> Found:
    a = KINDS[kind][0](np.random.default_rng(seed))
    sigma = np.linalg.inv(a)
    truth = draw_board(device, seed)
    measured = calibrated_device(device, truth)
    energy = spucc.gaussian(0.0, precision=a)
    program, plain = compile_energy(energy, measured), compile_energy(energy, device)
    r = np.trace(sigma) ** 2 / np.sum(sigma**2)
    sample, law, stated = _sampled(program, truth, seed, draws), _law(program, truth), program_law(program)
    assert stated.covariance is not None
    return Found(
        calibrated=_error(sample, sigma),
        law=_error(law, sigma),
        codes=_error(stated.covariance, sigma),
        draws=float(np.linalg.norm(sample - law) / np.linalg.norm(sigma)),
        nominal=_error(_sampled(plain, truth, seed, draws), sigma),
        floor=float(np.sqrt((1 + r) / draws)),
        way=next(
            n[5:].split(";")[0] for s in program.jobs[0].steps for n in s.notes if n.startswith("way: ")
        ),
    )


def _sampled(program: Program, truth: Truth, seed: int, draws: int) -> Floats:
    """Second moments of the draws, whose mean is known to be 0."""
    backend = BoardModel(truth=truth)
    result = run_program(program, samples=draws, chains=4, seed=seed, backend=backend, mode="trajectory")
    x = np.asarray(result["x"]).reshape(draws, -1)
    return np.asarray(x.T @ x / draws)


def _law(program: Program, truth: Truth) -> Floats:
    configuration = program.jobs[0].value
    assert isinstance(configuration, Configuration)
    codes = configuration.codes
    circuit, _alive = true_circuit(codes, 0, program.device, truth)
    mean, cov = codes.readback[0].moments(np.zeros(codes.n), cells(circuit).cov())
    for step in reversed(configuration.readback):
        mean, cov = step.moments(mean, cov)  # type: ignore[union-attr]
    return np.asarray(cov)


def _error(found: Floats, wanted: Floats) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    options = parser.parse_args()
    device = load_device("spu8")
    print(
        f"{'matrix':12}{'bound':>8}{'calibrated':>12}{'worst':>8}{'law':>8}{'codes':>8}{'draws':>8}{'floor':>8}"
        f"{'nominal':>9}  ways"
    )
    for kind, (_make, bound) in KINDS.items():
        rows = [
            inverse_on_a_board(kind, seed, device) for seed in range(2 if options.quick else options.seeds)
        ]
        median = {
            k: float(np.median([getattr(r, k) for r in rows]))
            for k in ("calibrated", "law", "codes", "draws", "floor", "nominal")
        }
        worst = max(r.calibrated for r in rows)
        ways = sorted({r.way for r in rows})
        print(
            f"{kind:12}{bound:8.1%}{median['calibrated']:12.2%}{worst:8.2%}{median['law']:8.2%}{median['codes']:8.3%}"
            f"{median['draws']:8.2%}{median['floor']:8.2%}{median['nominal']:9.2%}  {', '.join(ways)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
