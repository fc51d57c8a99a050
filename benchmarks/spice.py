"""ngspice on spu8: `python benchmarks/spice.py [draws]`.

Prints how far the realised covariance of 20,000 draws is from the compiled one (bound: 3 %), what it says of itself (99 % of
runs), the worst entry in its own standard errors, what ngspice's time step adds, and the time (bound: 60 s), wall and CPU.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

import spucc
from spucc.running.estimates import effective_sample_size, frobenius_bound
from spucc.running.law import program_law


def main(draws: int) -> None:
    """One balanced and one signed model of eight variables."""
    rng = np.random.default_rng(0)
    for target, signs in (("spu8", -1.0), ("spu8-signed", rng.choice([-1.0, 1.0], (8, 8)))):
        a = np.triu(signs * np.abs(rng.normal(size=(8, 8))), 1)
        precision = a + a.T + np.diag(np.abs(a + a.T).sum(axis=1) + 1.0)
        program = spucc.compile(spucc.gaussian(0.0, precision=precision), target=target)
        law = program_law(program)
        assert law.covariance is not None
        start, before = time.perf_counter(), os.times()
        result = program.run(samples=draws, chains=2, seed=1, backend="spice")
        wall, after = time.perf_counter() - start, os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        cov = np.cov(result["x"].T)
        x = result["x"].reshape(2, -1, 8)
        ess = effective_sample_size((x - x.mean(axis=(0, 1))) ** 2)
        error = np.sqrt(
            (np.outer(law.variance, law.variance) + law.covariance**2) / np.sqrt(np.outer(ess, ess))
        )
        stated = frobenius_bound(law.covariance, ess)
        relative = np.linalg.norm(cov - law.covariance) / np.linalg.norm(law.covariance)
        worst = np.abs((cov - law.covariance) / error).max()
        print(
            f"{target:<12} {draws} draws: covariance {relative:.2%} off (bound 3 %, ratio {relative / 0.03:.2f}), stated "
            f"{stated:.2%} (ratio {relative / stated:.2f}), worst entry {worst:.1f} standard errors; {wall:.1f} s wall "
            f"(bound 60 s), {cpu:.1f} s CPU; {next(iter(result.provenance['simulation'].values()))}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
