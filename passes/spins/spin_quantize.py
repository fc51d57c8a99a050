"""`quantize-spins`: codes for the couplings and fields of p-bits, with one free temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, frozen
from spucc.device import Bank, Device
from spucc.energy import Domain
from spucc.fidelity import spin_law
from spucc.passes.spins.spin_chains import draws_of
from spucc.passes.spins.spin_ground import LIMIT, keep_ground
from spucc.passes.spins.spin_rounding import Law, Rounded, Search, nearest
from spucc.passes.spins.spin_rounding_wide import WideSearch
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage

_STATES = 14
"""Up to so many cells the search weighs every state."""
_WEIGHED = 48
"""Up to so many it weighs draws, and the divergence of the result is exact to 20; beyond it goes by moments
(`spucc.passes.spins.spin_rounding_wide`)."""
_DRAWS = 4096


@dataclass(frozen=True)
class QuantizeSpins(JobPass):
    """Round to the device's codes by clip scan, coordinate descent and a fitted temperature on KL(model ‖
    rounded).

    `ground=keep` (the default up to 12 cells) asks that the most likely states stay the most likely;
    `ground=free` does not. `method=nearest` rounds once, the largest coupling at the end of the range.
    """

    method: str = "search"
    ground: str = "keep"

    name: ClassVar[str] = "quantize-spins"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.QUANTIZED
    why: ClassVar[str] = "every value is known, and the temperature is free"

    def __post_init__(self) -> None:
        if self.method not in ("search", "nearest") or self.ground not in ("keep", "free"):
            raise ValueError("`method` is `search` or `nearest`, `ground` is `keep` or `free`")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed) and placed.domain is Domain.SPIN
        coupling, bias = device.spec.coupling, device.spec.bias or Bank(max=0.0)
        if coupling.continuous and bias.continuous:
            found, note = _continuous(placed, coupling, bias), ""
        else:
            found, note = self._search(placed, coupling, bias, context)
        codes = [np.asarray(x)[None] for x in (found.coupling, found.bias)]
        dtypes = [np.float64 if b.continuous else np.int64 for b in (coupling, bias)]
        value = placed.quantized(
            ground=frozen(np.zeros((1, placed.n))),
            coupling=frozen(codes[0], dtypes[0]),
            bias=frozen(codes[1], dtypes[1]),
            scale=frozen([1.0 / found.beta]),
            weight=frozen([1.0]),
            readback=(Affine.identity(placed.n),),
        )
        return Outcome(value, None, (note,) if note else ())

    def _search(self, placed: Placed, coupling: Bank, bias: Bank, context: Context) -> tuple[Rounded, str]:
        theta = np.concatenate([placed.coupling, placed.bias])
        if placed.n > _WEIGHED:
            return self._wide(placed, theta, coupling, bias, context)
        law, exact = _law(placed, context)
        keep = self.ground == "keep" and placed.n <= LIMIT
        search = Search(law, theta, coupling, bias, keep)
        if self.method == "nearest":
            found = _nearest(search, theta, coupling, bias)
        else:
            found = search.scan()
            if keep and not np.isfinite(found.kl):
                found = (
                    self._by_program(search, law, theta, coupling, bias)
                    or Search(law, theta, coupling, bias).scan()
                )
        kl, basis = found.kl, "exact" if exact else "estimated from draws"
        if not exact and placed.n <= spin_law.EXACT_LIMIT:
            kl, basis = _exact_kl(placed, theta, search, found), "exact"
        note = f"KL {kl:.2g} nats in all ({basis}), temperature {1 / found.beta:.4g} in units of the bank"
        if keep:
            values = search.values(np.concatenate([found.coupling, found.bias]))
            verdict = "kept" if search.keeps(law.exponent(values)) else "not representable with these bits"
            note += f"; ground state {verdict}"
        return found, note

    def _wide(
        self, placed: Placed, theta: FloatArray, coupling: Bank, bias: Bank, context: Context
    ) -> tuple[Rounded, str]:
        draws = draws_of(placed.edges, placed.coupling, placed.bias, context.rng(0x9A17))[:_DRAWS]
        search = WideSearch(draws, placed.edges, theta, coupling, bias)
        if self.method == "nearest":
            codes, _ = _ends(theta, placed.edges.shape[0], coupling, bias)
            found = search.judge(codes)
        else:
            found = search.search()
        note = (
            f"KL {found.kl:.2g} nats in all (from {draws.shape[0]} draws, to second order), "
            f"temperature {1 / found.beta:.4g} in units of the bank"
        )
        return found, note

    def _by_program(
        self, search: Search, law: Law, theta: FloatArray, coupling: Bank, bias: Bank
    ) -> Rounded | None:
        """Start the descent from codes that keep the ground state, if there are any."""
        if coupling.levels is not None or bias.levels is not None or coupling.continuous or bias.continuous:
            return None
        codes = keep_ground(law, theta, coupling, bias)
        return None if codes is None else search.descend(codes, 1.0)


def _continuous(placed: Placed, coupling: Bank, bias: Bank) -> Rounded:
    """The values themselves, all divided by a temperature that brings them into the banks' ranges."""
    tops = [
        (np.abs(x).max(initial=0.0), b.max) for x, b in ((placed.coupling, coupling), (placed.bias, bias))
    ]
    shrink = max([1.0, *(size / top for size, top in tops if top > 0)])
    return Rounded(placed.coupling / shrink, placed.bias / shrink, shrink, 0.0)


