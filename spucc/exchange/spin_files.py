"""Ising and QUBO problems as text: Gset and Biq Mac graphs, `.qubo` files, dimod's COO and JSON.

graph   `n m`, then m lines `i j w` (from 1): maximise cut(s) = Σ w_ij (1 − s_i s_j)/2, read as E = Σ w_ij
s_i s_j, so that
        cut = (Σ w − E)/2
qubo    `p qubo 0 maxNodes nNodes nCouplers`, then `i i v` and `i j v` (from 0): minimise Σ v_ij b_i b_j
coo     `# vartype=SPIN` (or BINARY), `# offset=…` (ours: dimod drops it), then `i j v` (from 0), linear
terms as `i i v`
json    what `BinaryQuadraticModel.to_serializable` gives (schema 3): lists of biases, heads and tails
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Never

import msgspec
import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.diagnostics import Span, fail
from spucc.energy import Domain, Energy, Quadratic, Variable, layout

# A file whose header promises more is refused before any memory is taken.
_LARGEST = 50_000_000


def read_graph(path: str | Path) -> Energy:
    """A Gset or Biq Mac (rudy) graph as max-cut over spins `s[n]`. Raises E0620 and E0621."""
    rows, name = _lines(path)
    if not rows:
        _bad(name, 1, "the file is empty", "the first line gives the numbers of nodes and edges: `n m`")
    header = rows[0][1].split()
    if len(header) != 2 or not all(re.fullmatch(r"\d+", w) for w in header):
        _bad(name, rows[0][0], "the first line is not `n m`", "give the numbers of nodes and of edges")
    n, m = int(header[0]), int(header[1])
    _check_size(n, m, name)
    pairs, values = _triples(rows[1:], name, base=1, n=n)
    if len(values) != m:
        _bad(name, rows[-1][0], f"the file promises {m} edges and has {len(values)}", "is the file cut off?")
    loops = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
    if loops.size:
        _bad(name, rows[1 + int(loops[0])][0], "an edge joins a node with itself", "a cut has no such edges")
    return _energy("s", n, Domain.SPIN, np.zeros(n), pairs, values, 0.0)


def write_graph(energy: Energy) -> str:
    """The inverse of `read_graph`. Raises E0622 for bits, fields, or terms above degree 2."""
    n, linear, pairs, values, _ = _parts(energy, Domain.SPIN)
    if linear.any():
        fail(
            "E0622",
            f"a max-cut graph has no fields, but `{energy.label(int(np.flatnonzero(linear)[0]))}` has one",
        )
    rows = [f"{n} {len(values)}"]
    rows += [f"{i + 1} {j + 1} {_number(v)}" for (i, j), v in zip(pairs.tolist(), values.tolist())]
    return "\n".join(rows) + "\n"


def read_qubo(path: str | Path) -> Energy:
    """A `.qubo` file as an energy over bits `b[n]`. Raises E0620 and E0621."""
    rows, name = _lines(path, comments="c")
    header = rows[0][1].split() if rows else []
    if (
        len(header) != 6
        or header[:2] != ["p", "qubo"]
        or not all(re.fullmatch(r"\d+", w) for w in header[3:])
    ):
        _bad(
            name,
            rows[0][0] if rows else 1,
            "the file does not begin with `p qubo 0 maxNodes nNodes nCouplers`",
            "lines before it begin with `c`",
        )
    n, nodes, couplers = (int(w) for w in header[3:])
    _check_size(n, nodes + couplers, name)
    pairs, values = _triples(rows[1:], name, base=0, n=n)
    own = pairs[:, 0] == pairs[:, 1]
    if (int(own.sum()), int((~own).sum())) != (nodes, couplers):
        _bad(
            name,
            rows[-1][0],
            f"the file promises {nodes} nodes and {couplers} couplers and has {own.sum()} and {(~own).sum()}",
            "is the file cut off?",
        )
    linear = np.bincount(pairs[own, 0], values[own], n).astype(np.float64)
    return _energy("b", n, Domain.BIT, linear, pairs[~own], values[~own], 0.0)


def write_qubo(energy: Energy) -> str:
    """The inverse of `read_qubo`; the constant is a comment. Raises E0622 for spins and terms above degree
    2."""
    n, linear, pairs, values, constant = _parts(energy, Domain.BIT)
    own = np.flatnonzero(linear)
    rows = [f"c constant {constant!r}"] if constant else []
    rows.append(f"p qubo 0 {n} {own.size} {len(values)}")
    rows += [f"{i} {i} {_number(linear[i])}" for i in own.tolist()]
    rows += [f"{i} {j} {_number(v)}" for (i, j), v in zip(pairs.tolist(), values.tolist())]
    return "\n".join(rows) + "\n"


def read_coo(path: str | Path, vartype: str | None = None) -> Energy:
    """dimod's COO text over spins or bits `x[n]`, n one more than the largest index. `vartype` (SPIN or
    BINARY) is needed where the file does not say. Raises E0620 and E0621."""
    text, name = _text(path)
    kind = re.search(r"^#\s*vartype\s*=\s*(\w+)", text, re.M)
    offset = re.search(r"^#\s*offset\s*=\s*(\S+)", text, re.M)
    said = vartype or (kind[1] if kind else "")
    if said not in ("SPIN", "BINARY"):
        _bad(
            name,
            1,
            "the file does not say whether its variables are SPIN or BINARY",
            "begin it with `# vartype=SPIN`",
        )
    constant = _float(offset[1], name, text[: offset.start()].count("\n") + 1) if offset else 0.0
    rows, _ = _lines(path, comments="#")
    pairs, values = _triples(rows, name, base=0, n=None)
    n = int(pairs.max()) + 1 if pairs.size else 0
    own = pairs[:, 0] == pairs[:, 1]
    linear = np.bincount(pairs[own, 0], values[own], n).astype(np.float64)
    domain = Domain.SPIN if said == "SPIN" else Domain.BIT
    return _energy("x", n, domain, linear, pairs[~own], values[~own], constant)


def write_coo(energy: Energy) -> str:
    """The inverse of `read_coo`, offset included. Raises E0622 for a mix of spins and bits, and terms above
    degree 2."""
    domain = Domain.BIT if energy.domains[2].size else Domain.SPIN
    n, linear, pairs, values, constant = _parts(energy, domain)
    rows = [f"# vartype={'SPIN' if domain is Domain.SPIN else 'BINARY'}", f"# offset={constant!r}"]
    # the last variable is named even where nothing touches it, so that n reads back
    own = sorted({*np.flatnonzero(linear).tolist(), *([n - 1] if n else [])})
    rows += [f"{i} {i} {_number(linear[i])}" for i in own]
    rows += [f"{i} {j} {_number(v)}" for (i, j), v in zip(pairs.tolist(), values.tolist())]
    return "\n".join(rows) + "\n"


class _Bqm(msgspec.Struct):
    """dimod's JSON, the parts that make the model."""

    type: Literal["BinaryQuadraticModel"]
    use_bytes: bool
    variable_type: Literal["SPIN", "BINARY"]
    offset: float
    variable_labels: list[Any]
    linear_biases: list[float]
    quadratic_biases: list[float]
    quadratic_head: list[int]
    quadratic_tail: list[int]


