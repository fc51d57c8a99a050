"""Every block that the documentation shows is executed from the page itself.

```console   lines that begin with `$ ` run in a copy of the examples, with `spucc` as installed; lines that install or test are
             not run again from within the tests (CI runs them), and those of ngspice only where it is
```python    runs in the same place
```toml      is a device file
```spu       has to check; one that begins with `# error: E0203` has to give that error
```
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spucc.devices import device_schema, load_device
from spucc.diagnostics import SpuccError
from spucc.grammar import elaborate

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for k, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if match[1] == language:
                found.append((f"{page.name}:{k}", match[2]))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def test_there_is_something_to_test() -> None:
    assert blocks("console") and blocks("python") and blocks("spu")


@pytest.mark.parametrize(
    ("where", "text"), blocks("spu"), ids=lambda v: v if ":" in v and "\n" not in v else ""
)
def test_programs(where: str, text: str) -> None:
    wanted = re.match(r"# error: (E\d{4})", text)
    if wanted is None:
        elaborate(text, folder=ROOT / "examples")
        return
    with pytest.raises(SpuccError) as caught:
        elaborate(text, folder=ROOT / "examples")
    assert caught.value.diagnostics[0].code == wanted[1]


@pytest.mark.parametrize(
    ("where", "text"), blocks("console"), ids=lambda v: v if ":" in v and "\n" not in v else ""
)
def test_commands(where: str, text: str, place: Path) -> None:
    for line in text.splitlines():
        if not line.startswith("$ "):
            continue
        # The part of a line that is about installing is CI's; what comes after it is run here.
        parts = [p.strip() for p in line[2:].split("&&")]
        for part in parts:
            words = part.split()
            if (
                words[0].endswith("/pip")
                or words[:3] == ["python3", "-m", "venv"]
                or words[0].endswith("/pytest")
            ):
                continue
            assert words[0] in ("spucc", ".venv/bin/spucc"), f"{where} shows `{part}`"
            if "--backend spice" in part and shutil.which("ngspice") is None:
                continue
            command = part.replace(words[0], f"{sys.executable} -m spucc", 1)
            run = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True)
            assert run.returncode == 0, f"{where}: {part}\n{run.stderr}"


@pytest.mark.parametrize(
    ("where", "text"), blocks("python"), ids=lambda v: v if ":" in v and "\n" not in v else ""
)
def test_python(where: str, text: str, place: Path) -> None:
    run = subprocess.run([sys.executable, "-c", text], cwd=place, capture_output=True, text=True)
    assert run.returncode == 0, f"{where}\n{run.stderr}"


@pytest.mark.parametrize(
    ("where", "text"), blocks("toml"), ids=lambda v: v if ":" in v and "\n" not in v else ""
)
def test_device_files(where: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert load_device(str(tmp_path / "mine.toml")).name == "mine", where


def test_the_page_of_devices_names_every_field() -> None:
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z_]+", page))
    schema = device_schema()["$defs"]
    fields = {field for struct in schema.values() for field in struct.get("properties", {})}
    assert fields and not fields - named
