"""The house stands: who may import whom, what the wheel holds, how light the package is to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("grammar", "passes", "targets")
DRIVERS = ("driver", "conformance", "verify", "highlight", "running", "explaining", "report", "lsp", "cli")
"""Files and packages of `spucc` that know the stages: the driver, and what the command line calls. The rest is the core."""


def imports(file: Path) -> set[str]:
    """Dotted names that a file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found.add(node.module or "")
    return found


def python_files(folder: str) -> list[Path]:
    files = [f for f in (ROOT / folder).rglob("*.py") if "__pycache__" not in f.parts]
    assert files, folder
    return files


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_the_core_and_itself(stage: str) -> None:
    others = tuple(f"spucc.{s}" for s in STAGES if s != stage)
    for file in python_files(stage):
        for name in imports(file):
            assert not name.startswith((*others, *(f"spucc.{d}" for d in DRIVERS))), f"{file} imports {name}"
            assert name.split(".")[0] not in STAGES, f"{file} imports {name} by its folder's name"


def test_only_driver_and_command_line_import_the_stages() -> None:
    stages = tuple(f"spucc.{s}" for s in STAGES)
    for file in python_files("spucc"):
        if file.relative_to(ROOT / "spucc").parts[0].removesuffix(".py") in (*DRIVERS, *STAGES):
            continue
        for name in imports(file):
            assert not name.startswith(stages), f"{file} imports {name}"


def test_importing_spucc_is_light() -> None:
    code = "import sys, spucc; print([m for m in ('numpy', 'scipy', 'cvxpy', 'networkx', 'lark', 'numba') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_using_the_core_needs_no_heavy_library() -> None:
    code = (
        "import sys, spucc.driver, spucc.running.run, spucc.oracle, spucc.passes, spucc.targets, spucc.grammar\n"
        "print([m for m in ('cvxpy', 'networkx', 'scipy.stats', 'numba', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_every_error_code_has_a_page() -> None:
    """Each code in the source has a page, and each page's title is its first line."""
    import re

    codes = set()
    for folder in ("spucc", *STAGES):
        for file in python_files(folder):
            codes |= set(re.findall(r'"([EW]0\d{3})"', file.read_text(encoding="utf-8")))
    pages = {f.stem: f for f in (ROOT / "docs" / "errors").glob("[EW]*.md")}
    assert not codes - set(pages), f"codes without a page: {sorted(codes - set(pages))}"
    for code, page in pages.items():
        first = page.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(f"# {code}: "), f"{page}: the first line names code and title"


@pytest.mark.slow
def test_the_wheel_holds_the_tree(tmp_path: Path) -> None:
    """Every module, grammar, device and error page is in the wheel, and nothing leaks as a package of another name."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = set()
    homes = {
        "spucc": "spucc",
        "grammar": "spucc/grammar",
        "passes": "spucc/passes",
        "targets": "spucc/targets",
    }
    for folder, home in homes.items():
        for file in (ROOT / folder).rglob("*"):
            inside = file.relative_to(ROOT / folder)
            linked = folder == "spucc" and inside.parts[0] in (*STAGES, "errors")
            if file.is_file() and "__pycache__" not in file.parts and not linked:
                expected.add(f"{home}/{inside.as_posix()}")
    expected |= {f"spucc/errors/{f.name}" for f in (ROOT / "docs" / "errors").iterdir() if f.is_file()}
    assert held == expected, f"missing {sorted(expected - held)}, surplus {sorted(held - expected)}"
