"""The default backend: the device's equations, simulated exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.backend import Chunk, Mode, Progress, Request, Streams, block_length, members_of, normals, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.readback import Affine, HostLoop
from spucc.stages import Configuration, Job
from spucc.targets.circuits import board
from spucc.targets.law import Gaussian, cells


@dataclass(frozen=True)
class Exact:
    """Independent draws of the law that the codes realise, or its exact trajectory."""

    name: str = "exact"

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`. Raises E0721 where the network has no law, E0722 for cells that are
        not linear."""
        if not isinstance(job.value, Configuration):
            fail("E0726", f"job `{job.name}` is not compiled to the end, so it cannot run")
        configuration = job.value
        if request.mode is Mode.TRAJECTORY:
            fail("E0722", "trajectory mode is not there yet")
        codes = configuration.codes
        laws = [cells(board(codes, m, device)) for m in range(codes.members)]
        streams = Streams(request.seed, job.name)
        factors = [law.factor_of(request.dtype) for law in laws]
        n = codes.n
        length = block_length(n)
        per_draw = 3 * max(n, job.target.n, 1) * max(request.chains, 1) * np.dtype(request.dtype).itemsize
        step = max(1, request.memory // per_draw)
        step = step if step < length else step // length * length
        done = request.first
        end = request.first + request.draws
        while done < end:
            take = min(end - done, step - done % step)
            z = normals(streams, request.chains, done, take, n, request.dtype)
            who = members_of(codes.weight, done, take)
            y: NDArray[Any] = np.empty_like(z)
            for m, law in enumerate(laws):
                if codes.members == 1:
                    flat = factors[m].colour(z.reshape(-1, n)).reshape(z.shape)
                    y = _correct(flat, law, codes.readback[m])
                    continue
                at = np.flatnonzero(who == m)
                flat = factors[m].colour(z[:, at].reshape(-1, n)).reshape(request.chains, at.size, n)
                y[:, at] = _correct(flat, law, codes.readback[m])
            for back in reversed(configuration.readback):
                if isinstance(back, HostLoop):
                    fail("E0722", "host loop not there yet")
                y = back.draws(y)
            done += take
            progress(job.name, (done - request.first) / max(request.draws, 1))
            yield Chunk(done - take, y)


def _correct(y: NDArray[Any], law: Gaussian, back: Affine) -> NDArray[Any]:
    """Mean and the member's correction; diagonal maps are done in place."""
    if law.mean.any():
        y += law.mean.astype(y.dtype)
    if back.is_diagonal:
        y *= back.matrix.data.astype(y.dtype)
        if back.offset.any():
            y += back.offset.astype(y.dtype)
        return y
    return back.draws(y).astype(y.dtype, copy=False)
