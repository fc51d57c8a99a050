"""What the page says in words and figures: the headline, schedule and energy, where everything comes from."""

from __future__ import annotations

import numpy as np

from spucc.energy import Energy
from spucc.ir.facts import duration, scale
from spucc.ir.show import si
from spucc.report.chip import codes_of
from spucc.stages import Configuration, Job, Program

Fact = tuple[str, str]


def headline(program: Program) -> list[Fact]:
    """The figures at the head of the page."""
    device = program.device
    facts = [("coordinates", f"{program.source.n:,}"), ("couplings", f"{_pairs(program.source):,}")]
    sides = [device] if device.partner is None else [device.alone, device.partner]
    codes = [c for job in program.jobs if (c := codes_of(job)) is not None]
    used = []
    for side in sides:
        most = max((c.n for c in codes if len(sides) == 1 or c.family is side.family), default=0)
        used.append(f"{most:,}" + ("" if side.topology.nodes is None else f" of {side.topology.nodes:,}"))
    facts.append(("cells in use", " + ".join(used)))
    facts.append(("couplers set", f"{max((len(c.edges) for c in codes), default=0):,}"))
    if len(program.jobs) > 1:
        facts.append(("jobs", f"{len(program.jobs):,}"))
    last = {e.job: e for e in program.ledger if e.basis != "none"}
    if last:
        facts.append(("KL, nats a variable", figure(float(np.max([e.kl_forward for e in last.values()])))))
        facts.append(("worst sd", percent(float(np.max([e.sd_error for e in last.values()])))))
    return facts


def figure(v: float) -> str:
    """A divergence or an error for the eye."""
    return "unknown" if np.isnan(v) else "rounding" if abs(v) < 1e-13 else f"{v:.2g}"


def percent(v: float) -> str:
    """A relative error for the eye."""
    return "unknown" if np.isnan(v) else "rounding" if abs(v) < 1e-12 else f"{100 * v:.2g} %"


def _pairs(energy: Energy) -> int:
    matrix = energy.quadratic.tocsr()
    return int((matrix.nnz - np.count_nonzero(matrix.diagonal())) // 2)


def schedule_facts(program: Program, job: Job) -> list[Fact]:
    """When the job is read, and what it costs."""
    value, spec = job.value, program.device_of(job).spec
    if not isinstance(value, Configuration):
        return [("schedule", "none yet: the job is not compiled to the end")]
    s, codes = value.schedule, value.codes
    clock = spec.family.electric
    draws = s.draws * s.chains
    facts = [
        ("settle", duration(s.settle, spec.family)),
        ("a draw every", duration(s.interval, spec.family)),
        ("draws", f"{s.draws:,} × {s.chains} chains = {draws:,}"),
        ("effective", f"{s.ess_per_draw:.3g} a draw, {s.ess_per_draw * draws:,.0f} in all"),
    ]
    busy = s.settle + s.draws * s.interval
    if not clock and spec.timing.update_rate is not None:
        facts.append(("device time, a chain", si(busy / spec.timing.update_rate, "s")))
    elif clock:
        facts.append(("device time, a chain", si(busy + spec.timing.configure, "s")))
    if s.host_operations:
        facts.append(
            ("host", f"{s.host_operations:,.0f} multiplication{'s' * (s.host_operations != 1)} a draw")
        )
    if codes.members > 1:
        shares = ", ".join(f"{100 * w:.3g} %" for w in (codes.weight / codes.weight.sum()).tolist()[:8])
        facts.append(
            ("members", f"{codes.members}, which give {shares}" + (" …" if codes.members > 8 else ""))
        )
    scales = ", ".join(dict.fromkeys(scale(codes.family, v) for v in codes.scale.tolist()[:8]))
    facts.append(("scale", scales + (" …" if codes.members > 8 else "")))
    prices = spec.energy
    per_draw = prices.sample
    if per_draw is None and prices.update is not None and not clock:
        per_draw = prices.update * codes.n * max(s.interval, 1.0)
    facts.append(("energy of a draw", "no price is known" if per_draw is None else si(per_draw, "J")))
    if prices.configure is not None:
        facts.append(("energy of loading", si(prices.configure, "J")))
    if per_draw is not None:
        facts.append(("energy of all draws", si(per_draw * draws, "J")))
    return facts


def provenance_facts(program: Program) -> list[Fact]:
    """Where the program comes from."""
    p, device = program.provenance, program.device
    facts = [
        ("spucc", p.version or "unknown"),
        ("program", p.program_digest or "built in Python"),
        ("data", p.data_digest or "none"),
        ("device", f"{device.name}, {device.family}, {device.topology.kind}"),
        ("device fingerprint", device.fingerprint),
        ("pipeline", program.pipeline or ", ".join(s.name for s in program.steps)),
    ]
    if device.spec.description:
        facts.insert(4, ("about it", device.spec.description))
    if device.spec.dead.cells or device.spec.dead.couplers:
        facts.append(
            ("dead", f"{len(device.spec.dead.cells)} cells, {len(device.spec.dead.couplers)} couplers")
        )
    measured = [k for k, v in vars(device.calibration).items() if v is not None]
    facts.append(("calibration", ", ".join(measured) if measured else "nominal values"))
    return facts
