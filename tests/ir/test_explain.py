"""From the line of the model to the cells and back, against figures computed here."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.driver import compile_program
from spucc.explaining.variable import explain_coupler, explain_variable
from spucc.stages import Program

from . import build


def section(text: str, title: str) -> str:
    """The paragraph of a title."""
    rows = text.split("\n")
    start = next(k for k, row in enumerate(rows) if row.startswith(f"{title:<12}"))
    stop = next((k for k in range(start + 1, len(rows)) if not rows[k].startswith(" " * 12)), len(rows))
    return "\n".join(row[12:] for row in rows[start:stop])


def test_a_variable_from_source_to_codes() -> None:
    text = explain_variable(build.program(), "x[1]")
    assert text.split("\n")[0] == "x[1]"
    assert section(text, "source").split("\n") == [
        "chain.spu:1:1   var x: real[3]",
        "chain.spu:3:1   x[1:] ~ normal(0.5 * x[:-1], 1)   # a chain",
    ]
    assert section(text, "model") == "own term 1.25, linear term 0\ninteracts with x[0] -0.5, x[2] -0.5"
    assert section(text, "realise") == "= 0.8 y1 + 0.5\nbalanced as it is"
    assert section(text, "cells") == "x[1] on cell 1: ground 31 = 0001_1111 = 310 pF\nscale 2.003 nJ"
    assert section(text, "couplers").split("\n") == [
        "1–2: 90 = 0101_1010 = 900 pF, x[1] to x[2]",
        "0–1: 80 = 0101_0000 = 800 pF, x[0] to x[1]",
    ]
    assert section(text, "read-out") == f"x[1] = {0.8 * 0.99:.6g} v1 + 0.5"


def test_its_part_of_the_errors() -> None:
    """Asked: the inverse of the model's precision. Made: the inverse of the capacitors' matrix over the scale, read out."""
    text = section(explain_variable(build.program(), "x[1]"), "errors")
    asked = np.sqrt(np.linalg.inv([[1.25, -0.5, 0], [-0.5, 1.25, -0.5], [0, -0.5, 1.0]])[1, 1])
    stray = 3e-12
    c = np.array([[2.0e-9, -8e-10, 0], [-8e-10, 2.01e-9, -9e-10], [0, -9e-10, 1.9e-9]]) + stray * np.eye(3)
    made = np.sqrt(np.linalg.inv(c / 2.003e-9)[1, 1]) * 0.99 * 0.8
    assert f"sd {asked:.6g} asked, {made:.6g} made" in text
    assert f"mean 0 asked, 0.5 made ({0.5 / asked:+.2g} sd)" in text
    assert "quantize:       KL of the job 0 → 3.2e-06 nats a variable (bound), worst sd 0.12 %" in text


@pytest.mark.parametrize("name", ["x[-1]", " x [ 2 ] "])
def test_names_as_people_write_them(name: str) -> None:
    assert explain_variable(build.program(), name).startswith("x[2]\n")


@pytest.mark.parametrize(
    ("name", "help_"),
    [("y[1]", "its variables are x"), ("x", "`x[0]` to `x[2]`"), ("x[3]", "`x[0]` to `x[2]`"), ("x[0, 1]", "`x[0]`"),
     ("x[", ""), ("", ""), ("x[99999999999999999999]", "")],
)  # fmt: skip
def test_names_that_are_none(name: str, help_: str) -> None:
    with pytest.raises(SpuccError) as caught:
        explain_variable(build.program(), name)
    (found,) = caught.value.diagnostics
    assert found.code == "E0617" and help_ in found.help


def test_a_coupler_backwards() -> None:
    text = explain_coupler(build.program(), 2, 1)
    assert text.startswith("coupler 1–2 of ring4")
    assert "joins x[1] (cell 1) and x[2] (cell 2)" in text
    assert section(text, "setting") == "90 = 0101_1010 = 900 pF"
    assert section(text, "model") == "x[1] x[2]: -0.5 in the energy"
    assert section(text, "source") == "chain.spu:3:1   x[1:] ~ normal(0.5 * x[:-1], 1)   # a chain"


def test_couplers_that_carry_nothing() -> None:
    assert "no job of this program uses both cells" in explain_coupler(build.program(), 0, 3)
    with pytest.raises(SpuccError) as caught:
        explain_coupler(build.program(), 0, 2)
    (found,) = caught.value.diagnostics
    assert found.code == "E0617" and found.help == "cell 0 has 0,1, 0,3"
    assert "the coupler is idle" in explain_coupler(build.looped(), 10**30, 1)
    for i, j in ((0, 0), (-1, 2), (0, 99), (10**30, 1)):
        with pytest.raises(SpuccError):
            explain_coupler(build.program(), i, j)


def test_chains_covers_and_loops() -> None:
    """A chain's inner coupler, a host loop, an observed entry, an entry of no job."""
    state = build.ensemble()
    codes = replace(state.jobs[0].value, cell=build.ints(2, 1, 0))
    job = replace(state.jobs[0], value=build.Configuration(codes, build.Schedule(), ()))  # type: ignore[arg-type]
    program = Program(state.device, state.source, state.model, (job,), (), (), state.provenance)
    assert "holds a chain together" in explain_coupler(program, 1, 2)
    assert "border or an auxiliary cell" in explain_coupler(program, 0, 1)
    assert "in 3 members" in explain_variable(program, "x[0]")
    assert "host loop, 12 sweeps" in explain_variable(build.looped(), "x[0]")
    energy = build.rich_energy()
    empty = Program(build.calibrated(), energy, energy, (), (), (), state.provenance)
    assert "observed at 1.5: no cell carries it" in explain_variable(empty, "W[0, 1]")
    assert "stands in 3 terms of degree 3 or more" not in explain_variable(empty, "W[0, 1]")
    assert "stands in 2 terms of degree 3 or more" in explain_variable(empty, "mu")


