"""What a run costs in energy: operations × a price with its provenance, beside the same task in digital arithmetic.

What no source gives a price for stays unknown; the total is then a lower bound, and says so. For boards the heat is exact
from the circuit's stationary law: with C the Maxwell matrix, θ tr(C⁻¹)/R watts leave through the resistors, which is θ for
each mode and effective sample (physics §4: N_eff,k = T/(R c_k)); a resistive board gives κ0/C0 watts a cell, tr(G·Cov).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.circuit import network
from spucc.device import Device, Family
from spucc.energy import Domain
from spucc.fidelity.ledger import decode
from spucc.running.results import columns
from spucc.stages import Configuration, Job, Program, Schedule

# Joules a multiply-add of 32-bit floating-point numbers: 3.7 pJ the product and 0.9 pJ the sum in Horowitz's table.
MULTIPLY_ADD = 4.6e-12
_SOURCE = (
    "Horowitz, Computing's energy problem, ISSCC 2014: 45 nm, 0.9 V; arithmetic alone, no memory traffic"
)
_UNKNOWN = "unknown"

# Cells up to which tr(C⁻¹) is computed; beyond, its lower bound Σ 1/C_ii.
_DENSE = 600


@dataclass(frozen=True)
class Item:
    """`count` operations of one kind at `price` joules each (None: unknown), and where the price comes from."""

    what: str
    count: float
    price: float | None
    source: str

    @property
    def joules(self) -> float | None:
        return 0.0 if self.count == 0 else None if self.price is None else self.count * self.price


@dataclass(frozen=True)
class EnergyLedger:
    """The operations of a run of `draws` draws in all on the device and its host, and of the same task in digital
    arithmetic."""

    draws: int
    device: tuple[Item, ...]
    digital: tuple[Item, ...]

    @staticmethod
    def total(items: Sequence[Item]) -> tuple[float, int]:
        """Joules of all items whose price is known, and how many are not."""
        found = [i.joules for i in items]
        return float(sum(j for j in found if j is not None)), sum(j is None for j in found)


def energy_ledger(program: Program, draws: int | None = None) -> EnergyLedger:
    """The ledger of a program for `draws` draws over all chains (its own schedule's by default)."""
    device: dict[tuple[str, float | None, str], float] = {}
    digital: dict[tuple[str, float | None, str], float] = {}
    taken = 0
    for job in program.jobs:
        value = job.value
        assert isinstance(value, Configuration)
        plan = value.schedule
        chains = plan.chains
        count = plan.draws * chains if draws is None else draws
        taken = max(taken, count)
        for items, found in (
            (device, _on_device(job, value, program.device_of(job), count, chains)),
            (digital, _digital(job, value, program.device_of(job), count, chains)),
        ):
            for i in found:
                key = (i.what, i.price, i.source)
                items[key] = items.get(key, 0.0) + i.count
    return EnergyLedger(
        taken, *(tuple(Item(k[0], n, *k[1:]) for k, n in d.items()) for d in (device, digital))
    )


def _on_device(job: Job, value: Configuration, device: Device, draws: int, chains: int) -> list[Item]:
    codes, plan, prices = value.codes, value.schedule, device.spec.energy
    if device.family is Family.IDEAL:
        return []
    given = device.spec.provenance
    source = {k: given.get(f"energy.{k}", given.get("energy", "")) for k in ("configure", "sample", "update")}

    def priced(what: str, count: float, kind: str) -> Item:
        price = getattr(prices, kind)
        return Item(what, count, price, source[kind] or (_UNKNOWN if price is None else "the device's file"))

    loads = codes.members * max(plan.loads_per_draw * draws, 1.0)
    items = [
        priced("loads of a configuration", loads, "configure"),
        priced("cells read out", codes.n * draws, "sample"),
    ]
    time = _time(plan, draws, chains)
    if device.family.electric:
        share = codes.weight / codes.weight.sum()
        for m in range(codes.members):
            items.append(_heat(value, m, device, time * float(share[m])))
    else:
        what = "updates of p-bits" if codes.domain is Domain.SPIN else "time steps of units"
        items.append(priced(what, codes.n * time, "update"))
    if plan.host_operations:
        items.append(Item("multiply-adds of the host", plan.host_operations * draws, MULTIPLY_ADD, _SOURCE))
    return items


def _time(plan: Schedule, draws: int, chains: int) -> float:
    """Seconds (or sweeps) that a run takes: after a load the device settles anew."""
    settled = plan.loads_per_draw * draws if plan.loads_per_draw else chains
    return plan.settle * settled + plan.interval * draws


def _heat(value: Configuration, m: int, device: Device, seconds: float) -> Item:
    """The heat of member m over a time."""
    codes, scale = value.codes, float(value.codes.scale[m])
    if device.family is Family.RESISTIVE:
        return Item(
            "cell-seconds of noise in the conductances", codes.n * seconds, scale, "physics: κ0/C0 W a cell"
        )
    ground, coupling = decode(codes, m, device)
    c = network(device, codes.cell, codes.edges, ground, coupling)
    if codes.n <= _DENSE:
        inverse = float((1.0 / np.linalg.eigvalsh(c.toarray())).sum())
        how = "physics: θ a mode and effective sample"
    else:
        inverse = float((1.0 / c.diagonal()).sum())
        how = "physics: θ a mode and effective sample, at least"
    circuit = device.spec.circuit
    # Modes of capacitors forget at 1/(R c), those of coils at R/l.
    loop = circuit.resistance + circuit.series_resistance
    rate = inverse * loop if device.family is Family.INDUCTIVE else inverse / circuit.resistance
    return Item("effective samples of single modes", seconds * rate, scale, how)


def _digital(job: Job, value: Configuration, device: Device, draws: int, chains: int) -> list[Item]:
    """The same number of draws by arithmetic: Cholesky and triangular solves for Gaussians, the same sweeps or steps for
    spins and units."""
    codes, plan, n = value.codes, value.schedule, job.target.n
    if codes.domain is Domain.SPIN or codes.quartic is not None or job.target.higher:
        sweeps = _time(plan, draws, chains)
        pairs = int(sparse.triu(job.target.quadratic.tocsr(), k=1).nnz)
        own = 0 if codes.domain is Domain.SPIN else 4 * n
        kind = "uniform" if codes.domain is Domain.SPIN else "normal"
        return [
            Item("multiply-adds of the same sweeps", (2 * pairs + own) * sweeps, MULTIPLY_ADD, _SOURCE),
            Item(f"{kind} random numbers", n * sweeps, None, _UNKNOWN),
        ]
    effective = draws * plan.ess_per_draw
    band = min(_band(job.target.quadratic.tocsr()), n)
    # Cholesky of a band b: n b²/2 multiply-adds and n b a draw; a full matrix is n³/6 and n²/2
    factor, each = min(n * band**2 / 2, n**3 / 6), min(n * band, n * (n + 1) / 2)
    factor *= max(plan.loads_per_draw * draws, 1.0)
    return [
        Item("multiply-adds of a Cholesky factor", factor, MULTIPLY_ADD, _SOURCE),
        Item("multiply-adds of as many effective draws", each * effective, MULTIPLY_ADD, _SOURCE),
        Item("normal random numbers", n * effective, None, _UNKNOWN),
    ]


def _band(q: sparse.csr_array) -> int:
    """The half band width, the diagonal included, after the reverse Cuthill–McKee order."""
    if q.shape[0] == 0 or q.nnz > 0.5 * q.shape[0] ** 2:
        return int(q.shape[0])
    order = csgraph.reverse_cuthill_mckee(sparse.csr_matrix(q), symmetric_mode=True)
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    coo = sparse.coo_array(q)
    return int(np.abs(place[coo.row] - place[coo.col]).max(initial=0)) + 1


# --- as text -----------------------------------------------------------------------------------------------------------------


def joules(value: float | None) -> str:
    """`3.2e-09 J`, or `unknown`."""
    return "unknown" if value is None else f"{value:.2g} J"


def energy_line(ledger: EnergyLedger) -> str:
    """One line: the device's total and the digital one."""
    parts = []
    for name, items in (("device", ledger.device), ("digital arithmetic", ledger.digital)):
        known, missing = EnergyLedger.total(items)
        if not items:
            parts.append(f"{name}: none, the law is drawn by the host")
        elif missing == sum(i.count > 0 for i in items):
            parts.append(f"{name}: unknown")
        else:
            parts.append(f"{name}: {joules(known)}" + (f" + {missing} unknown" if missing else ""))
    return f"energy of {ledger.draws} draws: {'; '.join(parts)}"


def energy_table(ledger: EnergyLedger) -> str:
    """Every item with its price and where that comes from."""
    rows = []
    for where, items in (("device", ledger.device), ("digital", ledger.digital)):
        for i in items:
            price = "unknown" if i.price is None else f"{i.price:.2g}"
            rows.append([where, i.what, f"{i.count:.3g}", price, joules(i.joules), i.source])
    rows = [[f"{r[0]}: {r[1]}", *r[2:5], r[5]] for r in rows]
    head = ["energy", "count", "J each", "joules"]
    plain = columns(head, [r[:-1] for r in rows]).splitlines()
    width = max(len(line) for line in plain)
    lines = [f"{line:<{width}}  {r[-1]}".rstrip() for line, r in zip(plain, [[*head, "source"], *rows])]
    return "\n".join([*lines, energy_line(ledger)])
