"""Broken files: random edits of texts and containers, with and without digests that fit."""

from __future__ import annotations

import io
import re
import warnings
import zipfile

import numpy as np

_DIGEST = re.compile(r"^sha256 .*\n", re.MULTILINE)

_WORDS = [
    "-1", "0", "1", "99999999999", "999999999", "1e308", "-1e400", "nan", "inf", "-0.0", "1.5", "{", "}", "=", "#", "|",
    '"', "\\", "zeros", "zeros 99999999", "identity 99999999", "identity 3", "select 3 3 0..2", "zero 1 99999999999",
    "0..999999999", "5..2", "in nowhere", "in", "dense", "dense 3x3", "symmetric 3", "general 3 3", "diagonal 4", "source",
    "model", "target", "affine", "majority", "host-loop", "end", "sha256", "scalar", "99999x99999x99999", "2x", "code",
    ":code", ":value", "plain", "border", "capacitive", "pbit", "spin", "bit", "true", "-", "\x00", "é", "🙂", "١", "1_0",
    '"\\ud800"', "x" * 300, "9" * 5000, "[" * 2000, "inf" * 40, "..", "-1..3", "job {", "query {", "step {", "  ",
]  # fmt: skip


def mutated_text(text: str, rng: np.random.Generator) -> str:
    """A text with one to five edits: words replaced, lines dropped, doubled, swapped, cut, characters changed."""
    if rng.random() < 0.8:
        text = _DIGEST.sub("", text)
    for _ in range(1 if rng.random() < 0.6 else int(rng.integers(2, 6))):
        lines = text.split("\n")
        at, kind = int(rng.integers(len(lines))), int(rng.integers(9))
        words = lines[at].split(" ")
        if kind <= 2:
            words[int(rng.integers(len(words)))] = _WORDS[int(rng.integers(len(_WORDS)))]
            lines[at] = " ".join(words)
        elif kind == 3:
            del lines[at]
        elif kind == 4:
            lines.insert(at, lines[int(rng.integers(len(lines)))])
        elif kind == 5:
            other = int(rng.integers(len(lines)))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 6:
            lines = lines[: at + 1] if rng.random() < 0.2 else lines
        elif kind == 7 and lines[at]:
            k = int(rng.integers(len(lines[at])))
            lines[at] = lines[at][:k] + chr(int(rng.integers(32, 127))) + lines[at][k + 1 :]
        else:
            numbers = list(re.finditer(r"\d+", lines[at]))
            if numbers:
                m = numbers[int(rng.integers(len(numbers)))]
                lines[at] = lines[at][: m.start()] + str(int(rng.integers(-3, 12))) + lines[at][m.end() :]
        text = "\n".join(lines)
    return text


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with flips, cuts, insertions."""
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not raw:
            break
        at, kind = int(rng.integers(len(raw))), int(rng.integers(4))
        if kind <= 1:
            raw[at] = int(rng.integers(256))
        elif kind == 2:
            del raw[at : at + int(rng.integers(1, 40))]
        else:
            raw[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(raw)


def repacked(data: bytes, rng: np.random.Generator) -> bytes:
    """A sound container with one member broken, dropped, doubled or renamed; digests are dropped so that it is looked at."""
    members = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            members.append([info.filename, archive.read(info)])
    members[0][1] = _DIGEST.sub("", members[0][1].decode()).encode()
    at, kind = int(rng.integers(len(members))), int(rng.integers(6))
    if kind <= 1 and at:
        members[at][1] = mutated_bytes(members[at][1], rng)
    elif kind == 2:
        del members[at]
    elif kind == 3 and at:
        members[at][1] = members[int(rng.integers(1, len(members)))][1]
    elif kind == 4:
        members[at][0] = ["../x.npy", "/etc/x", "arrays/../x.npy", "arrays/", "stage.txt", "arrays/A b.npy"][
            int(rng.integers(6))
        ]
    else:
        members[0][1] = mutated_text(members[0][1].decode(), rng).encode("utf-8", "replace")
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of names that stand there twice, which is what is tried
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()
