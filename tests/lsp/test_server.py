"""The language server over standard input and output, as an editor drives it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls")

PROGRAM = """\
data y: real[n] = [28, 8, -3]
data sigma: real<lower=0>[n] = [15, 10, 16]

var mu: real ~ normal(0, 5)
var theta: real[n]

fn shrink(a, b) = 0.5 * (a - b)
theta ~ normal(mu, 5)
y ~ normal(theta, sigma)
energy 0.5 * theta[0]**2 + shrink(mu, 2) * mu
for i in range(n) { energy 0.1 * theta[i] }
energy sum(theta[i] for i in range(2))
query effect = mean(theta)
"""


class Client:
    """A few lines of JSON-RPC."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spucc", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.folder = folder
        self.number = 0
        self.published: dict[str, list[dict[str, Any]]] = {}

    def send(self, method: str, params: Any, number: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        body = json.dumps(message).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        size = 0
        while line := self.process.stdout.readline().strip():
            key, _, value = line.partition(b":")
            if key.lower() == b"content-length":
                size = int(value)
        message: dict[str, Any] = json.loads(self.process.stdout.read(size))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.published[message["params"]["uri"]] = message["params"]["diagnostics"]
        return message

    def ask(self, method: str, params: Any) -> Any:
        self.number += 1
        self.send(method, params, self.number)
        while True:
            message = self.receive()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(message["error"]["message"])
                return message["result"]

    def open(self, name: str, text: str) -> str:
        uri = (self.folder / name).as_uri()
        item = {"uri": uri, "languageId": "spu", "version": 1, "text": text}
        self.send("textDocument/didOpen", {"textDocument": item})
        return uri

    def change(self, uri: str, text: str, version: int) -> None:
        document = {"uri": uri, "version": version}
        self.send("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """What is published next."""
        self.published.pop(uri, None)
        while uri not in self.published:
            self.receive()
        return self.published[uri]


def at(uri: str, text: str, mark: str, occurrence: int = 0) -> dict[str, Any]:
    """The position of the n-th occurrence of some text, in UTF-16 units as the protocol counts."""
    offset = -1
    for _ in range(occurrence + 1):
        offset = text.index(mark, offset + 1)
    line = text.count("\n", 0, offset)
    before = text[text.rfind("\n", 0, offset) + 1 : offset]
    character = len(before.encode("utf-16-le")) // 2
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def applied(text: str, edits: list[dict[str, Any]]) -> str:
    lines = text.split("\n")
    for edit in sorted(edits, key=lambda e: tuple(e["range"]["start"].values()), reverse=True):
        start, end = edit["range"]["start"], edit["range"]["end"]
        if start["line"] == end["line"]:
            row = lines[start["line"]]
            lines[start["line"]] = row[: start["character"]] + edit["newText"] + row[end["character"] :]
        else:
            assert (start["line"], start["character"]) == (0, 0) and end["line"] >= len(lines) - 1
            return str(edit["newText"])
    return "\n".join(lines)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    found = Client(tmp_path_factory.mktemp("lsp"))
    found.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    found.send("initialized", {})
    yield found
    found.ask("shutdown", None)
    found.send("exit", None)
    assert found.process.wait(20) == 0
    for stream in (found.process.stdin, found.process.stdout):
        assert stream is not None
        stream.close()


@pytest.fixture(scope="module")
def uri(client: Client) -> str:
    uri = client.open("model.spu", PROGRAM)
    assert client.diagnostics(uri) == []
    return uri


def hover(client: Client, uri: str, mark: str, occurrence: int = 0, text: str = PROGRAM) -> str:
    found = client.ask("textDocument/hover", at(uri, text, mark, occurrence))
    return "" if found is None else str(found["contents"]["value"])


def test_hover_tells_type_shape_and_dimension(client: Client, uri: str) -> None:
    assert "var theta: real[3]" in hover(client, uri, "theta", 1)
    assert "random, 3 coordinates" in hover(client, uri, "theta", 1)
    assert "data sigma: real[3]" in hover(client, uri, "sigma", 1)
    assert "data n: int" in hover(client, uri, "n]", 1)
    assert "fn shrink(a, b)" in hover(client, uri, "shrink", 1)
    assert "normal(mu, sigma)" in hover(client, uri, "normal")
    assert "Over all entries" in hover(client, uri, "sum(")


def test_hover_tells_the_energy_of_the_statement(client: Client, uri: str) -> None:
    # ½ θ₀² + ½ (μ − 2) μ
    assert "E += 0.5·mu² + 0.5·theta[0]² − mu" in hover(client, uri, "energy")
    # ½ Σ ((y − θ) / σ)²: Σ ½ y²/σ² is the constant
    constant = 0.5 * ((28 / 15) ** 2 + (8 / 10) ** 2 + (3 / 16) ** 2)
    said = hover(client, uri, "y ~")
    assert f"{constant:.6g}" in said and "0.005·theta[1]²" in said
    assert "E += 0.1·theta[0] + 0.1·theta[1] + 0.1·theta[2]" in hover(client, uri, "energy 0.1")


def test_definition_and_references(client: Client, uri: str) -> None:
    found = client.ask("textDocument/definition", at(uri, PROGRAM, "theta", 3))
    assert found["range"]["start"] == {"line": 4, "character": 4}
    found = client.ask("textDocument/definition", at(uri, PROGRAM, "shrink", 1))
    assert found["range"]["start"] == {"line": 6, "character": 3}
    assert client.ask("textDocument/definition", at(uri, PROGRAM, "normal")) is None
    places = client.ask(
        "textDocument/references", {**at(uri, PROGRAM, "mu"), "context": {"includeDeclaration": True}}
    )
    assert len(places) == PROGRAM.count("mu") == 4


@pytest.mark.parametrize(
    ("mark", "occurrence", "new", "expected"),
    [
        ("theta", 2, "effect", PROGRAM.replace("theta", "effect")),
        ("a, b", 0, "left", PROGRAM.replace("shrink(a, b) = 0.5 * (a", "shrink(left, b) = 0.5 * (left")),
        (
            "i in range(n)", 0, "k",
            PROGRAM.replace("for i in range(n)", "for k in range(n)").replace("0.1 * theta[i]", "0.1 * theta[k]"),
        ),
        (
            "i in range(2)", 0, "k",
            PROGRAM.replace("sum(theta[i] for i in", "sum(theta[k] for k in"),
        ),
        ("shrink", 1, "half", PROGRAM.replace("shrink", "half")),
        ("effect", 0, "theta", PROGRAM.replace("effect", "theta")),
    ],
)  # fmt: skip
def test_rename_changes_every_use_and_no_other(
    client: Client, uri: str, mark: str, occurrence: int, new: str, expected: str
) -> None:
    found = client.ask("textDocument/rename", {**at(uri, PROGRAM, mark, occurrence), "newName": new})
    assert applied(PROGRAM, found["changes"][uri]) == expected


@pytest.mark.parametrize(
    ("mark", "new"), [("theta", "mu"), ("theta", "for"), ("theta", "2x"), ("normal", "n2"), ("shrink", "exp")]
)
def test_rename_refuses_what_would_change_the_meaning(client: Client, uri: str, mark: str, new: str) -> None:
    with pytest.raises(RuntimeError, match=r"name|declared|language"):
        client.ask("textDocument/rename", {**at(uri, PROGRAM, mark), "newName": new})


def labels(client: Client, text: str, where: str) -> set[str]:
    name = f"c{abs(hash((text, where)))}.spu"
    uri = client.open(name, text)
    spot = at(uri, text, where)
    spot["position"]["character"] += len(where)
    return {item["label"] for item in client.ask("textDocument/completion", spot)}


def test_completion_knows_what_may_stand_where(client: Client) -> None:
    head = "data y: real[n] = [1, 2]\nvar theta: real[n]\n"
    after_tilde = labels(client, head + "theta ~ \n", "theta ~ ")
    assert {"normal", "gmrf", "rbm"} <= after_tilde and "theta" not in after_tilde
    queries = labels(client, head + "query m = \n", "query m = ")
    assert {"mean", "logz"} <= queries and "theta" not in queries
    types = labels(client, head + "var z: \n", "var z: ")
    assert types == {"real", "spin", "bit"}
    inside = labels(client, head + "energy sum(th\nlet late = 1\n", "sum(th")
    assert {"theta", "y", "n", "exp", "pi"} <= inside and "late" not in inside
    assert "energy" in labels(client, head + "ene\n", "ene")
    assert labels(client, head + "# a note on th\n", "on th") == set()


def test_diagnostics_while_typing(client: Client) -> None:
    text = "let a = 1; let b = nothing\n"
    uri = client.open("typing.spu", text)
    (found,) = client.diagnostics(uri)
    assert found["code"] == "E0201" and found["severity"] == 1
    assert found["range"]["start"] == at(uri, text, "nothing")["position"]
    client.change(uri, "var x: real ~ normal(0, 1)\nvar y: real\n", 2)
    assert [d["code"] for d in client.diagnostics(uri)] == ["E0407"]
    client.change(uri, "var x: real ~ normal(0, 1\n", 3)
    assert all(d["code"].startswith("E01") for d in client.diagnostics(uri))
    client.change(uri, "var x: real ~ normal(0, 1)\n", 4)
    assert client.diagnostics(uri) == []


def test_columns_are_counted_as_the_protocol_does(client: Client) -> None:
    text = 'let s = "😀😀"; let b = missing\n'
    uri = client.open("units.spu", text)
    (found,) = client.diagnostics(uri)
    assert found["range"]["start"] == at(uri, text, "missing")["position"]
    assert "let s: string" in hover(client, uri, "s =", text=text)


def test_data_beside_the_program_is_used_and_missing_data_is_no_error(client: Client) -> None:
    text = "data n: int\nvar x: real[n] ~ normal(0, 1)\n"
    uri = client.open("lonely.spu", text)
    assert [(d["code"], d["severity"]) for d in client.diagnostics(uri)] == [("E0301", 3)]
    assert "data n: int" in hover(client, uri, "n:", text=text)
    assert "var x: real[n]" in hover(client, uri, "x:", text=text)
    (client.folder / "known.json").write_text('{"n": 7}')
    uri = client.open("known.spu", text)
    assert client.diagnostics(uri) == []
    assert "7 coordinates" in hover(client, uri, "x:", text=text)


def test_imports_are_followed(client: Client) -> None:
    (client.folder / "priors.spu").write_text("var x: real[2] ~ normal(0, 1)\nfn twice(a) = 2 * a\n")
    text = 'import "priors.spu"\nenergy sum(twice(x)**2)\n'
    uri = client.open("importing.spu", text)
    assert client.diagnostics(uri) == []
    assert "var x: real[2]" in hover(client, uri, "x)", text=text)
    found = client.ask("textDocument/definition", at(uri, text, "x)"))
    assert found["uri"].endswith("priors.spu") and found["range"]["start"] == {"line": 0, "character": 4}
    found = client.ask("textDocument/definition", at(uri, text, "twice"))
    assert found["range"]["start"] == {"line": 1, "character": 3}
    (client.folder / "priors.spu").write_text("var x: reel[2]\n")
    client.change(uri, text + "\n", 2)
    assert any(
        "priors.spu:1" in d["message"] and d["range"]["start"]["line"] == 0 for d in client.diagnostics(uri)
    )


def test_formatting(client: Client) -> None:
    text = "var   x:real\nx~normal( 0,1 )"
    uri = client.open("untidy.spu", text)
    options = {"textDocument": {"uri": uri}, "options": {"tabSize": 4, "insertSpaces": True}}
    edits = client.ask("textDocument/formatting", options)
    assert applied(text, edits) == "var x: real\nx ~ normal(0, 1)\n"
    client.change(uri, "var x: real\nx ~ (\n", 2)
    assert client.ask("textDocument/formatting", options) is None


def test_symbols(client: Client, uri: str) -> None:
    found = client.ask("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
    assert [s["name"] for s in found] == ["n", "y", "sigma", "mu", "theta", "shrink", "effect"]


def test_a_program_too_large_to_run_in_time_is_answered_all_the_same(client: Client) -> None:
    text = "var x: real[250000] ~ normal(0, 1)\nfor (i, j) in edges(torus(500, 500)) { energy (x[i] - x[j])**2 }\n"
    uri = client.open("large.spu", text)
    assert "var x: real[250000]" in hover(client, uri, "x:", text=text)
    assert client.diagnostics(uri) == []


def test_without_pygls_the_command_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pygls'] = None; sys.argv = ['spucc', 'lsp']\n"
        "from spucc.cli import main; main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    assert "E0394" in found.stderr and "spucc[lsp]" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_editor_that_is_gone_is_not_told_so_without_end(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "spucc", "lsp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for number, (method, params) in enumerate(
            [
                ("initialize", {"processId": None, "rootUri": None, "capabilities": {}}),
                (
                    "textDocument/didOpen",
                    {
                        "textDocument": {
                            "uri": "file:///gone.spu",
                            "languageId": "spu",
                            "version": 0,
                            "text": PROGRAM,
                        }
                    },
                ),
            ],
            start=1,
        ):
            message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
            body = json.dumps(message | ({"id": number} if method == "initialize" else {})).encode()
            process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        process.stdin.flush()
        process.stdin.close()
        process.stdout.close()
        assert len(process.stderr.read()) < 100_000
        process.wait(60)


def test_an_answer_is_about_the_present_text(client: Client) -> None:
    """Right after an edit that moves a line, nothing of what stood there before is shown."""
    uri = client.open("moving.spu", "var aa: real[2] ~ normal(0, 1)\nvar bb: real[3] ~ normal(0, 1)\n")
    assert client.diagnostics(uri) == []
    text = "var cc: real[4] ~ normal(0, 1)\n" + "var aa: real[2] ~ normal(0, 1)\n"
    client.change(uri, text, 2)
    said = hover(client, uri, "cc", text=text)
    assert "var cc: real[4]" in said and "aa" not in said
    said = hover(client, uri, "aa", text=text)
    assert "var aa: real[2]" in said and "bb" not in said
