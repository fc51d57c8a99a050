"""Files of other tools: round trips, dimod's own reader, and every way of being wrong."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.exchange import spin_files


def random_energy(domain: Domain, fields: bool = True, seed: int = 0) -> Energy:
    rng = np.random.default_rng(seed)
    n = 9
    q = np.triu(rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.5), 1)
    name = "s" if domain is Domain.SPIN else "b"
    linear = rng.normal(size=n) if fields else np.zeros(n)
    return Energy(
        layout([(name, (n,), domain, None)]), frozen(linear), Quadratic(sparse.csr_array(q + q.T)), 0.25
    )


JSON = {
    "type": "BinaryQuadraticModel",
    "use_bytes": False,
    "variable_labels": ["a", "b"],
    "variable_type": "SPIN",
    "offset": 0.25,
    "linear_biases": [1.0, -1.5],
    "quadratic_biases": [0.5],
    "quadratic_head": [0],
    "quadratic_tail": [1],
}


def states(domain: Domain, n: int = 9) -> np.ndarray:
    bits = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    return bits if domain is Domain.BIT else 2 * bits - 1


@pytest.mark.parametrize("domain", [Domain.SPIN, Domain.BIT])
def test_coo_reads_back_exactly(domain: Domain, tmp_path: Path) -> None:
    energy = random_energy(domain)
    file = tmp_path / "m.coo"
    file.write_text(spin_files.write_coo(energy))
    again = spin_files.read_coo(file)
    assert again.at(states(domain)).tobytes() == energy.at(states(domain)).tobytes()
    assert spin_files.write_coo(again) == file.read_text()


def test_qubo_reads_back_and_squares_are_folded(tmp_path: Path) -> None:
    energy = random_energy(Domain.BIT)
    q = energy.quadratic.tocsr() + sparse.diags_array(np.arange(9.0))
    energy = Energy(energy.variables, energy.linear, Quadratic(sparse.csr_array(q)), 0.0)
    file = tmp_path / "m.qubo"
    file.write_text(spin_files.write_qubo(energy))
    again = spin_files.read_qubo(file)
    np.testing.assert_allclose(again.at(states(Domain.BIT)), energy.at(states(Domain.BIT)), atol=1e-12)


def test_graphs_read_back_and_may_be_compressed(tmp_path: Path) -> None:
    energy = random_energy(Domain.SPIN, fields=False)
    plain, packed = tmp_path / "g.txt", tmp_path / "g.txt.gz"
    plain.write_text(spin_files.write_graph(energy))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for file in (plain, packed):
        again = spin_files.read_graph(file)
        np.testing.assert_allclose(
            again.at(states(Domain.SPIN)), energy.at(states(Domain.SPIN)) - 0.25, atol=1e-12
        )


@pytest.mark.parametrize(
    "read, text, words",
    [
        ("graph", "", "empty"),
        ("graph", "3\n1 2 1\n", "n m"),
        ("graph", "3 2\n1 2 1\n", "promises 2 edges and has 1"),
        ("graph", "3 1\n1 4 1\n", "out of range"),
        ("graph", "3 1\n0 1 1\n", "out of range"),
        ("graph", "3 1\n1 1 1\n", "with itself"),
        ("graph", "3 1\n1 2 x\n", "not a number"),
        ("graph", "3 1\n1 2 inf\n", "not finite"),
        ("graph", "3 1\n1 2\n", "not `i j value`"),
        ("graph", "99999999999 1\n1 2 1\n", "promises"),
        ("qubo", "0 0 1\n", "p qubo"),
        ("qubo", "p qubo 0 2 1 1\n0 0 1\n", "promises"),
        ("qubo", "p qubo 0 2 0 1\n0 2 1\n", "out of range"),
        ("coo", "0 0 1\n", "SPIN or BINARY"),
        ("coo", "# vartype=SPIN\n# offset=much\n0 1 1\n", "not a number"),
        ("coo", "# vartype=SPIN\n0 -1 1\n", "not `i j value`"),
        ("bqm", "", "not a binary quadratic model"),
        ("bqm", "[1, 2]", "not a binary quadratic model"),
        ("bqm", "[" * 100_000, "not a binary quadratic model"),
        ("bqm", json.dumps({**JSON, "type": "SampleSet"}), "SampleSet"),
        ("bqm", json.dumps({**JSON, "use_bytes": True}), "bytes"),
        ("bqm", json.dumps({**JSON, "variable_type": "DISCRETE"}), "DISCRETE"),
        ("bqm", json.dumps({**JSON, "linear_biases": [1.0]}), "2 labels"),
        ("bqm", json.dumps({**JSON, "linear_biases": [1.0, "x"]}), "linear_biases"),
        ("bqm", json.dumps({**JSON, "linear_biases": [1.0, 1e999]}), "not"),
        ("bqm", json.dumps({**JSON, "quadratic_head": [2]}), "joins 2 and 1"),
        ("bqm", json.dumps({**JSON, "quadratic_tail": [0]}), "joins 0 and 0"),
        ("bqm", json.dumps({**JSON, "quadratic_tail": [-1]}), "joins 0 and -1"),
        ("bqm", json.dumps({**JSON, "quadratic_tail": []}), "0 tails"),
        ("bqm", json.dumps({**JSON, "quadratic_tail": [10**30]}), f"joins 0 and {10**30}"),
    ],
)
def test_malformed_files_name_their_line(read: str, text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad"
    file.write_text(text)
    with pytest.raises(SpuccError) as caught:
        getattr(spin_files, f"read_{read}")(file)
    (found,) = caught.value.diagnostics
    assert found.code == "E0621"
    assert words in found.title
    assert found.span is not None and found.help


def test_unreadable_files_and_misfits(tmp_path: Path) -> None:
    with pytest.raises(SpuccError, match="E0620"):
        spin_files.read_graph(tmp_path / "absent.txt")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"3 1\n1 2 1\n")[:-9])
    with pytest.raises(SpuccError, match="E0620"):
        spin_files.read_graph(tmp_path / "torn.gz")
    with pytest.raises(SpuccError, match="E0622"):
        spin_files.write_graph(random_energy(Domain.BIT))
    with pytest.raises(SpuccError, match="E0622"):
        spin_files.write_graph(random_energy(Domain.SPIN))
    with pytest.raises(SpuccError, match="E0622"):
        spin_files.write_qubo(random_energy(Domain.SPIN))


@pytest.mark.workloads
@pytest.mark.skipif("SPUCC_WORKLOADS" not in os.environ, reason="SPUCC_WORKLOADS names no folder")
@pytest.mark.parametrize("name", ["cut_G1", "cut_G32", "cut_g05_60_0", "cut_pm1s_80_0", "cut_pw01_100_0"])
def test_published_graphs(name: str) -> None:
    folder = Path(os.environ["SPUCC_WORKLOADS"]) / name
    energy = spin_files.read_graph(folder / "graph.txt.gz")
    want = json.loads((folder / "oracle.json").read_text())["sa_cut"]
    stored = np.load(folder / "oracle.npz")["sa_spins"].astype(float)
    cut = (energy.quadratic.tocsr().sum() / 2 - energy.at(stored)) / 2
    assert cut == want


def test_dimod_models_and_sampler() -> None:
    dimod = pytest.importorskip("dimod")
    from dimod import testing

    from spucc.targets.dimod_sampler import SpuccSampler, from_bqm, to_bqm

    for domain in (Domain.SPIN, Domain.BIT):
        energy = random_energy(domain)
        bqm = to_bqm(energy)
        x = states(domain)
        names = list(energy.labels())
        np.testing.assert_allclose(bqm.energies((x, names)), energy.at(x), atol=1e-12)
        np.testing.assert_allclose(from_bqm(bqm).at(x), energy.at(x), atol=1e-12)
        found = SpuccSampler().sample(bqm, num_reads=32, num_sweeps=200, seed=1)
        testing.assert_response_energies(found, bqm)
        assert found.first.energy == pytest.approx(energy.at(x).min())
    testing.assert_sampler_api(SpuccSampler())
    with pytest.warns(dimod.exceptions.SamplerUnknownArgWarning):
        SpuccSampler().sample(to_bqm(random_energy(Domain.SPIN)), num_reads=1, num_sweeps=1, unheard=1)
    empty = SpuccSampler().sample(dimod.BQM.empty("SPIN"), num_reads=2)
    assert len(empty) == 2


def test_our_coo_is_what_dimod_reads(tmp_path: Path) -> None:
    dimod = pytest.importorskip("dimod")
    from dimod.serialization import coo

    energy = random_energy(Domain.SPIN)
    text = spin_files.write_coo(energy)
    bqm = coo.loads(text, vartype=dimod.SPIN)
    x = states(Domain.SPIN)
    np.testing.assert_allclose(bqm.energies((x, list(range(9)))) + 0.25, energy.at(x), atol=1e-6)


@pytest.mark.parametrize("domain", [Domain.SPIN, Domain.BIT])
def test_json_goes_both_ways_with_dimod(domain: Domain, tmp_path: Path) -> None:
    dimod = pytest.importorskip("dimod")
    energy, x = random_energy(domain), states(domain)
    bqm = dimod.BQM.from_serializable(json.loads(spin_files.write_bqm(energy)))
    assert list(bqm.variables) == list(energy.labels())
    np.testing.assert_allclose(bqm.energies((x, list(bqm.variables))), energy.at(x), atol=1e-12)
    file = tmp_path / "m.json"
    file.write_text(json.dumps(bqm.to_serializable()))
    np.testing.assert_allclose(spin_files.read_bqm(file).at(x), energy.at(x), atol=1e-12)


def test_labels_that_are_names_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text(json.dumps(JSON))
    energy = spin_files.read_bqm(file)
    assert list(energy.labels()) == ["a", "b"]
    assert energy.at(np.array([1.0, -1.0])) == 0.25 + 1 + 1.5 - 0.5
    file.write_text(json.dumps({**JSON, "variable_labels": [[0, 1], "b"]}))
    assert list(spin_files.read_bqm(file).labels()) == ["x[0]", "x[1]"]


def test_a_program_runs_on_any_dimod_sampler() -> None:
    """dwave-samplers' annealer at one temperature, 3000 reads, each mean within five standard
    errors (4 figures: false alarms below 1e-5)."""
    samplers = pytest.importorskip("dwave.samplers")
    from spucc.driver import compile_energy
    from spucc.oracle import enumerate_spins
    from spucc.running.run import run_program
    from spucc.targets.dimod_sampler import SamplerBackend

    rng = np.random.default_rng(2)
    q = np.triu(rng.normal(size=(4, 4)), 1)
    energy = Energy(
        layout([("b", (4,), Domain.BIT, None)]),
        frozen(rng.normal(size=4)),
        Quadratic(sparse.csr_array(q + q.T)),
    )
    program = compile_energy(energy, "ideal-spin")
    options = {"num_sweeps": 30, "beta_range": (1.0, 1.0), "beta_schedule_type": "linear"}
    backend = SamplerBackend(samplers.SimulatedAnnealingSampler(), options)
    got = run_program(program, samples=3000, chains=2, backend=backend, seed=1).answers[0].value
    want = enumerate_spins(energy).mean
    assert np.abs(got.mean(axis=0) - want).max() < 5 * 0.5 / np.sqrt(3000)
    dimod = pytest.importorskip("dimod")
    with pytest.raises(SpuccError, match="E0728"), pytest.warns(dimod.exceptions.SamplerUnknownArgWarning):
        run_program(program, samples=30, backend=SamplerBackend(dimod.ExactSolver()))


def test_conformance_of_the_sampler() -> None:
    """dimod's own suite for samplers."""
    dimod = pytest.importorskip("dimod")
    import unittest

    from spucc.targets.dimod_sampler import SpuccSampler

    suite = dimod.testing.load_sampler_bqm_tests(lambda: SpuccSampler())(
        type("Held", (unittest.TestCase,), {})
    )
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
    assert result.testsRun > 5
    assert result.wasSuccessful(), result.failures + result.errors
