"""What takes the draws of a run and gives an answer, and how a run is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import Query
from spucc.running.results import Answer


@dataclass(frozen=True)
class Plan:
    """How a run is cut: `draws` of each of `chains` chains."""

    draws: int
    chains: int

    @property
    def samples(self) -> int:
        """Draws of all chains."""
        return self.draws * self.chains

    @staticmethod
    def of(samples: int, chains: int | None = None) -> Plan:
        """`samples` draws, or as many more as give each of `chains` chains the same number; without a number of chains four, or
        one a draw where there are fewer. Raises E0594 for less than one draw of each chain."""
        if samples < 1:
            fail("E0594", f"cannot take {samples} samples", help="ask for at least one with --samples")
        if chains is None:
            chains = min(CHAINS, samples)
        if chains < 1:
            fail("E0594", f"cannot run {chains} chains", help="ask for at least one with --chains")
        if samples < chains:
            fail(
                "E0594",
                f"{samples} samples are too few for {chains} chains",
                help=f"ask for {chains} --samples or more, or for fewer --chains",
            )
        return Plan(-(-samples // chains), chains)


CHAINS = 4
"""Chains of a run, unless the user says otherwise."""


class Taker(Protocol):
    """Answers one query from the draws of all jobs, chunk by chunk.

    `sums` and `restore` carry it over an interruption; `answer_shapes` tells a file what to make room for.
    """

    query: Query

    def add(self, chunks: list[FloatArray]) -> None:
        """Take the same stretch of draws [chains, draws, n_job] of each job."""

    def sums(self) -> FloatArray:
        """What is carried from draw to draw, as one vector."""

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Go on with what `sums` gave after `seen` draws of each chain."""

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""

    def answer(self) -> Answer:
        """The answer from the draws so far."""
