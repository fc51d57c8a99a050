"""Rows of numbers by the thousand say what they would say word by word."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spucc.diagnostics import SpuccError
from spucc.ir.rows import Kind, print_rows, read_rows
from spucc.ir.text import Reader

NEAR_THE_SEAMS = [
    s * 10.0**k * f
    for k in (-324, -12, -11, -10, -5, -4, 15, 16, 17, 300)
    for s in (1, -1)
    for f in (0.99, 1, 9)
]


def bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def read(body: str, *kinds: Kind) -> list[np.ndarray]:
    src = Reader(f"table {{\n{body}\n}}\n", "f", {}, len(body))
    src.open("table")
    return read_rows(src, [f"c{k}" for k in range(len(kinds))], kinds)


@given(st.lists(st.floats(width=64), min_size=1))
@example(NEAR_THE_SEAMS)
@example([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324, 1.7976931348623157e308])
def test_floats_print_as_repr_and_read_back(values: list[float]) -> None:
    array = np.array(values)
    text = print_rows([(array, Kind.FLOAT)])
    assert text.split("\n") == list(map(repr, values))
    assert bits(read(text, Kind.FLOAT)[0].tolist()) == bits([float(repr(v)) for v in values])


@given(st.integers(0, 2**64 - 1))
def test_all_bits_print_as_repr(pattern: int) -> None:
    (value,) = struct.unpack("<d", struct.pack("<Q", pattern))
    assert print_rows([(np.array([value]), Kind.FLOAT)]) == repr(value)


@given(st.integers(1, 2**53 - 1), st.integers(-1074, 971), st.sampled_from([-1, 0, 1]))
def test_decimals_half_way_between_two_floats_are_rounded_as_float_does(
    mantissa: int, exponent: int, beside: int
) -> None:
    """An exact decimal of (m + ½)·2^e, and its neighbours in the last digit: the hardest that there are."""
    scaled = (2 * mantissa + 1) * (10**1100) * 2 ** (exponent + 1100) // 2**1101 + beside
    word = f"{scaled}e-1100"
    assert bits(read(word, Kind.FLOAT)[0].tolist()) == bits([float(word)])


@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(), st.integers(0, 4)), min_size=1, max_size=1200
    )
)
def test_mixed_columns(rows: list[tuple[int, float, int]]) -> None:
    whole, real, role = (np.array(c) for c in zip(*rows))
    text = print_rows([(whole, Kind.INT), (real, Kind.FLOAT), (role, Kind.ROLE)])
    again = read(text, Kind.INT, Kind.FLOAT, Kind.ROLE)
    assert [a.dtype for a in again] == [np.int64, np.float64, np.int64]
    assert np.array_equal(again[0], whole) and np.array_equal(again[2], role)
    assert np.array_equal(again[1], real, equal_nan=True)
    both = print_rows([(whole, Kind.INT), (real, Kind.FLOAT)])
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(read(both, Kind.INT, Kind.FLOAT), again))


@pytest.mark.parametrize("word", ["-0", "+1", "1.", ".5", "01", "1e400", "-1e-400", "Infinity", "  7  "])
def test_words_that_json_does_not_know_are_read_as_python_reads_them(word: str) -> None:
    assert bits(read(f"{word}\n1.5", Kind.FLOAT)[0].tolist()) == bits([float(word), 1.5])


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("1 2\n3 4 5 6\n", "E0609", 2),
        ("1 2 3\n4 5\n6", "E0609", 3),
        ("1 2 3\n1.0 2 3", "E0618", 3),
        ("1 2 3\n9223372036854775808 2 3", "E0618", 3),
        ("1 2 3\n1 true 3", "E0618", 3),
        ("1 2 3\n1 2 [3]", "E0618", 3),
        ('1 2 3\n1 2 "3"', "E0618", 3),
        ("1 2 3\n1 2 3,", "E0618", 3),
        ("1 2 3\n1 2 1_0", "E0618", 3),
        ("1 2 3\n1,2,3", "E0609", 3),
        ("1 2 3],[4 5 6", "E0609", 2),
    ],
)
def test_faults_keep_their_line(body: str, code: str, line: int) -> None:
    with pytest.raises(SpuccError) as caught:
        read(body, Kind.INT, Kind.INT, Kind.FLOAT)
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line if found.span else 0) == (code, line)


def test_a_brace_in_a_comment_closes_nothing() -> None:
    (values,) = read("1.5 # } not here\n# }\n2.5", Kind.FLOAT)
    assert values.tolist() == [1.5, 2.5]
