"""Programs to energies: distributions against SciPy, loops against lines, observations, queries, propriety."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import linalg

from spucc.diagnostics import SpuccError
from spucc.energy import Energy, QueryKind
from spucc.grammar import elaborate, load

SIGMA = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 1.5]])
GROUND = "\nenergy 0.5 * sum(x**2)\n"


def text(a: Any) -> str:
    return str(np.asarray(a).tolist())


def codes(program: str, **options: Any) -> set[str]:
    with pytest.raises(SpuccError) as caught:
        load(program, **options)
    return {d.code for d in caught.value.diagnostics}


def differences(energy: Energy, log_density: Any) -> None:
    """E and −log density differ by a constant only."""
    x = np.random.default_rng(1).normal(size=(6, energy.n))
    found = energy.at(x)
    expected = np.array([-log_density(row) for row in x])
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("statement", "log_density"),
    [
        ("normal([1, 2, 3], [0.5, 1, 2])", lambda x: stats.norm([1, 2, 3], [0.5, 1, 2]).logpdf(x).sum()),
        (f"multi_normal(1, {text(SIGMA)})", stats.multivariate_normal(np.ones(3), SIGMA).logpdf),
        (
            f"multi_normal_prec([1, 0, 2], {text(SIGMA)})",
            stats.multivariate_normal([1, 0, 2], np.linalg.inv(SIGMA)).logpdf,
        ),
        (
            f"multi_normal_cholesky(0, {text(np.linalg.cholesky(SIGMA))})",
            stats.multivariate_normal(np.zeros(3), SIGMA).logpdf,
        ),
        (f"gmrf({text(SIGMA)})", stats.multivariate_normal(np.zeros(3), np.linalg.inv(SIGMA)).logpdf),
        (
            "ar1(0.6, 2)",
            stats.multivariate_normal(
                np.zeros(3), 4 / (1 - 0.36) * 0.6 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
            ).logpdf,
        ),
        (
            "car(path(3), 0.9, 2)",
            stats.multivariate_normal(
                np.zeros(3), np.linalg.inv(np.array([[1, -0.9, 0], [-0.9, 2, -0.9], [0, -0.9, 1]]) / 4)
            ).logpdf,
        ),
        (
            "gp([0, 1, 3], matern32, 2, 1.5, 0.1)",
            stats.multivariate_normal(
                np.zeros(3),
                0.1 * np.eye(3)
                + 4
                * (
                    lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
                )(np.abs(np.subtract.outer([0, 1, 3], [0, 1, 3])) / 1.5),
            ).logpdf,
        ),
        ("double_well(-1, [1, 2, 3])", lambda x: -np.sum(-(x**2) + np.array([1, 2, 3]) * x**4)),
    ],
)  # fmt: skip
def test_distribution(statement: str, log_density: Any) -> None:
    differences(elaborate(f"var x: real[3] ~ {statement}"), log_density)


@pytest.mark.parametrize(
    ("statement", "log_density"),
    [
        ("icar(ring(4), 2)", lambda x: -sum((x[i] - x[(i + 1) % 4]) ** 2 for i in range(4)) / 8),
        ("rw1(0.5)", lambda x: -2 * np.sum(np.diff(x) ** 2)),
        ("rw2(0.5)", lambda x: -2 * np.sum(np.diff(x, 2) ** 2)),
        ("normal(0, inf)", lambda x: 0.0),
    ],
)  # fmt: skip
def test_improper_distribution(statement: str, log_density: Any) -> None:
    energy = elaborate(f"var x: real[4] ~ {statement}" + GROUND)
    differences(energy, lambda x: log_density(x) - 0.5 * x @ x)


def test_spins_and_bits() -> None:
    energy = elaborate("var s: spin[3] ~ ising([[0, 1, 0], [1, 0, -2], [0, -2, 0]], [1, 0, 0.5])")
    j = np.array([[0, 1, 0], [1, 0, -2], [0, -2, 0]])
    for s in np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T:
        assert energy.at(s) == pytest.approx(-0.5 * s @ j @ s - s @ [1, 0, 0.5])
    energy = elaborate("var v: bit[2]\nvar h: bit[2]\n(v, h) ~ rbm([[1, 2], [3, 4]], [0.5, 0], 1)")
    for z in np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T:
        v, h = z[:2], z[2:]
        assert energy.at(z) == pytest.approx(-v @ [[1, 2], [3, 4]] @ h - 0.5 * v[0] - h.sum())
    energy = elaborate("var b: bit[2] ~ bernoulli_logit([1, -2])\nenergy b[0]**3 + b[0] * b[0] * b[1]")
    assert energy.at(np.array([1.0, 1.0])) == pytest.approx(1.0 + 1 + 1)


@pytest.mark.parametrize(
    ("loop", "line"),
    [
        (
            "for (i, j) in edges(grid(5, 4)) { energy 0.5 * (x[i] - x[j])**2 }",
            "let E = edges(grid(5, 4))\nenergy 0.5 * sum((x[E[:, 0]] - x[E[:, 1]])**2)",
        ),
        ("for i in range(1, 20) { x[i] ~ normal(0.5 * x[i - 1], 0.1) }", "x[1:] ~ normal(0.5 * x[:-1], 0.1)"),
        ("for i in range(20) { energy 0.5 * c[i] * x[i] }", "energy 0.5 * sum(c * x)"),
        ("for i in range(10) { observe x[i] = c[i] }", "observe x[:10] = c[:10]"),
    ],
)
def test_loop_is_line(loop: str, line: str) -> None:
    head = "let c = linspace(-1, 2, 20)\nvar x: real[20] ~ normal(0, 1)\n"
    a, b = elaborate(head + loop), elaborate(head + line)
    assert np.array_equal(a.linear, b.linear)
    assert np.array_equal(a.quadratic.toarray(), b.quadratic.toarray())
    assert np.array_equal(a.observed.index, b.observed.index)
    assert np.array_equal(a.observed.value, b.observed.value)


def test_singular_law_is_carried() -> None:
    energy = elaborate(
        "var f: real[4] ~ gp([0, 1, 1, 2], rbf, 1, 1)\n[1, 2] ~ normal(f[1:3], 0.5)\nquery m = mean(f)\n"
    )
    q = energy.quadratic.toarray()
    form = energy.queries[0].form
    assert form is not None and energy.variables[0].name == "f.z" and energy.n == 3
    k = np.exp(-0.5 * np.subtract.outer([0, 1, 1, 2], [0, 1, 1, 2]) ** 2)
    cov = k - k[:, 1:3] @ np.linalg.solve(k[1:3, 1:3] + 0.25 * np.eye(2), k[1:3])
    mean = k[:, 1:3] @ np.linalg.solve(k[1:3, 1:3] + 0.25 * np.eye(2), [1, 2])
    m = form.matrix.toarray()
    np.testing.assert_allclose(m @ np.linalg.inv(q) @ m.T, cov, atol=1e-10)
    np.testing.assert_allclose(form.at(np.linalg.solve(q, -energy.linear)), mean, atol=1e-10)


def test_exact_linear_observation() -> None:
    energy = elaborate(
        "var x: real[3] ~ normal(0, [1, 2, 3])\nobserve x[0] + x[1] + x[2] = 6\nquery m = mean(x)"
    )
    form = energy.queries[0].form
    assert form is not None
    s = np.array([1.0, 4.0, 9.0])
    mean = form.at(np.linalg.solve(energy.quadratic.toarray(), -energy.linear))
    np.testing.assert_allclose(mean, s / s.sum() * 6, atol=1e-12)


def test_grounding_leaves_contrasts_alone() -> None:
    energy = elaborate("var x: real[5] ~ icar(ring(5), 1)\nquery d = cov(x[1:] - x[:-1])")
    form = energy.queries[0].form
    assert form is not None
    m = form.matrix.toarray()
    laplacian = 2 * np.eye(5) - np.roll(np.eye(5), 1, 0) - np.roll(np.eye(5), -1, 0)
    cov = m @ np.linalg.inv(energy.quadratic.toarray()) @ m.T
    np.testing.assert_allclose(cov, m @ np.linalg.pinv(laplacian) @ m.T, atol=1e-12)


def test_queries() -> None:
    energy = elaborate(
        "temperature 2\nvar x: real[2] ~ normal(0, 1)\nquery e = expectation(x[0] * x[1] + 3 * x + 1)\n"
        "query q = quantile(x, [0.1, 0.9])\nquery u = solve([[2, 1], [1, 3]], [1, 2])\nquery l = logdet(eye(2))\n"
        "query b = argmin()\nquery z = logz()\nquery t = trajectory(x, 5, start=1)\n"
    )
    kinds = [q.kind for q in energy.queries]
    assert kinds[:4] == [QueryKind.EXPECTATION, QueryKind.QUANTILE, QueryKind.SOLVE, QueryKind.LOGDET]
    e = energy.queries[0]
    x = np.array([2.0, 5.0, 0.0, 0.0])
    assert e.form is not None
    value = e.form.at(x) + sum(p.gather @ (p.left.at(x) * p.right.at(x)) for p in e.products)
    np.testing.assert_allclose(value, [10 + 6 + 1, 10 + 15 + 1])
    assert energy.variables[1].stands_for == "u"
    np.testing.assert_allclose(energy.quadratic.toarray()[2:, 2:], [[4, 2], [2, 6]])
    np.testing.assert_allclose(energy.linear[2:], [-2, -4])


def test_several_errors_at_once_and_no_follow_ups() -> None:
    program = (
        "let a = nope\nlet b = a + 1\nvar x: real ~ normal(b, 1)\nenergy exp(x) + 1 / x\nx ~ norml(0, 1)\n"
    )
    with pytest.raises(SpuccError) as caught:
        load(program)
    assert [d.code for d in caught.value.diagnostics] == ["E0201", "E0401", "E0402", "E0224"]


def test_refused_before_memory_is_taken() -> None:
    assert codes("for i in range(10**12) { let a = i }\nvar x: real ~ normal(0, 1)") == {"E0217"}
    assert codes("let z = zeros(1000000, 1000000)") == {"E0217"}
    assert codes("let g = complete(1000000)") == {"E0217"}
    assert codes("var x: real[100000] ~ normal(0, 1)\nenergy sum(x)**4\nenergy sum(outer(x, x))") == {"E0217"}


def test_declared_names_for_an_editor() -> None:
    model = load("data n: int = 3\nlet a = ones(n)\nvar x: real[n] ~ normal(a, 1)\n")
    assert [(d.name, d.kind, d.type) for d in model.declared] == [
        ("n", "data", "int"),
        ("a", "let", "real[3]"),
        ("x", "var", "real[3]"),
    ]


def test_large_lattice_stays_sparse() -> None:
    energy = elaborate(
        "var x: real[40000] ~ normal(0, 10)\nfor (i, j) in edges(torus(200, 200)) { energy 0.5 * (x[i] - x[j])**2 }"
    )
    assert energy.quadratic.sparse.nnz == 5 * 40000 and not energy.quadratic.blocks


def test_dense_blocks_are_kept_by_reference() -> None:
    a = np.eye(60) + 0.01
    energy = elaborate("data A: spd[60]\nvar x: real[60] ~ multi_normal_prec(0, A)", data={"A": a})
    assert np.shares_memory(energy.quadratic.blocks[0].matrix, a)


def test_a_sum_of_many_terms_written_out() -> None:
    """A chain of operators costs neither stack nor a square of its length."""
    n = 4000
    written = " + ".join(f"{k + 1} * x[{k}]**2" for k in range(n))
    energy = elaborate(f"var x: real[{n}]\nenergy {written}\n")
    np.testing.assert_allclose(energy.quadratic.diagonal(), 2.0 * np.arange(1, n + 1))


def test_nothing_observed_is_allowed() -> None:
    energy = elaborate("var x: real[2] ~ normal(0, 1)\nobserve x[:0] = 1\n")
    assert energy.observed.index.size == 0


def test_an_impossible_observation_is_shown_where_it_stands() -> None:
    text = "var s: spin[3]\nvar y: real[2] ~ normal(0, 1)\nobserve y[0] = 2\nobserve s[1] = 3\n"
    with pytest.raises(SpuccError) as caught:
        elaborate(text)
    (found,) = caught.value.diagnostics
    assert (found.code, found.span and found.span.line) == ("E0424", 4)


def refused(text: str) -> tuple[str, int]:
    """The code of a refusal and the line that it points at."""
    with pytest.raises(SpuccError) as caught:
        elaborate(text)
    (found,) = caught.value.diagnostics
    return found.code, found.span.line if found.span else 0


@pytest.mark.parametrize("n", [30, 3000])
def test_flat_and_falling_directions_of_small_and_large_fields(n: int) -> None:
    """The dense and the sparse way agree: two flat directions, a zero on the diagonal, a spring that pushes."""
    bends = "x[2:] - 2 * x[1:-1] + x[:-2]"
    energy = elaborate(f"var x: real[{n}] ~ rw2(1)\nquery m = mean({bends})\n")
    # Two springs ground the two flat directions and leave what is asked alone.
    form = energy.queries[0].form
    assert form is not None
    some = form.matrix[:2]
    solved = linalg.spsolve(energy.quadratic.tocsr().tocsc(), some.T.tocsc())
    np.testing.assert_allclose((some @ solved).toarray(), np.eye(2), atol=1e-4)
    assert refused(f"var x: real[{n}] ~ rw2(1)\nquery m = mean(x[1:] - x[:-1])\n") == ("E0407", 1)
    assert refused(f"var x: real[{n}] ~ rw1(1)\nenergy -0.5 * x[0]**2\n") == ("E0408", 2)
    assert refused(f"var x: real[{n}] ~ rw1(1)\nenergy -0.2 * x[5]**2\n") == ("E0408", 2)
    assert refused(f"var x: real[{n}] ~ rw1(1)\nlet a = 1\nenergy x[3]\n") == ("E0408", 3)
    elaborate(f"var x: real[{n}] ~ rw1(1)\nx[0] ~ normal(0, 100)\n")


def test_a_quartic_that_is_not_decided_is_shown_where_it_stands() -> None:
    model = load(
        "var x: real[2]\nenergy x[0]**4 + x[1]**4\nx ~ normal(0, 1)\nenergy -2 * x[0]**2 * x[1]**2\n"
    )
    (warning,) = model.warnings
    assert (warning.code, warning.span and warning.span.line) == ("W0401", 4)


@pytest.mark.parametrize(
    "other", ["x ~ normal(0, 3)", "x ~ double_well(-1, 0.01)", "x[0] ~ normal(0, 1)\nx ~ rw1(2)"]
)
def test_fourth_powers_of_differences_need_no_warning(other: str) -> None:
    lattice = "for (i, j) in edges(grid(4, 4)) { energy 0.3 * (x[i] - x[j] - 1)**4 }"
    assert load(f"var x: real[16]\n{other}\n{lattice}\n").warnings == ()
    # With a negative weight a direction is found along which it falls.
    with pytest.raises(SpuccError) as caught:
        load(f"var x: real[16]\n{other}\n{lattice.replace('0.3', '-0.3')}\n")
    assert caught.value.diagnostics[0].code == "E0409"


def test_a_trajectory_starts_where_the_expression_has_its_value() -> None:
    text = "var x: real[3] ~ normal(0, 1)\nquery p = trajectory({}, 1, {})\n"
    (query,) = elaborate(text.format("x[[2, 0]]", "[5, 7]")).queries
    assert query.start is not None and query.start.tolist() == [7.0, 0.0, 5.0]
    (query,) = elaborate(text.format("2 * x[1:] + 1", "[5, 7]")).queries
    np.testing.assert_allclose(query.start, [0.0, 2.0, 3.0], atol=1e-12)
    (query,) = elaborate(text.format("concat([sum(x)], [x[0] - x[1]])", "[6, 1]")).queries
    assert query.start is not None
    np.testing.assert_allclose([query.start.sum(), query.start[0] - query.start[1]], [6.0, 1.0], atol=1e-12)
    assert refused(text.format("concat([x[0]], [x[0]])", "[1, 2]")) == ("E0419", 2)


N = 600


@pytest.mark.parametrize(
    ("covariance", "hidden"),
    [
        ("rbf(t, t, 2, 0.2)", 30),  # of low rank
        ("matern32(t, t, 2, 0.2)", N),  # nearly singular
        ("matern12(t, t, 2, 0.2) + 0.01 * eye(len(t))", 0),  # well conditioned
        ("concat(eye(len(t))[:, :500], zeros(len(t), 100), axis=1)", 500),  # not smooth, of lower rank
    ],
)
def test_large_covariances_in_every_condition(
    covariance: str, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The covariance that the energy stands for is the one given, by whichever root or inverse."""
    monkeypatch.setattr("spucc.grammar.factors.DIAGONALISED", 500)
    energy = elaborate(
        f"let t = linspace(0, 1, {N})\nvar x: real[{N}] ~ multi_normal(zeros({N}), {covariance})"
    )
    assert energy.variables[0].name == ("x.z" if hidden else "x") and (hidden == 30) == (energy.n <= 30)
    assert hidden in (30, energy.n) or not hidden
    form = energy.queries[0].form
    assert form is not None
    m = form.matrix.toarray()
    t = np.linspace(0, 1, N)
    apart = np.abs(t[:, None] - t) / 0.2
    expected = {
        30: 4 * np.exp(-0.5 * apart**2),
        N: 4 * (1 + np.sqrt(3) * apart) * np.exp(-np.sqrt(3) * apart),
        0: 4 * np.exp(-apart) + 0.01 * np.eye(N),
        500: np.diag((np.arange(N) < 500).astype(float)),
    }[hidden]
    np.testing.assert_allclose(m @ np.linalg.solve(energy.quadratic.toarray(), m.T), expected, atol=1e-9)


def test_a_large_matrix_with_a_slightly_negative_eigenvalue_is_no_covariance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spucc.grammar.factors.DIAGONALISED", 500)
    program = f"let t = linspace(0, 1, {N})\nvar x: real[{N}] ~ multi_normal(zeros({N}), rbf(t, t, 1, 0.2) - 1e-6 * eye({N}))"
    assert refused(program)[0] == "E0412"
