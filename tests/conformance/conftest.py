"""One folder of runs for all conformance tests of a process: what a run starts from is trained once, a pair is checked in full once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")
