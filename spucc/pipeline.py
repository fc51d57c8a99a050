"""Passes, and the pipeline that runs them.

A pass is a frozen dataclass: its fields are its options, so `quantize{bits=6}` parses to it and prints back, and its one
method takes a `State` to the next. Printing, timing, verifying, fidelity and progress are observers of the pipeline; no
pass holds any of it.
"""

from __future__ import annotations

import re
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from traceback import extract_tb
from typing import Any, ClassVar, get_type_hints

import numpy as np

from spucc.device import Device
from spucc.diagnostics import Diagnostic, SpuccError, did_you_mean, fail
from spucc.readback import ReadBack
from spucc.stages import Job, JobValue, Stage, State, Step
from spucc.threads import one_blas_thread


@dataclass(frozen=True)
class Context:
    """What a pass may know besides its input: the seed of its random choices, a way to say how far it is, and whether the
    user wants it to stop with the best that it has."""

    seed: int = 0
    optimize: int = 1
    progress: Callable[[str, float], None] = field(default=lambda text, share: None, compare=False)
    stop: threading.Event = field(default_factory=threading.Event, compare=False)
    warn: Callable[[Diagnostic], None] = field(default=lambda diagnostic: None, compare=False)

    def rng(self, *key: int) -> np.random.Generator:
        """A generator of its own for each use, from the seed alone."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, *key))))


@dataclass(frozen=True)
class Pass(ABC):
    """One step of the compiler. The fields of a subclass are its options (bool, int, float, str, tuples of str)."""

    name: ClassVar[str]
    takes: ClassVar[Stage]
    gives: ClassVar[Stage]
    why: ClassVar[str] = ""
    """One sentence on why it stands where it does."""

    @abstractmethod
    def run(self, state: State, context: Context) -> State:
        """The next state, its steps and read-backs appended."""

    def __str__(self) -> str:
        return print_pass(self)


@dataclass(frozen=True)
class Outcome:
    """What a job's pass returns: the new value, the way back, and notes in the user's terms."""

    value: JobValue
    readback: ReadBack | None = None
    notes: tuple[str, ...] = ()


class JobPass(Pass):
    """A pass that treats every job on its own."""

    @abstractmethod
    def apply(self, job: Job, device: Device, context: Context) -> Outcome: ...

    def run(self, state: State, context: Context) -> State:
        jobs = []
        for k, job in enumerate(state.jobs):
            context.progress(f"{self.name} {job.name}", k / len(state.jobs))
            outcome = self.apply(job, state.device, context)
            step = Step(str(self), outcome.readback, outcome.notes)
            jobs.append(replace(job, value=outcome.value, steps=(*job.steps, step)))
        return replace(state, stage=self.gives, jobs=tuple(jobs))


class Observer:
    """Watches a pipeline. Any method may be left as it is. `after` may return a state to go on with (the fidelity ledger
    does, to write its entries) and may raise."""

    def before(self, step: Pass, state: State) -> None:
        """Called before each pass."""

    def after(self, step: Pass, before: State, after: State) -> State:
        """Called after each pass."""
        return after


# Coordinates up to which BLAS is kept to one thread, which is quicker and rounds alike on all machines.
_SMALL = 1024


def run_passes(
    state: State, passes: Sequence[Pass], context: Context, observers: Sequence[Observer] = ()
) -> State:
    """The state after all passes. Raises `SpuccError` from a pass, E0601 when a pass does not take the state's stage, and E0625
    for whatever else a pass that is not spucc's own raises."""
    for step in passes:
        if state.stage is not step.takes:
            fail(
                "E0601",
                f"pass `{step.name}` takes the stage `{step.takes}`, but the state stands at `{state.stage}`",
                help="`spucc passes` lists what each pass takes and gives",
            )
        for observer in observers:
            observer.before(step, state)
        with one_blas_thread(state.source.n <= _SMALL):
            result = _run(step, state, context)
        for observer in observers:
            result = observer.after(step, state, result)
        state = result
    return state


def _run(step: Pass, state: State, context: Context) -> State:
    """One pass. A fault of a pass that another package brought is said to be that package's."""
    home = type(step).__module__
    if home.startswith("spucc."):
        return step.run(state, context)
    try:
        return step.run(state, context)
    except (SpuccError, MemoryError):
        raise
    except Exception as error:
        frames = extract_tb(error.__traceback__)
        file = getattr(sys.modules.get(home), "__file__", None)
        place = next((f for f in reversed(frames) if f.filename == file), frames[-1])
        raise SpuccError(
            Diagnostic(
                "E0625",
                f"the pass `{step.name}` of `{home}`, which is not spucc's own, failed: {type(error).__name__}: {error}",
                notes=(f"at {place.filename}:{place.lineno}, in `{place.name}`",),
                help=f"tell the authors of `{home}`, or leave the pass out",
            )
        ) from error


# --- the text form of a pipeline: `realise{ways=gauge+split},quantize{bits=6}` ---------------------------------------------

_PASS = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def print_pass(step: Pass) -> str:
    """`name{option=value …}` with the options that differ from their defaults."""
    parts = []
    for f in fields(step):
        value = getattr(step, f.name)
        default = f.default if f.default is not MISSING else None
        if value != default:
            parts.append(f"{f.name.replace('_', '-')}={print_value(value)}")
    return step.name + (f"{{{' '.join(parts)}}}" if parts else "")


def print_value(value: Any) -> str:
    """An option's value as it stands in a pipeline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "+".join(str(v) for v in value)
    return repr(value) if isinstance(value, float) else str(value)


def parse_passes(text: str, registry: Mapping[str, Callable[[], type[Pass]]]) -> list[Pass]:
    """Passes from their text form. Raises E0602 for text that does not parse, E0603 for an unknown pass or option and E0604
    for a value that an option does not take."""
    passes: list[Pass] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _PASS.match(text, at)
        if match is None:
            fail(
                "E0602",
                f"cannot read `{text[at : at + 40]}` as a pass",
                help="write name{option=value option=value},name,…",
            )
        name = match[1]
        if name not in registry:
            near = did_you_mean(name, registry) or "`spucc passes` lists them"
            fail("E0603", f"there is no pass `{name}`", help=near)
        passes.append(_build(registry[name](), match[2] or ""))
        at = match.end()
    return passes


def _build(kind: type[Pass], options: str) -> Pass:
    hints = get_type_hints(kind)
    known = {f.name: hints[f.name] for f in fields(kind)}
    given: dict[str, Any] = {}
    for item in options.split():
        key, eq, raw = item.partition("=")
        name = key.replace("-", "_")
        if name not in known:
            near = did_you_mean(name, known) or f"its options are {', '.join(known) or 'none'}"
            fail("E0603", f"pass `{kind.name}` has no option `{key}`", help=near)
        given[name] = _parse_value(kind.name, key, known[name], raw if eq else "true")
    try:
        return kind(**given)
    except ValueError as error:
        fail("E0604", f"pass `{kind.name}`: {error}")


def _parse_value(owner: str, key: str, hint: Any, raw: str) -> Any:
    text = str(hint)
    try:
        if "None" in text and raw == "None":
            return None
        if "bool" in text:
            return {"true": True, "false": False}[raw]
        if "tuple" in text:
            return tuple(raw.split("+")) if raw else ()
        if "int" in text:
            return int(raw)
        if "float" in text:
            return float(raw)
    except (ValueError, KeyError):
        raise SpuccError(
            Diagnostic(
                "E0604", f"option `{key}` of pass `{owner}` does not take `{raw}`", help=f"it takes {text}"
            )
        ) from None
    return raw
