"""Where a result comes from, and how wrong its law can be."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.running.taker import Plan
from spucc.stages import Program


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
