"""With the real passes: every stage that a compilation goes through reads back, and going on from a file is going on."""

from __future__ import annotations

from pathlib import Path

import pytest

from spucc.devices import load_device
from spucc.driver import default_passes, program_of, run_pipeline, start
from spucc.explaining.variable import explain_coupler, explain_variable
from spucc.grammar import load
from spucc.ir import identical, pack_program, pack_state, print_state, read_program, read_state
from spucc.ir.diff import diff_states
from spucc.pipeline import Context
from spucc.stages import Configuration, Provenance, Stage, State

EXAMPLES = Path(__file__).parents[2] / "examples"

CHAIN = """
var x: real[6]
var mu: real
mu ~ normal(1, 2)
x[0] ~ normal(mu, 1)
x[1:] ~ normal(0.5 * x[:-1] + 0.1 * mu, 1)
observe x[2] = 1.5
query draws = sample(x)
query m = mean(mu)
"""
TWO = "var x: real[3] ~ normal(0, 1)\nvar y: real[2]\ny ~ normal(1, 2)\nquery a = mean(x)\nquery b = cov(y)\n"


def begin(text: str, target: str) -> State:
    model = load(text, name="m.spu")
    provenance = Provenance(tuple(model.sources.items()), model.program_digest, model.data_digest, "test")
    return start(model.energy, load_device(target), provenance)


DENSE = "var x: real[5] ~ multi_normal(ones(5), eye(5) + 0.4 * ones(5, 5))\nquery c = cov(x)\nquery i = inverse(eye(2) + 1)\n"
SPINS = "var s: spin[4]\nenergy -0.8*s[0]*s[1] + 0.3*s[1]*s[2]*s[3] - 0.2*s[0]\nobserve s[3] = -1\nquery m = mean(s)\n"
BITS = "var b: bit[3]\nvar c: bit[2]\nenergy 0.7*b[0]*b[1] - 0.4*b[2] + sum(c)\nquery m = sample(b)\n"
QUARTIC = "var x: real[3]\nenergy sum(x**4) + sum(x**2) - 0.4*x[0]*x[1]\nquery d = sample(x)\n"

WORKLOADS = {
    "chain": (CHAIN, ("ideal", "spu8", "spu8-signed", "resistive-64", "king-8x8")),
    "two": (TWO, ("ideal", "spu8", "spu8-signed", "resistive-64", "chimera-4x4")),
    "dense": (DENSE, ("ideal", "spu8", "king-8x8", "grid(4,4)")),
    "attractive": ("var x: real[6] ~ multi_normal(zeros(6), eye(6) + 0.4 * ones(6, 6))\n", ("spu8",)),
    "spins": (SPINS, ("ideal-spin", "pbit-grid", "king-cmos")),
    "bits": (BITS, ("ideal-spin", "king-cmos")),
    "quartic": (QUARTIC, ("langevin-ideal",)),
}
"""Name → model and the devices that carry it."""

ADJUSTED = [
    ("attractive", "king-8x8", "realise{ways=scale}", "place{method=embed}"),
    ("chain", "spu8{bits=4}", "quantize{ensemble=3}"),
]
"""Chains, and an ensemble."""


def adjusted(pipeline: str, changes: tuple[str, ...]) -> str:
    by_name = {c.partition("{")[0]: c for c in changes}
    return ",".join(by_name.get(name, name) for name in pipeline.split(","))


@pytest.mark.parametrize(
    ("name", "target", "changes"),
    [
        *((name, target, ()) for name, (_, targets) in WORKLOADS.items() for target in targets),
        *((name, target, tuple(changes)) for name, target, *changes in ADJUSTED),
        pytest.param("quartic", "langevin-generative", (), marks=pytest.mark.slow),
    ],
)
def test_stopping_and_going_on_at_every_pass(name: str, target: str, changes: tuple[str, ...]) -> None:
    """One pass at a time, each from the bytes of the one before, against all passes in one go."""
    first = begin(WORKLOADS[name][0], target)
    pipeline = adjusted(default_passes(first.device), changes)
    whole = run_pipeline(first, pipeline, Context(seed=3))
    state = first
    for k, name in enumerate(pipeline.split(",")):
        before = state
        data = pack_state(state, (None, 4)[k % 2])
        state = run_pipeline(read_state(data), name, Context(seed=3))
        assert identical(read_state(print_state(state).encode()), state)
        assert "+ " + name.partition("{")[0] in diff_states(before, state)
    assert pack_program(program_of(state, pipeline)) == pack_program(program_of(whole, pipeline))


@pytest.mark.parametrize("target", ["ideal", "spu8"])
def test_explaining_every_entry_and_coupler(target: str) -> None:
    first = begin(CHAIN, target)
    pipeline = default_passes(first.device)
    program = program_of(run_pipeline(first, pipeline, Context()), pipeline)
    assert identical(read_program(pack_program(program)), program)
    for label in program.source.labels():
        text = explain_variable(program, label)
        assert text.startswith(label)
        assert ("observed at 1.5: no cell carries it" in text) == (label == "x[2]"), text
        if label != "x[2]":
            assert "read-out" in text and "asked" in text and "cell " in text
    for job in program.jobs:
        assert isinstance(job.value, Configuration)
        codes = job.value.codes
        for p, q in codes.edges.tolist():
            text = explain_coupler(program, int(codes.cell[p]), int(codes.cell[q]))
            assert f"(cell {codes.cell[p]}) and" in text and "m.spu:" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(f.stem for f in EXAMPLES.glob("*.spu")))
def test_every_example_at_every_stage(name: str) -> None:
    """On the ideal device, in all texts and containers."""
    stems = (name, name.removesuffix("_spu8"))
    files = [f for stem in stems for f in (EXAMPLES / f"{stem}.json", EXAMPLES / f"{stem}.npz") if f.exists()]
    model = load(EXAMPLES / f"{name}.spu", files=files[:1])
    if not all(v.domain == "real" for v in model.energy.variables):
        device = load_device("ideal")
        state = State(Stage.ENERGY, model.energy, model.energy, device)
        assert identical(read_state(pack_state(state)), state)
        return
    state = start(model.energy, load_device("ideal"))
    for step in default_passes(state.device).split(","):
        state = run_pipeline(state, step, Context())
        for limit in (None, 64):
            data_ = pack_state(state, limit)
            again = read_state(data_)
            assert identical(again, state) and pack_state(again, limit) == data_