def _nearest(search: Search, theta: FloatArray, coupling: Bank, bias: Bank) -> Rounded:
    codes, scale = _ends(theta, search.m, coupling, bias)
    exponent = search.law.exponent(search.values(codes)) / scale
    return Rounded(codes[: search.m], codes[search.m :], 1 / scale, search.kl(exponent))


def _ends(theta: FloatArray, m: int, coupling: Bank, bias: Bank) -> tuple[FloatArray, float]:
    """The nearest codes when the largest coupling or field is at the end of its range, and the scale that puts it there."""
    sizes = [(np.abs(x).max(initial=0.0), b.max) for x, b in ((theta[:m], coupling), (theta[m:], bias))]
    scale = min((top / size for size, top in sizes if size > 0 and np.isfinite(top)), default=1.0)
    return np.concatenate([nearest(coupling, theta[:m] * scale), nearest(bias, theta[m:] * scale)]), scale


def _law(placed: Placed, context: Context) -> tuple[Law, bool]:
    """The law of the placed cells: every state of up to 14, else draws."""
    n = placed.n
    if n <= _STATES:
        model = _dense(placed)
        p, log_z = spin_law.law(*model)
        return Law(spin_law.all_spins(n), p, placed.edges, spin_law.log_weights(*model) - log_z), True
    draws = draws_of(placed.edges, placed.coupling, placed.bias, context.rng(0x9A17))[:_DRAWS]
    return Law(draws, np.full(draws.shape[0], 1.0 / draws.shape[0]), placed.edges), False


def _dense(placed: Placed) -> tuple[FloatArray, FloatArray]:
    j = np.zeros((placed.n, placed.n))
    i, k = placed.edges.T
    j[i, k] = j[k, i] = placed.coupling
    return j, np.asarray(placed.bias)


def _exact_kl(placed: Placed, theta: FloatArray, search: Search, found: Rounded) -> float:
    j, h = _dense(placed)
    values = search.values(np.concatenate([found.coupling, found.bias])) * found.beta
    m = placed.edges.shape[0]
    k = np.zeros_like(j)
    a, b = placed.edges.T
    k[a, b] = k[b, a] = values[:m]
    own, other = spin_law.log_weights(j, h), spin_law.log_weights(k, values[m:])
    p = np.exp(own - own.max())
    z = p.sum()
    q = np.exp(other - other.max()).sum()
    return float((p / z) @ (own - other) - own.max() - np.log(z) + other.max() + np.log(q))
