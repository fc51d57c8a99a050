"""Random valid programs, for hypothesis: expressions of known shape over a fixed set of declarations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

HEADER = """
let N = 4
let c = [0.5, -1.25, 2.0, 3.5]
let A = [[1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 1.5, 2.0], [3.0, -2.0, 1.0, 0.0], [0.0, 1.0, 4.0, -0.5]]
let M = [[2.0, -0.5, 0.0, 0.25], [-0.5, 3.0, 1.0, 0.0], [0.0, 1.0, 4.0, -1.0], [0.25, 0.0, -1.0, 2.5]]
let J = [[0.0, 1.0, 0.0, -2.0], [1.0, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 1.5], [-2.0, 0.0, 1.5, 0.0]]
let idx = [2, 0, 3, 3]
var x: real[4]
var y: real[4]
var W: real[4, 4]
var s: spin[4]
var b: bit[4]
fn mix(u, v) = 0.5 * u - v
"""

NUMBERS = st.sampled_from(["0.5", "2", "-1.5", "3", "0.25"])


def loop_vectors(depth: int) -> Any:
    """Linear vectors of 4 entries."""
    base = st.sampled_from(
        ["x", "y", "s", "b", "x[idx]", "W[0]", "W[:, 1]", "W[idx, 2]", "x[::-1]", "concat(x[1:], y[:1])", "A @ x",
         "W.T[3]", "x @ A", "sum(W, axis=0)", "mean(W, axis=1)", "cumsum(y)", "diag(W)", "where(c > 0, x, y)",
         "reshape(W[:2, :2], 4)", "W @ c", "[x[0], y[1], 2.0, s[2]]", "x[idx] - x", "W[[0, 1, 2, 3], idx]"]
    )  # fmt: skip
    if depth == 0:
        return base
    inner = loop_vectors(depth - 1)
    return st.one_of(
        base,
        st.builds(lambda a, b_: f"({a} + {b_})", inner, inner),
        st.builds(lambda a, b_: f"({a} - {b_})", inner, inner),
        st.builds(lambda n, a: f"({n} * {a})", NUMBERS, inner),
        st.builds(lambda a: f"(c * {a} + 1)", inner),
        st.builds(lambda a, b_: f"mix({a}, {b_})", inner, inner),
        st.builds(lambda a: f"({a} / 2 - c)", inner),
    )


VECTORS = loop_vectors(2)


@st.composite
def scalars(draw: Any, vectors: Any = VECTORS) -> str:
    """Polynomials of degree at most 4."""
    a, b = draw(vectors), draw(vectors)
    return draw(
        st.sampled_from(
            [
                f"sum({a})", f"sum({a} * {b})", f"sum(({a})**2)", f"sum(({a})**4)", f"dot({a}, {b})", f"({a}) @ M @ ({b})",
                f"sum(({a})**2 * {b})", f"sum({a})**2", f"sum(outer({a}, {b}) * A)", f"sum({a} * {b})**2",
                f"(({a}) * {b})[1]", f"sum(({a})[i] * ({b})[i + 1] for i in range(N - 1))",
                f"sum(sum(({a})[j] * ({b})[i] for j in range(i)) for i in range(N))",
                f"sum(({a})[i]**2 if i > 1 else ({b})[i] for i in range(N))",
                f"sum(({a})[i] for i in range(N) if c[i] > 0 and i < 3)",
                f"sum((({a})[i] - ({b})[j])**2 for (i, j) in edges(path(N)))",
                f"sum(sum(W[i:i + 2, 1]) * ({a})[i] for i in range(3))",
                f"sum(x * s * b * ({a}))", f"sum(({a}) * ({b}) * s * b[::-1])", f"(x[0] * s[1])**2 * sum(b * ({a}))",
                f"sum(s * s[::-1] * b * ({a})) * x[2]",
                f"mean(({a}) @ W)", f"sum((W @ ({a})) * {b})", "sum(W * W[::-1])", f"sum(stack({a}, {b}, axis=1)[:, 0] * c)",
            ]
        )
    )  # fmt: skip


@st.composite
def statements(draw: Any) -> str:
    v, w, e = draw(VECTORS), draw(VECTORS), draw(scalars())
    n = draw(NUMBERS)
    return draw(
        st.sampled_from(
            [
                f"energy {n} * ({e})",
                f"energy {e}",
                f"x ~ normal({v}, 2)",
                f"{v} ~ normal({w}, [1.0, inf, 0.5, 2.0])",
                f"c ~ normal({v}, 0.5)",
                f"{v} ~ rw2(0.5)",
                "x ~ multi_normal_prec(c, M)",
                f"{v} ~ multi_normal_prec({w}, M)",
                "y ~ gmrf(M)",
                "s ~ ising(J, c)",
                "b ~ boltzmann(J, 0.5)",
                "y ~ double_well(c, 0.5)",
                f"for i in range(N) {{ energy ({v})[i] * x[i] }}",
                f"for i in range(1, N) {{ let d = ({v})[i] - ({w})[i - 1]; energy {n} * d**2; x[i] ~ normal(d, i) }}",
                f"for i in range(N) {{ for j in range(i) {{ energy A[i, j] * x[i] * ({v})[j] }} }}",
                f"for i in range(N) {{ if i > 1 {{ energy ({v})[i] }} else {{ energy ({w})[i]**2 * c[i] }} }}",
                f"for i in range(1, N) {{ x[:i] ~ normal(({v})[:i], i) }}",
                f"for (i, j) in edges(path(N)) {{ W[i] - W[j] ~ normal({v}, 1) }}",
                f"for q in c {{ energy q * sum(x * q + {v}) }}",
                f"for row in A {{ energy (row @ ({v}))**2 }}",
                f"for i in range(N) {{ W[i] ~ multi_normal_prec({v}, M) }}",
                f"for i in range(N) {{ {v} ~ normal(i, 2) }}",
                "for i in range(3) { W[i, i:i + 2] ~ normal(x[i], i + 1) }",
                f"if c[0] > 0 {{ energy {e} }} else {{ energy x[100] }}",
            ]
        )
    )  # fmt: skip


PROGRAMS = st.lists(statements(), min_size=1, max_size=4).map(lambda rows: HEADER + "\n".join(rows) + "\n")
