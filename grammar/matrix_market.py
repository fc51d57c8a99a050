"""MatrixMarket files, dense and sparse."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.readers import decoded, numbers
from spucc.grammar.values import LARGEST_DATUM, Const, SparseConst, Value

# What reading takes for each mark: see `decoded`.
COSTS = {b"\n": 100, b" ": 100}


def mtx(raw: bytes, name: str) -> Value:
    """A MatrixMarket file: coordinate or array; real, integer or pattern; general, symmetric or
    skew-symmetric."""
    text = decoded(raw, name, COSTS)
    head, _, rest = text.partition("\n")
    words = head.lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        fail("E0310", f"`{name}` does not begin with `%%MatrixMarket matrix …`")
    layout, field, symmetry = words[2:]
    if layout not in ("coordinate", "array") or field not in ("real", "integer", "pattern", "double"):
        fail("E0310", f"`{name}`: a MatrixMarket file `{layout} {field}` is not read")
    if symmetry not in ("general", "symmetric", "skew-symmetric"):
        fail("E0310", f"`{name}`: the symmetry `{symmetry}` is not read")
    body = [w for line in rest.splitlines() if not line.lstrip().startswith("%") for w in line.split()]
    sizes = numbers(body[: 3 if layout == "coordinate" else 2], name)
    if sizes.size < 2 or not (
        np.isfinite(sizes).all() and (sizes >= 0).all() and (sizes == np.floor(sizes)).all()
    ):
        fail("E0310", f"`{name}` does not say its size")
    n, m = int(sizes[0]), int(sizes[1])
    if symmetry != "general" and n != m:
        fail("E0310", f"`{name}` is said to be {symmetry}, but is {n} × {m}")
    if layout == "array":
        return _mtx_array(body[2:], n, m, symmetry, name)
    return _mtx_coordinate(body[3:], n, m, int(sizes[2]) if sizes.size > 2 else -1, field, symmetry, name)


def _mtx_array(words: list[str], n: int, m: int, symmetry: str, name: str) -> Value:
    if n * m > LARGEST_DATUM:
        fail("E0311", f"`{name}` holds {n * m:,} numbers")
    strict = symmetry == "skew-symmetric"
    wanted = n * m if symmetry == "general" else n * (n + 1) // 2 - (n if strict else 0)
    if len(words) != wanted:
        fail("E0310", f"`{name}` promises {wanted} numbers and has {len(words)}")
    values = numbers(words, name)
    if symmetry == "general":
        return Const(np.ascontiguousarray(values.reshape(m, n).T))
    j, i = np.triu_indices(n, 1 if strict else 0)
    full = np.zeros((n, n))
    full[j, i] = -values if strict else values
    full[i, j] = values
    return Const(full)


def _mtx_coordinate(
    words: list[str], n: int, m: int, count: int, field: str, symmetry: str, name: str
) -> Value:
    from scipy import sparse

    if max(n, m) >= 2**31:
        fail("E0311", f"`{name}` is {n} × {m}")
    width = 2 if field == "pattern" else 3
    if len(words) != count * width:
        fail("E0310", f"`{name}` promises {count} entries and has {len(words) / width:g}")
    entries = numbers(words, name).reshape(count, width)
    ends = entries[:, :2] - 1
    inside: Any = (ends >= 0) & (ends < np.array([n, m])) & (ends == np.floor(np.nan_to_num(ends)))
    bad = np.flatnonzero(~np.asarray(inside).reshape(count, 2).all(axis=1))
    if bad.size:
        k = int(bad[0])
        fail(
            "E0310",
            f"entry {k + 1} of `{name}` is at ({entries[k, 0]:g}, {entries[k, 1]:g}), outside {n} × {m}",
        )
    values = np.ones(count) if field == "pattern" else entries[:, 2]
    if not np.isfinite(values).all():
        fail("E0305", f"entry {int(np.flatnonzero(~np.isfinite(values))[0]) + 1} of `{name}` is not finite")
    i, j = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
    if symmetry != "general":
        off = i != j
        sign = -1.0 if symmetry == "skew-symmetric" else 1.0
        i, j, values = (np.concatenate(p) for p in ((i, j[off]), (j, i[off]), (values, sign * values[off])))
    matrix = sparse.csr_array(sparse.coo_array((values, (i, j)), shape=(n, m)))
    return SparseConst(matrix, None, frozenset(["symmetric"]) if symmetry == "symmetric" else frozenset())
