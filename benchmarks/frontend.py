"""The front end against its figures: start-up, parsing, a lattice of 10⁶ variables, a dense matrix, an editor's answers.

    python benchmarks/frontend.py            everything, two to three minutes
    python benchmarks/frontend.py --quick    smaller lattice and matrix; no verdicts on them

Times are CPU seconds of one thread (`OMP_NUM_THREADS=1`), each figure the median of several runs; those of whole processes
are taken from the kernel's account of the child. Every heavy case has a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | THREADS
MB = 2**20


def program(lines: int) -> str:
    """A program of so many lines, of all kinds of statement."""
    out = ["data n: int = 6", "let t = linspace(0, 1, n)"]
    k = 0
    while len(out) <= lines - 12:
        k += 1
        before = f"0.5 * x{k - 1}" if k > 1 else "0"
        out += [
            f"# part {k}",
            f"var x{k}: real[n] ~ normal({before}, 1.5)   # a law",
            f"let g{k} = exp(-t**2 / {k}) + sin({k} * t)",
            f"energy 0.5 * {k}e-2 * sum((x{k}[1:] - x{k}[:-1])**2) + dot(g{k}, x{k})",
            "for i in range(n - 1) {",
            f"    let d{k} = x{k}[i + 1] - 0.9 * x{k}[i]",
            f"    energy 0.25 * d{k}**2",
            "}",
            f"g{k}[:3] ~ normal(x{k}[:3], 0.4)",
            "",
        ]
    out += ["# padding"] * (lines - 1 - len(out))
    return "\n".join(out) + f"\nquery m = mean(x{k})\n"


def child(arguments: list[str]) -> float:
    """CPU seconds of a whole process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median(measure: Callable[[], float], runs: int) -> float:
    measure()  # writes what is cached
    return statistics.median(measure() for _ in range(runs))


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def row(what: str, found: str, target: str, good: bool | None) -> None:
    verdict = "" if good is None else "reached" if good else "MISSED"
    print(f"{what:<58}{found:>26}   {target:<22}{verdict}", flush=True)


# --- cases that have a process of their own ---


def lattice(side: int, loop: bool) -> str:
    head = f"var x: real[{side * side}] ~ normal(0, 10)\nlet G = torus({side}, {side})\n"
    if loop:
        return head + "for (i, j) in edges(G) { energy 0.5 * (x[i] - x[j])**2 }\n"
    return head + "let e = edges(G)\nenergy 0.5 * sum((x[e[:, 0]] - x[e[:, 1]])**2)\n"


def lattice_case(side: int, loop: bool) -> None:
    from spucc.grammar import elaborate

    seconds = timed(lambda: elaborate(lattice(side, loop)))
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def dense_case(n: int) -> None:
    """Reading and validating the array, and the whole way to the energy."""
    import numpy as np

    from spucc.grammar import elaborate

    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, n))
    omega = a @ a.T / n + np.eye(n)
    declared = f"data Omega: spd[{n}]\n"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        np.savez(file, Omega=0.5 * (omega + omega.T))
        least = declared + "var z: real ~ normal(0, 1)\n"
        whole = declared + f"var x: real[{n}] ~ multi_normal_prec(0, Omega)\n"
        pair = [median(lambda t=t: timed(lambda: elaborate(t, files=[file])), 5) for t in (least, whole)]  # type: ignore[misc]
    print(*pair)


