"""The driver: the one place besides the command line that knows the front end, the passes and the targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spucc import __version__
from spucc.diagnostics import Diagnostic, SpuccError, fail
from spucc.energy import Energy, Query, QueryKind, identity_form
from spucc.pipeline import Context, Observer, Pass, parse_passes, run_passes
from spucc.stages import LedgerEntry, Program, Provenance, Stage, State

if TYPE_CHECKING:
    from spucc.device import Device


@dataclass
class Timer(Observer):
    """CPU seconds of each pass, kept out of the program so that its bytes do not depend on them."""

    seconds: dict[str, float] = field(default_factory=dict)
    _start: float = 0.0

    def before(self, step: Pass, state: State) -> None:
        self._start = time.process_time()

    def after(self, step: Pass, before: State, after: State) -> State:
        self.seconds[step.name] = self.seconds.get(step.name, 0.0) + time.process_time() - self._start
        return after


FAR_SD, FAR_MEAN, FAR_CORRELATION = 0.1, 0.3, 0.3
"""Relative error of a standard deviation, shift of a mean in standard deviations, and error of a correlation beyond which a
program is warned of."""


@dataclass(frozen=True)
class _Final:
    """The last entry of a job, and the pass that added most to its worst figure."""

    entry: LedgerEntry
    culprit: str

    @property
    def size(self) -> float:
        """The worst of the errors of standard deviations, means and correlations."""
        return max(self.entry.sd_error, self.entry.mean_error, self.entry.correlation_error)

    @property
    def figures(self) -> str:
        e = self.entry
        return (
            f"standard deviations are off by up to {e.sd_error:.2g}, means by {e.mean_error:.2g} sd, "
            f"correlations by {e.correlation_error:.2g}"
        )

    @property
    def blame(self) -> str:
        return f"pass `{self.culprit}` spent most of it"


def _finals(ledger: Sequence[LedgerEntry]) -> list[_Final]:
    """What is left of every job in the end."""
    found: dict[str, _Final] = {}
    most: dict[str, float] = {}
    for entry in ledger:
        before = found.get(entry.job)
        now = _Final(entry, entry.name)
        spent = now.size - (before.size if before else 0.0)
        if before is None or spent >= most[entry.job]:
            most[entry.job] = spent
        else:
            now = _Final(entry, before.culprit)
        found[entry.job] = now
    return list(found.values())


def check_tolerance(ledger: Sequence[LedgerEntry], limit: float) -> None:
    """Raises E0592 for every job that misses the tolerance in the end, naming the pass that spent most of it.

    The tolerance bounds the worst relative error of a standard deviation, the worst shift of a mean in standard deviations
    and the worst error of a correlation. A job of which nothing can be said misses it too.
    """
    found = [
        Diagnostic(
            "E0592",
            f"the tolerance {limit:g} is missed by job `{f.entry.job}`: {f.figures}",
            notes=(f.blame,),
            help="a device with more bits, `--ensemble 16`, `--optimize 2` or another target may help",
        )
        for f in _finals(ledger)
        if not f.size <= limit
    ]
    if found:
        raise SpuccError(found)


def warn_of_error(ledger: Sequence[LedgerEntry], warn: Callable[[Diagnostic], None]) -> None:
    """W0592 for every job that ends beyond `FAR_SD`, `FAR_MEAN` or `FAR_CORRELATION`, where no tolerance was asked for."""
    for f in _finals(ledger):
        e = f.entry
        if e.sd_error > FAR_SD or e.mean_error > FAR_MEAN or e.correlation_error > FAR_CORRELATION:
            warn(
                Diagnostic(
                    "W0592",
                    f"the configured device is far from the model of job `{e.job}`: {f.figures}",
                    notes=(f.blame,),
                    help=_HELP.get(f.culprit, "another target; `spucc targets` lists them")
                    + "; `--tolerance` makes this an error",
                )
            )


_HELP = {
    "fit": "a device with wider ranges or more bits, or `--realise=split`, which is exact and pays in sweeps of the host",
    "quantize": "a device with more bits, `--optimize 2`, or `--ensemble 16`",
    "project": "a device with more couplers a cell, or one on which `embed` finds room for chains",
    "realise": "another way, `--realise=double-cover` or `--realise=split` for one, or a target with signed couplers",
}
"""What helps against the errors of a pass."""


def default_passes(device: Device) -> str:
    """The default pipeline of a device, in text form. Raises E0590 when no pipeline serves its family."""
    from spucc.passes import PIPELINES

    if device.family not in PIPELINES:
        fail("E0590", f"there is no pipeline for devices of the family `{device.family}`")
    return PIPELINES[device.family]


def check_queries(energy: Energy) -> None:
    """Refuse queries that no device serves, by name: E0493."""
    _, spin, bit = energy.domains
    if not spin.size and not bit.size:
        return
    name = energy.label(int(min([*spin[:1], *bit[:1]])))
    why = f"`{name}` takes two values: spins jump, they have no path"
    found = [
        Diagnostic(
            "E0493",
            f"query `{q.name}` asks for a `trajectory`, but {why}",
            q.span,
            help="ask for `sample`",
        )
        for q in energy.queries
        if q.kind is QueryKind.TRAJECTORY
    ]
    if found:
        raise SpuccError(found)


def with_queries(energy: Energy) -> Energy:
    """The energy itself, or, when it asks nothing, with a `sample` of every variable that is not observed."""
    if energy.queries:
        return energy
    observed = set(energy.observed.index.tolist())
    queries = tuple(
        Query(v.name, QueryKind.SAMPLE, identity_form(v, energy.n), implicit=True)
        for v in energy.variables
        if not all(k in observed for k in range(v.start, v.stop))
    )
    return replace(energy, queries=queries)


def start(energy: Energy, device: Device, provenance: Provenance | None = None) -> State:
    """The state that the first pass takes. Raises E0493 for queries that are not served, E0494 for an empty model,
    E0515 and E0516 for real variables beside spins."""
    energy = with_queries(energy)
    check_queries(energy)
    if energy.domains[0].size and (energy.domains[1].size or energy.domains[2].size):
        from spucc.running.mixed import refuse_mixed

        refuse_mixed(energy, device)
    if not energy.queries:
        fail(
            "E0494",
            "every random variable of the program is observed and it asks no query, so there is nothing to sample",
        )
    return State(Stage.ENERGY, energy, energy, device, provenance=provenance or Provenance())


def compile_energy(
    energy: Energy,
    target: str | Device = "ideal",
    *,
    passes: str | None = None,
    optimize: int = 1,
    seed: int = 0,
    tolerance: float | None = None,
    observers: Sequence[Observer] = (),
    context: Context | None = None,
    provenance: Provenance | None = None,
) -> Program:
    """Compile a model to a program for a device.

    `target` is a device or a name or path for `spucc.devices.load_device`; `passes` the text of a pipeline instead of the
    device's default. Raises `SpuccError` with E04xx for a model that cannot be served and E05xx for a device that cannot.
    """
    from spucc.devices import load_device

    device = load_device(target) if isinstance(target, str) else target
    if device.partner is not None:
        from spucc.running.mixed import compile_mixed

        return compile_mixed(
            energy,
            device,
            provenance=provenance,
            tolerance=tolerance,
            passes=passes,
            optimize=optimize,
            seed=seed,
        )
    context = context or Context(seed=seed, optimize=optimize)
    pipeline = passes or default_passes(device)
    state = run_pipeline(start(energy, device, provenance), pipeline, context, observers)
    program = program_of(state, pipeline)
    if tolerance is not None:
        check_tolerance(program.ledger, tolerance)
    else:
        warn_of_error(program.ledger, context.warn)
    return program


def run_pipeline(state: State, pipeline: str, context: Context, observers: Sequence[Observer] = ()) -> State:
    """Run a pipeline given as text on a state, with the fidelity ledger kept."""
    from spucc.fidelity.ledger import Fidelity
    from spucc.passes import registry

    return run_passes(state, parse_passes(pipeline, registry()), context, (Fidelity(), *observers))


def program_of(state: State, pipeline: str = "") -> Program:
    """A finished state as a program. Raises E0690 for a state that is not finished."""
    if state.stage is not Stage.PROGRAM:
        fail(
            "E0690",
            f"the state stands at `{state.stage}`, so it is no program yet",
            help="run the passes up to `lower`",
        )
    return Program(
        device=state.device,
        source=state.source,
        model=state.model,
        jobs=state.jobs,
        steps=state.steps,
        ledger=state.ledger,
        provenance=state.provenance,
        pipeline=pipeline,
    )


def compile_program(
    program: str | Path | Energy,
    data: Mapping[str, Any] | None = None,
    target: str | Device = "ideal",
    *,
    files: Sequence[str | Path] = (),
    allow_paths: Sequence[str | Path] = (),
    **options: Any,
) -> Program:
    """Compile a `.spu` file (a path), program text (a string with a line break, or one that does not end in `.spu`), or an
    `Energy`.

    `data` are values by name and win over `files` (`.json`, `.npz`, `.csv`); `allow_paths` are folders outside the program's
    own that it may read from; further options are those of `compile_energy`.
    """
    if isinstance(program, Energy):
        return compile_energy(program, target, **options)
    model = elaborated(program, data=data, files=files, allow_paths=allow_paths)
    return compile_energy(model.energy, target, provenance=model.provenance, **options)


@dataclass(frozen=True)
class Elaborated:
    """A program as its energy, with what the renderer and the provenance need."""

    energy: Energy
    provenance: Provenance
    warnings: tuple[Diagnostic, ...] = ()


def elaborated(
    program: str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    files: Sequence[str | Path] = (),
    allow_paths: Sequence[str | Path] = (),
    sources: dict[str, str] | None = None,
) -> Elaborated:
    """The front end: program and data to an energy. `sources` receives the texts that were read, also when this raises."""
    from spucc.grammar import load

    model = load(program, data=data, files=files, allow_paths=allow_paths, sources=sources)
    provenance = Provenance(
        sources=tuple(sorted(model.sources.items())),
        program_digest=model.program_digest,
        data_digest=model.data_digest,
        version=__version__,
    )
    return Elaborated(model.energy, provenance, model.warnings)
