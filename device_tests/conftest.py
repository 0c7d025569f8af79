"""Which bundle is tested: `--bundle DIR` (may be repeated); by default all of `exported/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.bundle import MANIFEST, Bundle

EXPORTED = Path(__file__).parent.parent / "exported"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bundle", action="append", type=Path, default=[], help="A sealed bundle; by default all of exported/.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bundle" in metafunc.fixturenames:
        folders = metafunc.config.getoption("--bundle") or sorted(path.parent for path in EXPORTED.glob(f"*/{MANIFEST}"))
        metafunc.parametrize("bundle", [Bundle(folder) for folder in folders], ids=[folder.name for folder in folders])