def parse_case() -> None:
    from spucc.grammar.parser import parse

    base = program(500)
    for size in (MB // 8, MB // 2, MB - 1024):
        text = (base * (size // len(base) + 1))[:size].rsplit("\n", 12)[0] + "\n"
        print(len(text), statistics.median(timed(lambda t=text: parse(t, "f")) for _ in range(3)))  # type: ignore[misc]
    print(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Editor:
    """A few lines of JSON-RPC to a server of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spucc", "lsp"],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.uri = Path(tempfile.gettempdir(), "edited.spu").as_uri()
        self.number = 0
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        self.tell("initialized", {})

    def tell(self, method: str, parameters: object, **more: int) -> None:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, **more}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        size = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(size))

    def ask(self, method: str, parameters: object) -> Any:
        self.number += 1
        self.tell(method, parameters, id=self.number)
        while (message := self.hear()).get("id") != self.number:
            pass
        return message["result"]

    def calm(self) -> None:
        """Until the diagnostics of the text are there."""
        while self.hear().get("method") != "textDocument/publishDiagnostics":
            pass

    def spent(self) -> float:
        """CPU seconds of the server so far, all threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def editor_case() -> None:
    """Answers of the real server to the first question after an edit: CPU and wall seconds of the slowest of eight, and how many
    of the answers hold a shape and an energy, a line for each question and place of the edit. Every edit moves the lines below
    it, and questions are about a line behind the edit."""
    editor, lines = Editor(), program(500).split("\n")
    whole = {"uri": editor.uri, "languageId": "spu", "version": 0, "text": "\n".join(lines)}
    editor.tell("textDocument/didOpen", {"textDocument": whole})
    editor.calm()
    version = 0
    for what in ("hover", "definition", "completion", "formatting"):
        for at in (2, 250, 475):
            cpu, wall, full = [], [], 0
            for _ in range(8):
                version += 1
                lines.insert(at, f"let v{version} = {version}")
                row = next(k for k in range(at, len(lines)) if "dot(" in lines[k])
                asked: dict[str, Any] = {"textDocument": {"uri": editor.uri}}
                if what == "formatting":
                    asked["options"] = {"tabSize": 4, "insertSpaces": True}
                else:
                    asked["position"] = {"line": row, "character": lines[row].index("dot(") + 5}
                begun, before = time.perf_counter(), editor.spent()
                editor.tell(
                    "textDocument/didChange",
                    {"textDocument": {"uri": editor.uri, "version": version},
                     "contentChanges": [{"text": "\n".join(lines)}]},
                )  # fmt: skip
                answer = editor.ask(f"textDocument/{what}", asked)
                wall.append(time.perf_counter() - begun)
                cpu.append(editor.spent() - before)
                full += "real[6]" in str(answer) and "E += " in str(answer)
                editor.calm()
                del lines[at]
            print(max(cpu), max(wall), full)
    editor.ask("shutdown", None)
    editor.tell("exit", None)
    editor.process.wait(20)


CASES: dict[str, Callable[..., None]] = {
    "lattice": lambda side, loop: lattice_case(int(side), loop == "loop"),
    "dense": lambda n: dense_case(int(n)),
    "parse": parse_case,
    "editor": editor_case,
}


def apart(*case: str) -> list[list[float]]:
    """A case in a process of its own; the numbers that it prints."""
    run = subprocess.run(
        [sys.executable, __file__, "--case", *case],
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [[float(v) for v in line.split()] for line in run.stdout.splitlines()]


def main(quick: bool) -> None:
    print(f"{'':<58}{'found':>26}   {'target':<22}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fifty.spu"
        file.write_text(program(50))
        start = median(lambda: child(["-m", "spucc", "--help"]), 9)
        row("spucc --help, whole process", f"{start:.3f} s", "≤ 0.25 s", start <= 0.25)
        check = median(lambda: child(["-m", "spucc", "check", str(file)]), 9)
        row("spucc check of 50 lines, whole process", f"{check:.3f} s", "≤ 0.45 s", check <= 0.45)
    *sizes, (_, memory) = apart("parse")
    speed = [size / MB / seconds for size, seconds in sizes]
    row("parse 1 MB", f"{speed[2]:.2f} MB/s", "≥ 0.13 MB/s", speed[2] >= 0.13)
    growth = speed[0] / speed[2]
    row("seconds a MB, 1 MB against ⅛ MB", f"{growth:.2f}", "linear: ≤ 1.3", growth <= 1.3)
    row("peak memory of parsing 1 MB", f"{memory:.0f} MB", "≤ 1000 MB", memory <= 1000)
    side = 300 if quick else 1000
    pairs = [[apart("lattice", str(side), kind)[0] for kind in ("loop", "line")] for _ in range(7)]
    loop = [statistics.median(v) for v in zip(*(pair[0] for pair in pairs))]
    ratios = sorted(one[0] / other[0] for one, other in pairs)
    name = f"lattice of {side * side:,} variables, loop over edges"
    row(name, f"{loop[0]:.2f} s", "≤ 8 s", None if quick else loop[0] <= 8)
    row("  its peak memory", f"{loop[1]:.0f} MB", "≤ 2000 MB", None if quick else loop[1] <= 2000)
    row(
        "  against the vectorised line, 7 fresh pairs",
        f"{ratios[3]:.2f} ×, worst {ratios[-1]:.2f} ×",
        "≤ 1.3 ×",
        ratios[3] <= 1.3,
    )
    n = 500 if quick else 2000
    ((least, whole),) = apart("dense", str(n))
    good = None if quick else whole <= 1.5 * least
    row(
        f"dense {n} × {n} precision, against reading it",
        f"{whole / least:.2f} × {least:.2f} s",
        "≤ 1.5 ×",
        good,
    )
    answers = iter(apart("editor"))
    for what in ("hover", "definition", "completion", "formatting"):
        three = [next(answers) for _ in range(3)]
        said = " ".join(f"{1000 * cpu:.0f}" for cpu, _, _ in three)
        slowest = max(wall for _, wall, _ in three)
        full = int(sum(n for _, _, n in three))
        row(
            f"editor, 500 lines edited at top, middle, end: {what}",
            f"{said} ms CPU, {1000 * slowest:.0f} wall",
            "≤ 100 ms, worst of 24",
            max(cpu for cpu, _, _ in three) <= 0.1,
        )
        if what == "hover":
            row("  of them with shape and energy of the new text", f"{full} of 24", "all", full == 24)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        CASES[sys.argv[2]](*sys.argv[3:])
    else:
        main("--quick" in sys.argv[1:])