def compiled(text: str, target: str, **options: object) -> Program:
    return compile_program(text, target=target, **options)  # type: ignore[arg-type]


def test_spins_with_chains_and_an_auxiliary_one() -> None:
    """Probabilities are those of the enumeration of the model; settings are biases, times are sweeps."""
    text = explain_variable(
        compiled(
            "var s: spin[4]\nenergy -0.8*s[0]*s[1] + 0.3*s[1]*s[2]*s[3] - 0.2*s[0]\nquery m = mean(s)\n",
            "pbit-grid",
        ),
        "s[1]",
    )
    states = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    energy = (
        -0.8 * states[:, 0] * states[:, 1]
        + 0.3 * states[:, 1] * states[:, 2] * states[:, 3]
        - 0.2 * states[:, 0]
    )
    weight = np.exp(-energy)
    up = weight[states[:, 1] == 1].sum() / weight.sum()
    assert f"s[1] alone: probability of its upper value {up:.6g} asked" in section(text, "errors")
    assert "sweeps" in section(text, "schedule") and " s," not in section(text, "schedule")
    assert "bias" in section(text, "cells") or "no bias" in section(text, "cells")
    assert "ground" not in section(text, "cells")
    assert "stands in 1 term of degree 3" in text
    assert section(text, "read-out").startswith("s[1] = ")


def test_cells_that_only_the_read_out_needs_are_listed() -> None:
    """A dense model on a king's graph needs a way that mixes cells: each of them is named."""
    x = np.random.default_rng(1).normal(size=(12, 6))
    program = compile_program(
        "data Q: real[6, 6]\nvar x: real[6]\nx ~ multi_normal_prec(0, Q)\nquery d = sample(x)\n",
        target="king-8x8", data={"Q": x.T @ x / 6},
    )  # fmt: skip
    text = explain_variable(program, "x[2]")
    read = set(re.findall(r"v(\d+)", section(text, "read-out")))
    assert len(read) > 1, "the model was to need a read-out that mixes cells"
    assert read == set(re.findall(r"on cell (\d+):", section(text, "cells")))


