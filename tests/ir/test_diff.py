"""What a pass changed and how programs differ, in the user's names."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from spucc.arrays import frozen
from spucc.diagnostics import Span
from spucc.ir.diff import diff_programs, diff_states
from spucc.ir.facts import facts
from spucc.ir.show import bits, si
from spucc.stages import Configuration, Program, Stage, State

from . import build


def with_codes(program: Program, **changes: object) -> Program:
    job = program.jobs[0]
    assert isinstance(job.value, Configuration)
    value = replace(job.value, codes=replace(job.value.codes, **changes))  # type: ignore[arg-type]
    return replace(program, jobs=(replace(job, value=value),))


def test_each_pass_says_what_it_did() -> None:
    s = list(build.states().values())
    said = [diff_states(a, b) for a, b in pairwise(s)]
    assert "stage: energy → jobs" in said[0] and "job all: new, 3 of the model's coordinates" in said[0]
    assert "+ realise: read back 3 → 3 scaled, shifted" in said[1] and "balanced as it is" in said[1]
    assert "x[0] x[1]" in said[1] and "-0.5" in said[1] and "-0.4" in said[1]
    assert "lost by job all up to realise: KL 0 nats" in said[1]
    assert "+ place{seed=1}" in said[2] and "cell 0: ground 1.2 nF" in said[2] and "800 pF" in said[2]
    assert "cell 1: ground 31 = 0001_1111 = 310 pF" in said[3] and "(bound)   (before: KL 0" in said[3]
    assert "settle" in said[4] and "100 µs" in said[4]


def test_nothing_changed() -> None:
    for state in build.states().values():
        assert diff_states(state, state) == "nothing changed"
    program = build.program()
    assert diff_programs(program, build.program()) == "the programs are the same"


def test_only_what_changed_is_said() -> None:
    program = build.program()
    other = with_codes(program, coupling=frozen([[80, 91]], np.int64))
    rows = diff_programs(program, other).split("\n")
    assert rows[0] == "job all:"
    assert len(rows) == 2 and rows[1].split() == [
        "~",
        "x[1]",
        "x[2]",
        "90",
        "=",
        "0101_1010",
        "=",
        "900",
        "pF",
        "→",
        "91",
        "=",
        "0101_1011",
        "=",
        "910",
        "pF",
    ]


def test_programs_for_another_device_and_model() -> None:
    program, loop = build.program(), build.looped()
    text = diff_programs(program, loop)
    for part in ("ring4", "→  free-resistive", "pipeline", "program text", "predicted errors:", "family"):
        assert part in text
    renamed = replace(program.source, variables=(replace(program.source.variables[0], name="y"),))
    text = diff_programs(program, replace(program, source=renamed))
    assert "-  x  real[3]" in text and "+  y" in text
    moved = replace(program.source.variables[0], span=Span("other.spu", 1, 1, 1, 2))
    text = diff_programs(program, replace(program, source=replace(program.source, variables=(moved,))))
    assert text == "the programs differ only in what a board does not see"


def test_long_lists_are_cut() -> None:
    s = build.states()
    text = diff_states(s[Stage.JOBS], s[Stage.COUPLINGS], most=2)
    assert "… and " in text and len(text.split("\n")) < 12


def test_large_models_are_summed_up() -> None:
    n = 3000
    energy = build.Energy(
        build.layout([("x", (n,), build.Domain.REAL, None)]),
        frozen(np.zeros(n)),
        build.Quadratic(build.sparse.csr_array(build.sparse.eye_array(n))),
    )
    state = State(Stage.ENERGY, energy, energy, build.free_device(build.Family.IDEAL))
    other = replace(state, model=replace(energy, linear=frozen(np.arange(n))))
    text = diff_states(state, other)
    assert "linear terms  3000, 0 … 0, norm 0  →  3000, 0 … 2999" in text and len(text) < 500


def test_ensembles_show_their_spread() -> None:
    job = build.ensemble().jobs[0]
    found = facts(job.value, job.target, build.calibrated())
    assert "members" in found and any("in 3 members" in v for v in found.values())


def test_values_for_the_eye() -> None:
    assert [si(v, "F") for v in (1.234e-11, 1e-9, 999.9e-12, 1.0, 0.0, -2e-6, 1e-30)] == [
        "12.34 pF", "1 nF", "999.9 pF", "1 F", "0 F", "-2 µF", "1e-06 yF",
    ]  # fmt: skip
    assert si(0.5, "1") == "0.5" and si(float("inf"), "s") == "inf s"
    bank = build.Bank(bits=6)
    assert [bits(c, bank) for c in (0, 5, 63, -5)] == ["00_0000", "00_0101", "11_1111", "-00_0101"]
