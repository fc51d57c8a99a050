"""What would take minutes or all memory gets an error, at its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.grammar import elaborate
from spucc.grammar.context import MOST_STEPS
from spucc.grammar.statements import MAX_ERRORS


def faults(text: str) -> list[tuple[str, int]]:
    with pytest.raises(SpuccError) as caught:
        elaborate(text)
    return [(d.code, d.span.line if d.span else 0) for d in caught.value.diagnostics]


@pytest.mark.parametrize("energy", ["sum(x)**2", "sum(x)**4", "sum(x) * sum(x[1:]) * x[0]"])
def test_a_square_of_a_long_sum_is_refused_at_its_statement(energy: str) -> None:
    assert faults(f"var x: real[100000] ~ normal(0, 1)\nenergy {energy}\n") == [("E0217", 2)]


def test_the_steps_of_a_program_are_bounded() -> None:
    """Statements count, and the turns of a loop that cannot be taken at once; a loop that can counts once."""
    body = "energy x[0]\n" * 10
    turns = MOST_STEPS // 100
    varying = f"var x: real[9] ~ normal(0, 1)\nfor i in range({turns}) {{\nlet s = x[:i % 9]\n{body}}}\n"
    ((code, line),) = faults(varying.replace("i % 9", "i - 8 * floor(i / 8)"))
    assert code == "E0228" and 3 <= line <= 13
    steady = f"var x: real[9] ~ normal(0, 1)\nfor i in range({100 * turns}) {{\n{body}}}\n"
    assert elaborate(steady).n == 9


def test_errors_end_where_nobody_reads_on() -> None:
    assert len(faults("let a = b\n" * (3 * MAX_ERRORS))) == MAX_ERRORS


def test_a_name_among_a_hundred_thousand_is_found_missing_at_once() -> None:
    text = "".join(f"let some_name_{k} = {k}\n" for k in range(5_000)) + "let a = some_nome\n" * MAX_ERRORS
    assert len(faults(text)) == MAX_ERRORS


def measured(text: str, tmp_path: Path) -> tuple[str, float]:
    """The codes that a program ends with, and the most memory, in MB, of a process of its own."""
    file = tmp_path / "program.spu"
    file.write_text(text)
    code = (
        "import json, resource, sys\nfrom pathlib import Path\nfrom spucc.diagnostics import SpuccError\n"
        "from spucc.grammar import elaborate\nfound = []\n"
        "try:\n    elaborate(Path(sys.argv[1]))\n"
        "except SpuccError as error:\n    found = sorted({d.code for d in error.diagnostics})\n"
        "print(json.dumps([' '.join(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    codes, most = json.loads(run.stdout)
    return codes, most


X = "var x: real ~ normal(0, 1)\n"
XS = "var x: real[1000000] ~ normal(0, 1)\n"
LARGE = {
    "many arrays": (X + "".join(f"let a{k} = ones(1000, 1000) + {k}\n" for k in range(300)), "E0217"),
    "many small arrays": (X + "".join(f"let a{k} = ones(200, 200) + {k}\n" for k in range(20_000)), "E0217"),
    "one statement": (X + "let a = [" + ", ".join(["ones(3900, 3900) + 1"] * 60) + "]\n", "E0217"),
    "one array": (X + "let a = ones(3900, 3900) + 1\n", ""),
    "too large an array": (X + "let a = ones(4100, 4100)\n", "E0217"),
    "many energies": (XS + "".join(f"energy {k} * sum((x[1:] - x[:-1])**2)\n" for k in range(1, 200)), "E0217"),
    "some energies": (XS + "".join(f"energy {k} * sum((x[1:] - x[:-1])**2)\n" for k in range(1, 7)), ""),
    "many coordinates": ("".join(f"var x{k}: real[1000000] ~ normal(0, 1)\n" for k in range(40)), "E0217"),
    "most coordinates": ("var x: real[3500000] ~ normal(0, 1)\n", ""),
    "many turns": (
        "var x: real[9] ~ normal(0, 1)\nfor i in range(3000000) { energy 1e-9 * sin(i) * x[0]**2 }\n", "",
    ),
    "too many turns": ("var x: real[9] ~ normal(0, 1)\nfor i in range(30000000) { energy x[0] }\n", "E0217"),
    "what loops keep": (
        X + "for i in range(4000000) {\n" + "".join(f"let a{k} = sin(i + {k})\n" for k in range(40)) + "}\n", "E0217",
    ),
    "a large lattice": (
        "var x: real[2000000] ~ normal(0, 1)\nfor (i, j) in edges(torus(2000, 1000)) { energy (x[i] - x[j])**2 }\n", "",
    ),
    "all pairs": ("var x: real[9000] ~ normal(0, 1)\nenergy sum((x[:, None] - x[None, :])**2)\n", "E0217"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE)
def test_no_program_takes_a_gigabyte(case: str, tmp_path: Path) -> None:
    text, expected = LARGE[case]
    codes, most = measured(text, tmp_path)
    assert codes == expected
    assert most < 1000


def test_what_a_program_holds_is_counted_alike_everywhere() -> None:
    held = "let a = zeros(3000, 3000)\n" + "".join(f"let b{k} = a + {k}\n" for k in range(20))
    ((code, line),) = faults(X + held)
    assert code == "E0217" and 3 < line < 12
    # What a loop's body names is let go, and so is what an expression is worth on the way.
    freed = "for k in range(3) { let b = zeros(3000, 3000) + ones(k + 1)[0] }\n"
    assert elaborate(X + freed * 4).n == 1


def test_data_that_are_given_raise_the_limits() -> None:
    text = "data a: real[n]\n" + X + "".join(f"let b{k} = a + {k}\n" for k in range(6))
    n = 17_000_000
    assert elaborate(text, data={"a": np.zeros(n, dtype=np.int8)}).n == 1
    assert faults(text.replace("real[n]", f"real[{n}] = ones({n})"))[0][0] == "E0217"


@pytest.mark.slow
def test_matrix_algebra_counts_as_work() -> None:
    power = " @ ".join(["a"] * 40)
    assert faults(f"{X}let a = eye(2000)\nlet b = {power}\n") == [("E0228", 3)]