def read_bqm(path: str | Path) -> Energy:
    """dimod's JSON as an energy over spins or bits, its variables in the file's order: by their labels where these are
    names (`named`), else `x[n]`. Raises E0620 and E0621."""
    text, name = _text(path)
    try:
        raw = msgspec.json.decode(text)
        if isinstance(raw, dict) and raw.get("use_bytes") is True:
            way = "write it with `json.dumps(bqm.to_serializable())`"
            _bad(name, 1, "the biases are kept as bytes, which is no JSON", way)
        found = msgspec.convert(raw, _Bqm)
    except (msgspec.DecodeError, RecursionError) as error:
        _bad(
            name,
            1,
            f"not a binary quadratic model: {error}",
            "write it with `json.dumps(bqm.to_serializable())`",
        )
    n, m = len(found.linear_biases), len(found.quadratic_biases)
    _check_size(n, m, name)
    for what, size, wanted in (
        ("labels", len(found.variable_labels), n),
        ("heads", len(found.quadratic_head), m),
        ("tails", len(found.quadratic_tail), m),
    ):
        if size != wanted:
            _bad(name, 1, f"there are {size} {what}, where the biases need {wanted}", "is the file cut off?")
    pairs = np.array([found.quadratic_head, found.quadratic_tail], dtype=np.float64).T.reshape(m, 2)
    if m and (pairs.min() < 0 or pairs.max() >= n or (pairs[:, 0] == pairs[:, 1]).any()):
        wrong = np.flatnonzero(((pairs < 0) | (pairs >= n)).any(axis=1) | (pairs[:, 0] == pairs[:, 1]))[0]
        i, j = found.quadratic_head[wrong], found.quadratic_tail[wrong]
        _bad(name, 1, f"coupling {wrong} joins {i} and {j}", f"variables are 0 … {n - 1}, and a pair has two")
    linear, values = np.array(found.linear_biases), np.array(found.quadratic_biases)
    domain = Domain.SPIN if found.variable_type == "SPIN" else Domain.BIT
    energy = _energy("x", n, domain, linear, pairs.astype(np.int64), values, found.offset)
    if not (np.isfinite(energy.linear).all() and np.isfinite(values).all() and np.isfinite(found.offset)):
        _bad(name, 1, "a bias is not finite", "give finite numbers")
    return replace(energy, variables=named(found.variable_labels, domain))


def write_bqm(energy: Energy) -> str:
    """The inverse of `read_bqm`, for `dimod.BinaryQuadraticModel.from_serializable`. Raises E0622 as `write_coo`."""
    domain = Domain.BIT if energy.domains[2].size else Domain.SPIN
    n, linear, pairs, values, constant = _parts(energy, domain)
    content = {
        "type": "BinaryQuadraticModel",
        "version": {"bqm_schema": "3.0.0"},
        "use_bytes": False,
        "index_type": "int32",
        "bias_type": "float64",
        "num_variables": n,
        "num_interactions": len(values),
        "variable_labels": list(energy.labels()),
        "variable_type": "SPIN" if domain is Domain.SPIN else "BINARY",
        "offset": constant,
        "info": {},
        "linear_biases": linear.tolist(),
        "quadratic_biases": values.tolist(),
        "quadratic_head": pairs[:, 0].tolist(),
        "quadratic_tail": pairs[:, 1].tolist(),
    }
    return msgspec.json.encode(content).decode() + "\n"