def test_passes_that_left_a_variable_alone_share_a_line() -> None:
    text = explain_variable(compiled("var x: real ~ normal(1, 2)\n", "ideal"), "x")
    assert [row for row in text.split("\n") if "unchanged" in row] == [
        "unchanged   by normalise, condition, reduce, split",
        "unchanged   by place, quantize, lower, schedule",
    ]
    assert "sd 2 asked, 2 made (0 %); mean 1 asked, 1 made (0 sd); KL of its marginal 0 nats" in text
    assert "worst correlation" not in text, "of one variable there is none"


TRIANGLE = """var x: real[3] ~ multi_normal([1.0, 0.0, 0.0], [[1.0, 0.6, 0.5], [0.6, 1.0, 0.4], [0.5, 0.4, 1.0]])
query d = sample(x)
"""


def path_of_three() -> Program:
    """Three coupled variables on a path of three cells: one coupling has no coupler, and is projected out."""
    return compile_program(
        TRIANGLE,
        target="grid(1,3)",
        passes="condition,split,realise{ways=scale},place{chains=never},project{max-kl=1},fit,quantize,lower",
    )


def test_a_variables_part_of_the_error_of_each_pass() -> None:
    """The nearest law to a Gaussian on a path keeps the correlations along it, and makes their product of the one across."""
    program = path_of_three()
    cells = program.jobs[0].value.codes
    order = [int(cells.coordinate[np.flatnonzero(cells.cell == c)[0]]) for c in range(3)]
    a, b, c = order
    rho = np.array([[1.0, 0.6, 0.5], [0.6, 1.0, 0.4], [0.5, 0.4, 1.0]])
    lost = rho[a, b] * rho[b, c] - rho[a, c]
    text = section(explain_variable(program, f"x[{a}]"), "errors")
    project, quantize = text.split("quantize:")
    assert project.startswith("project:") and f"x[{a}]: sd" in project
    assert f"correlation with x[{c}] {lost:+.2g}" in project
    found = re.search(rf"x\[{a}\]: sd ([+-][\d.e-]+) %, mean 0 sd", quantize)
    assert found is not None and 0 < abs(float(found[1])) < 1, "8 bits cost something, and less than 1 %"
    assert "realise:" not in text and "was not kept" not in text


def test_passes_that_went_another_way_are_said_to_be_unknown() -> None:
    program = path_of_three()
    job = program.jobs[0]
    steps = tuple(
        replace(s, notes=("another seed's note",)) if s.name.startswith("place") else s for s in job.steps
    )
    other = replace(program, jobs=(replace(job, steps=steps),))
    text = section(explain_variable(other, "x[0]"), "errors")
    assert "what place, project, fit left was not kept" in text
    assert "x[0]: sd" in text.split("quantize:")[1]


def test_a_variable_that_is_made_of_another() -> None:
    """A field with a singular covariance is carried by as many normals as its rank; they have names of their own."""
    program = compile_program(
        'var f: real[3] ~ gp([0.0, 0.0, 1.0], "rbf", 1.0, 1.0, 0)\nf[0] ~ normal(1, 1)\nquery d = sample(f)\n'
    )
    with pytest.raises(SpuccError, match=r"`f` is not drawn itself: it is made of `f\.z`"):
        explain_variable(program, "f[2]")
    assert explain_variable(program, "f.z[0]").startswith("f.z[0]\n")


def test_a_law_of_two_parts_names_the_other() -> None:
    """A field pushed by labels is drawn as a Gaussian and their response: all labels are in each of its draws."""
    program = compile_program(
        "var x: real[5]\nvar s: spin[5]\nx ~ normal(0, 1)\nenergy -0.5 * sum(x[1:] * x[:-1]) * 0.5 - 0.5 * sum(x * s)\n"
        "query m = mean(x)\nquery l = mean(s)\n",
        target="resistive-64+ideal-spin",
    )
    text = explain_variable(program, "x[2]")
    assert "its draws are made of `s[0]`, `s[1]`, `s[2]`, `s[3]`, `s[4]` too" in text
    assert "on cell" in section(explain_variable(program, "s[4]"), "cells")
