"""Options, the bundles and artifacts that are tested, and what was measured, printed at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_tests import record
from device_tests.device import NOTES, Device
from toolkit.benchmark.host import describe_host
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.codec import encode_json
from toolkit.core.files import write_atomically
from toolkit.infer.machine import why_not
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

EXPORTED = Path(__file__).parent.parent / "exported"
EMULATED = "EMULATED by {}: answers count, times and memory are of the emulator and say nothing of any device."


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is tested, how long, and what is asked of the machine; without a limit a figure is reported and nothing is asked."""
    group = parser.getgroup("device", "device_tests: a bundle on this machine")
    group.addoption("--bundle", action="append", type=Path, default=[], help="A sealed bundle; by default all of exported/.")
    group.addoption("--golden", action="append", type=Path, default=[], help="A folder of golden answers, besides golden/.")
    group.addoption("--max-turned", type=int, default=0, help="How many golden films may change their decision [default: 0].")
    group.addoption("--latency-runs", type=int, default=50, help="Runs that are timed [default: 50].")
    group.addoption("--max-p50-ms", type=float, help="Limit of the median model time of the artifact that predict takes.")
    group.addoption("--recipe-budget", action="store_true", help="The same, as prune.target.latency_ms of the recipe says.")
    group.addoption("--max-end-to-end-ms", type=float, help="Limit of the median from a film's bytes to its answer.")
    group.addoption("--max-rss-mb", type=float, help="Limit of the peak memory.")
    group.addoption("--sustained-s", type=float, default=3.0, help="How long the load lasts; 600 on a device [default: 3].")
    group.addoption("--max-latency-drift", type=float, metavar="PERCENT", help="Limit of the drift of latency under the load.")
    group.addoption("--max-growth-mb", type=float, help="Limit of what the memory grows under the load.")
    group.addoption("--device-report", type=Path, metavar="FILE", help="Write what was measured as JSON.")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is noted yet."""
    config.stash[NOTES] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each bundle; of a test that asks for `name` too, each of its artifacts."""
    if "bundle" not in metafunc.fixturenames:
        return
    folders = metafunc.config.getoption("--bundle") or sorted(path.parent for path in EXPORTED.glob(f"*/{MANIFEST}"))
    bundles = [Bundle(folder.resolve()) for folder in folders]
    if "name" in metafunc.fixturenames:
        pairs = [pytest.param(bundle, name, id=f"{record.called(bundle)}-{name}") for bundle in bundles for name in bundle.names]
        metafunc.parametrize(("bundle", "name"), pairs)
    else:
        metafunc.parametrize("bundle", bundles, ids=list(map(record.called, bundles)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was measured, and on which machine."""
    notes = config.stash[NOTES]
    if not notes:
        return
    host = describe_host()
    terminalreporter.section("this device")
    if host.emulator:
        terminalreporter.line(EMULATED.format(host.emulator))
    versions = ", ".join(f"{name} {version}" for name, version in host.libraries.items())
    terminalreporter.line(f"{host.machine}, {host.processor}, {host.cores} cores, {' '.join(host.features)}; {versions}")
    for about, found in notes.items():
        terminalreporter.line(f"{about}: {found['text']}")
    path = config.getoption("--device-report")
    if path:
        write_atomically(path, encode_json({"host": host, "notes": notes}))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Device:
    """The options, and where figures are noted."""
    return Device(request.config)


@pytest.fixture(scope="session")
def sessions() -> Callable[[Bundle, str], Session]:
    """Gives an artifact's session, loaded once; skips the test where it cannot run."""
    opened: dict[tuple[Path, str], Session] = {}

    def session(bundle: Bundle, name: str) -> Session:
        artifact, key = bundle.artifact(name), (bundle.folder, name)
        if key not in opened:
            if reason := why_not(artifact.target):
                pytest.skip(f"{name}: {reason}")
            opened[key] = open_session(bundle, artifact)
        return opened[key]

    return session


@pytest.fixture
def golden(bundle: Bundle, request: pytest.FixtureRequest) -> record.Golden:
    """What was recorded of the bundle; skips where nothing was."""
    folders = [*request.config.getoption("--golden"), record.HERE]
    found = next((golden for folder in folders if (golden := record.read(folder, bundle))), None)
    if found is None:
        pytest.skip(f"no golden answers of {bundle.folder}: python -m device_tests.record {bundle.folder} --to DIR, then --golden DIR")
    return found
