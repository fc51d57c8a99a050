"""Tests that need ngspice run wherever it is; where it has to be (`SPUCC_REQUIRE_NGSPICE`, set by CI) its absence fails them."""

from __future__ import annotations

import os
import shutil
import signal

import pytest


def pytest_configure() -> None:
    """What a shell runs behind ignores Ctrl-C, and so would the programs that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("spice") and shutil.which("ngspice") is None:
        if os.environ.get("SPUCC_REQUIRE_NGSPICE"):
            pytest.fail("ngspice is not installed, and SPUCC_REQUIRE_NGSPICE says that it has to be")
        pytest.skip("ngspice is not installed")
