"""Where a result comes from, and how wrong its law can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from spucc.backend import Backend
from spucc.diagnostics import fail
from spucc.running.taker import Plan
from spucc.stages import Program


def on_board(engine: Backend, board: int | None, seed: int) -> Backend:
    """A backend on the board that is asked for, by default that of the run's seed. Raises E0736 for a board of a backend
    that has none."""
    # Of a pair, the device of the reals has boards.
    inner = getattr(engine, "reals", engine)
    choose = getattr(inner, "on_board", None)
    if choose is None:
        if board is not None:
            fail(
                "E0736",
                f"the backend `{engine.name}` has no boards to choose from",
                help="add --backend board-model",
            )
        return engine
    chosen: Backend = choose(board, seed)
    return chosen if inner is engine else replace(engine, reals=chosen)  # type: ignore[type-var]


def board_number(engine: Backend) -> dict[str, int]:
    """`board`: the number of the board that a backend runs on, if it has one."""
    number = getattr(getattr(engine, "reals", engine), "number", None)
    return {} if number is None else {"board": number}


def board_error(engine: Backend, program: Program, seed: int) -> dict[str, dict[str, float]]:
    """`board_error`: how far the law of a backend's board is from the compiled one, where it has a board: no standard error
    of its draws knows of that."""
    inner = getattr(engine, "reals", engine)
    about = getattr(inner, "about", None)
    if about is None:
        return {}
    pairs = [(job, program.device_of(job)) for job in program.jobs]
    own = [
        (job, device) for job, device in pairs if inner is engine or device.family is program.device.family
    ]
    return {"board_error": about(own, seed)}


def board_statement(provenance: Mapping[str, Any]) -> str:
    """What a result says of the board that it comes from; nothing for a backend without boards."""
    error = provenance.get("board_error")
    if error is None:
        return ""
    which = f"board {provenance['board']}" if "board" in provenance else "this board"
    drift = ""
    if error["drift"]:
        drift = f"; its noise power drifts by {error['drift']:.2g}, from {error['power_at_start']:.2g} at the start"
    if "sd_error" not in error:
        return f"{which}: its own error is not known, and is not in the standard errors{drift}"
    return (
        f"{which} against the compiled distribution: sd within {error['sd_error']:.2g} relative, means within "
        f"{error['mean_error_in_sd']:.2g} sd, correlations within {error['correlation_error']:.2g}; the standard errors do not "
        f"contain this{drift}"
    )


def provenance(
    program: Program, plan: Plan, seed: int, backend: str, mode: str, draws: int
) -> dict[str, Any]:
    """Where a result comes from: digests of program and data, device, seed, versions, and how wrong the law can be."""
    import platform

    import scipy

    last = {entry.job: entry for entry in program.ledger}
    return {
        "program_digest": program.provenance.program_digest,
        "data_digest": program.provenance.data_digest,
        "target": program.device.name,
        "device_fingerprint": program.device.fingerprint,
        "pipeline": program.pipeline,
        "backend": backend,
        "mode": mode,
        "seed": seed,
        "samples": draws,
        "chains": plan.chains,
        "fidelity": {
            name: {
                "kl_forward_per_variable": e.kl_forward,
                "worst_sd_error": e.sd_error,
                "worst_mean_error_in_sd": e.mean_error,
                "worst_correlation_error": e.correlation_error,
                "basis": e.basis,
            }
            for name, e in last.items()
        },
        "versions": {
            "spucc": program.provenance.version,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }
