"""Programs that the report's tests show: one of each kind that a page has to cope with."""

from __future__ import annotations

from functools import cache

import numpy as np

import spucc
from spucc.devices import load_device
from spucc.driver import compile_energy, compile_program, default_passes
from spucc.report import Album
from spucc.stages import Program

HOSTILE = (
    "# </script><script>document.body.dataset.broken='yes'</script><img src=x onerror=alert(1)> <!-- ]]> & \"quoted\" \u2028\n"
    "var x: real[3] ~ multi_normal(zeros(3), eye(3) + 0.5 * ones(3, 3))\n"
    "query m = mean(x)\n"
)

CHAINED = "var x: real[6] ~ multi_normal(zeros(6), eye(6) + 0.4 * ones(6, 6))\n"

TWO = (
    "var x: real[2] ~ multi_normal(zeros(2), eye(2) + 0.5 * ones(2, 2))\n"
    "var z: real[3] ~ multi_normal(ones(3), eye(3) + 0.5 * ones(3, 3))\n"
)

SPINS = "var s: spin[4]\nenergy -0.5 * s[0] * s[1] - 0.5 * s[1] * s[2] + 0.3 * s[2] * s[3] - 0.2 * s[0]\n"


def attractive(n: int) -> np.ndarray:
    """The precision of n cells in a ring, each pulled to 0."""
    p = 3.0 * np.eye(n)
    for k in range(n):
        p[k, (k + 1) % n] -= 1.0
        p[(k + 1) % n, k] -= 1.0
    return p


def watched(source: object, target: object, **options: object) -> tuple[Program, Album]:
    """A compiled program and what an album kept of its way."""
    album = Album()
    return compile_program(source, target=target, observers=[album], optimize=0, **options), album  # type: ignore[arg-type]


def _with_chains() -> str:
    pipeline = default_passes(load_device("king-8x8")).replace("realise", "realise{ways=scale}")
    return pipeline.replace("place", "place{method=embed}")


def _ensemble() -> tuple[Program, Album]:
    album = Album()
    pipeline = default_passes(load_device("spu8{bits=4}")).replace("quantize", "quantize{ensemble=3}")
    energy = spucc.gaussian(np.zeros(4), precision=attractive(4))
    return compile_energy(energy, "spu8{bits=4}", passes=pipeline, optimize=0, observers=[album]), album


PAIR = """var x: real[4]
var s: spin[4]
x ~ normal(0, [1.0, 0.9, 1.1, 1.3])
energy -0.3 * sum(x[1:] * x[:-1]) - 0.5 * sum(x * s)
query m = mean(x)
query l = mean(s)
"""


def _pair() -> tuple[Program, Album]:
    """Two pipelines, which no album watches."""
    return compile_program(PAIR, target="resistive-64+ideal-spin"), Album()


KINDS = {
    "hostile": lambda: watched(HOSTILE, "spu8"),
    "chains": lambda: watched(CHAINED, "king-8x8", passes=_with_chains()),
    "two jobs": lambda: watched(TWO, "spu8"),
    "one variable": lambda: watched("var x: real ~ normal(0, 1)\n", "ideal"),
    "no couplings": lambda: watched("var x: real[5] ~ normal(0, 1)\n", "spu8"),
    "all given": lambda: watched("var x: real ~ normal(0, 1)\nobserve x = 1\nquery m = mean(x)\n", "ideal"),
    "spins": lambda: watched(SPINS, "king-cmos"),
    "quartic": lambda: watched(
        "var x: real[3]\nenergy sum(x**4) + sum(x**2) - x[0] * x[1]\n", "langevin-ideal"
    ),
    "dead": lambda: watched(
        spucc.gaussian(np.zeros(6), precision=attractive(6)),
        load_device("king-8x8").without(cells=[0, 9, 35], couplers=[(18, 19)]),
    ),
    "ensemble": _ensemble,
    "pair": _pair,
}
"""Name → what compiles it."""


@cache
def kind(name: str) -> tuple[Program, Album]:
    return KINDS[name]()
