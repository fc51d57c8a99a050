"""`spucc drive`: work and heat of paths against quadrature and the theorems of stochastic thermodynamics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import integrate

from spucc.cli import cli
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.driver import elaborated
from spucc.running.driving import driven
from spucc.running.results import Result

ONE = "var x: real[2] ~ double_well(1, 1)\n"
TWO = "var x: real[2] ~ double_well(-1, 1)\nenergy -0.5 * x[0] * x[1] + 0.6 * x[0]\n"


def led(
    first: str,
    last: str,
    duration: float = 1.0,
    paths: int = 4000,
    seed: int = 3,
    target: str = "langevin-ideal",
) -> Result:
    one, two = (elaborated(t).energy for t in (first, last))
    return driven(one, two, load_device(target), duration=duration, paths=paths, seed=seed)


def log_z(j2: float, j4: float, j: float, b: float) -> float:
    def weight(y: float, x: float) -> float:
        return float(np.exp(-(j2 * (x * x + y * y) + j4 * (x**4 + y**4) + j * x * y + b * x)))

    return float(np.log(integrate.dblquad(weight, -5, 5, -5, 5)[0]))


def test_free_energy_is_that_of_quadrature_and_the_first_law_holds() -> None:
    """4.5 standard errors; ⟨W⟩ ≥ ΔF, and W − Q is a difference of energies: zero on average over a cycle of one model."""
    result = led(ONE, TWO)
    free = result.answer("free_energy")
    assert free.error is not None and free.error < 0.03
    assert abs(free.value - (log_z(1, 1, 0, 0) - log_z(-1, 1, -0.5, 0.6))) < 4.5 * free.error
    assert result["dissipated"].mean() > 4.5 * result["dissipated"].std() / np.sqrt(4000)
    np.testing.assert_allclose(result["dissipated"], result["work"] - free.value)
    still = led(ONE, ONE, paths=50)
    np.testing.assert_allclose(still["work"], 0, atol=1e-12)
    assert abs(still["heat"].mean()) < 4.5 * still["heat"].std() / np.sqrt(50)


def test_slower_drives_dissipate_less() -> None:
    lost = [led(ONE, TWO, duration=t, paths=1000)["dissipated"].mean() for t in (0.2, 1.0, 5.0)]
    assert lost[0] > 1.5 * lost[1] > 2.2 * lost[2] > 0


def test_the_detailed_fluctuation_theorem_bin_by_bin() -> None:
    """Crooks 1999: P(W forwards) / P(−W backwards) = e^{W − ΔF}, in the bins that both fill (5 standard errors each)."""
    count = 6000
    forward = led(ONE, TWO, duration=0.5, paths=count)["work"]
    backward = -led(TWO, ONE, duration=0.5, paths=count, seed=5)["work"]
    free = log_z(1, 1, 0, 0) - log_z(-1, 1, -0.5, 0.6)
    edges = np.linspace(free - 2, free + 2, 17)
    middle = 0.5 * (edges[1:] + edges[:-1])
    f, r = (np.histogram(w, edges)[0].astype(float) for w in (forward, backward))
    both = (f > 40) & (r > 40)
    assert both.sum() >= 6
    off = np.log(f[both] / r[both]) - (middle[both] - free)
    # across a bin of 0.25 kT the exponential bends by 0.25²/24 and the slopes of the histograms by a few times that
    assert (np.abs(off) < 5 * np.sqrt(1 / f[both] + 1 / r[both]) + 0.02).all()


@pytest.mark.parametrize(
    ("last", "target", "code"),
    [
        ("var y: real[2]\nenergy sum(y**2)\n", "langevin-ideal", "E0597"),
        (ONE + "observe x[0] = 1\n", "langevin-ideal", "E0597"),
        (TWO, "ideal", "E0493"),
        (TWO, "langevin-generative", "E0728"),
    ],
)
def test_what_cannot_be_led_is_refused(last: str, target: str, code: str) -> None:
    with pytest.raises(SpuccError, match=code):
        led(ONE, last, target=target, paths=10)


def test_the_command_writes_every_path(tmp_path: Path) -> None:
    for name, text in (("one.spu", ONE), ("two.spu", TWO)):
        (tmp_path / name).write_text(text)
    args = [
        "drive",
        str(tmp_path / "one.spu"),
        str(tmp_path / "two.spu"),
        "--duration",
        "0.5",
        "--paths",
        "200",
    ]
    found = CliRunner().invoke(cli, [*args, "-o", str(tmp_path / "w.npz")])
    assert found.exit_code == 0, found.output
    assert "dissipated" in found.output and "Jarzynski" in found.output
    with np.load(tmp_path / "w.npz") as written:
        assert written["work"].shape == (200,)
        np.testing.assert_array_equal(written["work"], led(ONE, TWO, 0.5, 200, 0)["work"])
