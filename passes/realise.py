"""`realise`: what the device's family can do for a model, and the way that is taken (physics §2, mapping §4).

Each family has its own function; the table below is where a new family is entered. Real Gaussian models and models with
spins or higher terms are looked up apart, since most families serve only one of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.energy import Domain, Energy
from spucc.passes.realising import moments
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Stage, plain_roles

CHECKED = 2000
"""Up to so many variables the ideal device looks whether the precision is positive definite; beyond, that costs more than
all else, and the front end has looked."""

WAYS = ("scale", "gauge", "signed", "double-cover", "charge", "readout", "split", "nearest")
"""The ways that a capacitive device may be asked to go, cheapest first; the others go their own or `readout`."""


@dataclass(frozen=True)
class Realise(JobPass):
    """The job as couplings that the device's family can have.

    `ways` are the only ones that may be taken (empty: all), `forbid` those that may not. `host_multiplications` bounds the
    multiplications that the host may do for one draw, `max_sweeps` the sweeps of a split; `sd_error` is the error of a standard
    deviation that rounding may be predicted to cause before a costlier way is looked for.
    """

    name: ClassVar[str] = "realise"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.COUPLINGS
    why: ClassVar[str] = (
        "signs and dominance belong to the family, so they are settled before anything has a place"
    )

    ways: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    host_multiplications: int | None = None
    max_sweeps: int = 1000
    sd_error: float = 0.1

    def __post_init__(self) -> None:
        unknown = [w for w in (*self.ways, *self.forbid) if w not in WAYS]
        if unknown:
            raise ValueError(f"there is no way `{unknown[0]}`; the ways are {', '.join(WAYS)}")

    def allows(self, way: str) -> bool:
        """Whether the user lets this way be taken."""
        return (not self.ways or way in self.ways) and way not in self.forbid

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        energy = job.value
        assert isinstance(energy, Energy)
        table = _GAUSSIAN if energy.is_gaussian else _OTHERS
        if device.family not in table:
            _refuse(energy, device)
        module, function = table[device.family]
        realiser: Realiser = getattr(import_module(module), function)
        return realiser(energy, device, self, context)


Realiser = Callable[[Energy, Device, Realise, Context], Outcome]

# Family → module and function, imported when they are needed.
_GAUSSIAN: dict[Family, tuple[str, str]] = {
    Family.IDEAL: (__name__, "ideal"),
    Family.RESISTIVE: ("spucc.passes.realising.resistive", "resistive"),
    Family.CAPACITIVE: ("spucc.passes.realising.capacitive", "capacitive"),
    Family.INDUCTIVE: ("spucc.passes.realising.resistive", "resistive"),
}
_OTHERS: dict[Family, tuple[str, str]] = {}


def _refuse(energy: Energy, device: Device) -> None:
    """E0511, naming the first variable that the family has no cell for."""
    if energy.is_gaussian:
        fail(
            "E0511",
            f"cells of the family `{device.family}` cannot hold the Gaussian variable `{energy.label(0)}`",
            help="compile for `ideal`, a capacitive, a resistive or an inductive device",
        )
    _real, spin, bit = energy.domains
    others = np.concatenate([spin, bit])
    if others.size:
        k = int(others.min())
        what = f"the {energy.variable_of(k).domain} variable `{energy.label(k)}`"
    else:
        term = energy.higher[0].index[0]
        what = f"the term of degree {term.size} in `{energy.label(int(term[0]))}`"
    fail(
        "E0511",
        f"a device of the family `{device.family}` samples Gaussians and cannot hold {what}",
        help="compile for a p-bit device (spins) or a Langevin device (quartic terms); `spucc targets` lists them",
    )


def ideal(energy: Energy, device: Device, options: Realise, context: Context) -> Outcome:
    """Everything is possible: the precision as it is, the mean added at the read-out."""
    p = moments.precision(energy)
    moments.check(energy, p, CHECKED)
    mean = moments.mean(energy, p)
    back = Affine.diagonal(np.ones(energy.n), mean) if mean.any() else None
    return Outcome(couplings(device, p), back)


def couplings(device: Device, k: sparse.csr_array, bias: np.ndarray | None = None) -> Couplings:
    """Real cells of precision K [n, n], one for each coordinate."""
    n = int(k.shape[0])
    return Couplings(
        device.family,
        Domain.REAL,
        k,
        frozen(np.zeros(n) if bias is None else bias),
        frozen(np.arange(n), np.int64),
        plain_roles(n),
    )