# More variables than these are one array, since nobody reads so many names.
_NAMED = 10_000


def named(labels: Sequence[Any], domain: Domain) -> tuple[Variable, ...]:
    """Variables for labels of another tool: one of each name where all are distinct names, else the array `x[n]`."""
    words = [w for w in labels if isinstance(w, str) and w.isidentifier()]
    if not 0 < len(labels) <= _NAMED or len(set(words)) != len(labels):
        return layout([("x", (len(labels),), domain, None)])
    return layout([(w, (), domain, None) for w in words])


# --- what the formats share
# ----------------------------------------------------------------------------------------------


def _text(path: str | Path) -> tuple[str, str]:
    file = Path(path)
    try:
        raw = file.read_bytes()
        if file.suffix == ".gz":
            import gzip

            raw = gzip.decompress(raw)
        return raw.decode("utf-8"), str(path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        fail(
            "E0620",
            f"cannot read `{path}`: {reason}",
            help="give the path of a text file, or of one ending in .gz",
        )


def _lines(path: str | Path, comments: str = "#") -> tuple[list[tuple[int, str]], str]:
    """(line number, text) of every line that is neither empty nor a comment."""
    text, name = _text(path)
    rows = [(k, line.strip()) for k, line in enumerate(text.splitlines(), 1)]
    return [(k, line) for k, line in rows if line and not line.startswith(comments)], name


def _triples(rows: list[tuple[int, str]], name: str, base: int, n: int | None) -> tuple[IntArray, FloatArray]:
    """Pairs [m, 2] counted from 0, and values [m], of lines `i j v`."""
    pairs, values = np.zeros((len(rows), 2), dtype=np.int64), np.zeros(len(rows))
    for k, (line, text) in enumerate(rows):
        words = text.split()
        if len(words) != 3 or not all(re.fullmatch(r"\d+", w) for w in words[:2]):
            _bad(name, line, f"`{text[:40]}` is not `i j value`", "give two whole numbers and a value")
        ends = int(words[0]) - base, int(words[1]) - base
        if min(ends) < 0 or max(ends) >= (n if n is not None else _LARGEST):
            allowed = f"{base} … {n - 1 + base}" if n is not None else f"{base} … {_LARGEST}"
            _bad(name, line, f"`{text[:40]}` names a variable out of range", f"they are {allowed}")
        pairs[k] = ends
        values[k] = _float(words[2], name, line)
    return pairs, values


def _float(word: str, name: str, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        _bad(name, line, f"`{word[:40]}` is not a number", "give a finite number")
    if not np.isfinite(value):
        _bad(name, line, f"`{word[:40]}` is not finite", "give a finite number")
    return value


def _check_size(n: int, m: int, name: str) -> None:
    if max(n, m) > _LARGEST:
        _bad(name, 1, f"the file promises {n} variables and {m} terms", f"at most {_LARGEST} are read")


def _bad(name: str, line: int, title: str, way: str) -> Never:
    fail("E0621", title, Span(name, line, 1, line, 2), help=way)


def _energy(
    name: str,
    n: int,
    domain: Domain,
    linear: FloatArray,
    pairs: IntArray,
    values: FloatArray,
    constant: float,
) -> Energy:
    i, j = pairs.T
    q = sparse.coo_array(
        (np.tile(values, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n), dtype=np.float64
    )
    return Energy(
        layout([(name, (n,), domain, None)]), frozen(linear), Quadratic(sparse.csr_array(q)), constant
    )


def _parts(energy: Energy, domain: Domain) -> tuple[int, FloatArray, IntArray, FloatArray, float]:
    """(n, linear, pairs i < j, values, constant) of an energy whose variables are all of `domain`; squares
    are folded in."""
    wrong = [k for d, k in zip(Domain, energy.domains) if d is not domain and k.size]
    if wrong:
        name = energy.label(int(min(k[0] for k in wrong)))
        fail(
            "E0622",
            f"`{name}` is no {domain}, and the format has only these",
            help="`encode` turns bits into spins",
        )
    if energy.higher:
        fail("E0622", "the format has terms of two variables at most", help="run the pass `encode` first")
    q = energy.quadratic.tocsr()
    upper = sparse.coo_array(sparse.triu(q, k=1))
    order = np.lexsort((upper.col, upper.row))
    pairs = np.stack([upper.row[order], upper.col[order]], axis=1).astype(np.int64)
    linear, constant = np.asarray(energy.linear).copy(), energy.constant
    half = 0.5 * q.diagonal()
    if domain is Domain.BIT:
        linear += half
    else:
        constant += float(half.sum())
    return energy.n, linear, pairs, np.asarray(upper.data[order]), float(constant)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
