"""Codes that keep the ground state, by mixed-integer programming (mapping §7): among all codes the ones with
the largest gap between the model's states of least energy and every other, relative to the size of the
codes."""

from __future__ import annotations

import warnings

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Bank
from spucc.passes.spins.spin_rounding import Law

NODES = 20_000
"""Nodes of the search tree at most."""

LIMIT = 12
"""Up to so many spins: 2ⁿ rows."""


def keep_ground(law: Law, theta: FloatArray, coupling: Bank, bias: Bank) -> FloatArray | None:
    """Codes [m + n] of linear banks for which only ground states of θ are ground states, or None where there
    are none.

    Every integer parameter lies within the bank; Σ|code − wanted| is kept small beside the gap, so that the
    law stays near.
    """
    import cvxpy as cp

    m = law.pairs.shape[0]
    own = law.exponent(theta)
    grounds = np.flatnonzero(own >= own.max() - 1e-9)
    others = np.flatnonzero(own < own.max() - 1e-9)
    f = np.concatenate([law.states[:, law.pairs[:, 0]] * law.states[:, law.pairs[:, 1]], law.states], axis=1)
    top = np.concatenate([np.full(m, coupling.codes - 1), np.full(theta.size - m, bias.codes - 1)])
    low = np.concatenate([np.full(m, coupling.signed), np.full(theta.size - m, bias.signed)]) * -top
    active = theta != 0
    if not active.any():
        return None
    scale = (top[active] / np.abs(theta[active])).min()
    codes = cp.Variable(int(active.sum()), integer=True)
    gap = cp.Variable()
    rows = f[others][:, active] - f[grounds[0]][active]
    limits = [codes >= low[active], codes <= top[active], rows @ codes <= -gap, gap >= 1]
    away = cp.norm1(codes - scale * theta[active])
    problem = cp.Problem(cp.Minimize(away - 0.1 * gap), limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # its `milp` is HiGHS, without the banner that highspy prints; a limit in seconds would make codes hang on the machine
            problem.solve(solver=cp.SCIPY, scipy_options={"node_limit": NODES})
    except (cp.SolverError, ValueError):
        return None
    if codes.value is None:
        return None
    found = np.zeros(theta.size)
    found[active] = np.rint(codes.value)
    return found
