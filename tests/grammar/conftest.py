"""The generator of programs, loaded from beside the tests, which are no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    path = Path(__file__).with_name("generate.py")
    spec = importlib.util.spec_from_file_location("spucc_tests_generate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
