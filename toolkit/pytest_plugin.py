"""A pytest plugin: the drift gate as tests in a user's own CI, one for each artifact of a bundle and each limit.

    pytest --cxr-edge-bundle BUNDLE --cxr-edge-data DIR

pytest loads this file wherever the package is installed; it does nothing without that option, and imports nothing of ours before.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from toolkit.core.drift import Check, DriftReport, DriftRow

ALWAYS = ("recall", "subgroups", "classes", "sealed")
OPTIONS = tuple(f"--cxr-edge-{name}" for name in ("bundle", "data", "against", "max-recall-loss", "max-specificity-loss", "mode", "groups"))
GATES = pytest.StashKey[list["BundleGate"]]()


class LimitError(Exception):
    """One artifact does not keep one limit."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `cxr-edge drift`, under names of their own."""
    group = parser.getgroup("cxr-edge", "cxr-edge: what compression cost, in missed patients")
    group.addoption("--cxr-edge-bundle", action="append", type=Path, metavar="BUNDLE", help="Judge this bundle; can be repeated.")
    group.addoption("--cxr-edge-data", type=Path, metavar="DIR", help="Folder, .zip or .npz of films to judge on.")
    group.addoption("--cxr-edge-against", type=Path, metavar="BUNDLE", help="Compare with the best artifact of this bundle instead.")
    group.addoption("--cxr-edge-max-recall-loss", type=_points, metavar="PT", help="Limit, in points of recall [default: 1].")
    group.addoption("--cxr-edge-max-specificity-loss", type=_points, metavar="PT", help="Limit, in points of specificity [default: none].")
    group.addoption("--cxr-edge-mode", choices=["observed", "proven"], help="The loss seen, or its upper bound [default: observed].")
    group.addoption("--cxr-edge-groups", type=Path, metavar="CSV", help="Groups of films to judge apart.")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that say nothing without a bundle and films."""
    config.addinivalue_line("markers", "cxr_edge: the drift gate of a bundle (pytest -m cxr_edge runs nothing else)")
    given = [name for name in OPTIONS if config.getoption(name) is not None]
    for needed in ("--cxr-edge-bundle", "--cxr-edge-data"):
        if given and needed not in given:
            raise pytest.UsageError(f"{given[0]} is given without {needed}.")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of each bundle, early, so that -k and -m choose among them too."""
    from toolkit.errors import CxrEdgeError

    try:
        gates = [BundleGate.from_parent(session, bundle=folder) for folder in config.getoption("--cxr-edge-bundle") or ()]
    except CxrEdgeError as cause:
        raise pytest.UsageError(str(cause)) from cause
    config.stash[GATES] = gates
    items += [item for gate in gates for item in gate.collect()]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was judged on, and what a verdict cannot tell."""
    for gate in config.stash.get(GATES, []):
        if gate.judged:
            terminalreporter.section(f"cxr-edge {gate.name}")
            for line in gate.summary():
                terminalreporter.line(line)


class BundleGate(pytest.Collector):
    """A bundle; its films are scored once, when the first of its tests runs."""

    def __init__(self, bundle: Path, **kwargs: Any) -> None:
        from toolkit.core.bundle import Bundle
        from toolkit.data.sources import read_source

        super().__init__(**kwargs)
        self.bundle = Bundle(bundle)
        self.source = read_source(self.config.getoption("--cxr-edge-data"), self.bundle.manifest.labels)

    @classmethod
    def from_parent(cls, parent: pytest.Session, *, bundle: Path) -> BundleGate:  # type: ignore[override]
        """Named by its folder."""
        return super().from_parent(parent, name=bundle.name, nodeid=str(bundle), bundle=bundle)

    def collect(self) -> Iterator[LimitItem]:
        """One test for each artifact and limit."""
        names = (*ALWAYS, *(["specificity"] if self.config.getoption("--cxr-edge-max-specificity-loss") is not None else []))
        for artifact in self.bundle.names:
            for check in names:
                yield LimitItem.from_parent(self, name=f"{artifact}-{check}", artifact=artifact, check=check)

    @property
    def judged(self) -> bool:
        """True once a test asked."""
        return "report" in vars(self)

    @cached_property
    def report(self) -> DriftReport:
        """The verdict on every artifact that runs here."""
        from toolkit.core.recipe import ValidateSpec
        from toolkit.validate.gate import Question, judge_bundle

        option = self.config.getoption
        limit = option("--cxr-edge-max-recall-loss")
        spec = ValidateSpec(
            max_recall_loss_pt=1.0 if limit is None else limit,
            max_specificity_loss_pt=option("--cxr-edge-max-specificity-loss"),
            mode=option("--cxr-edge-mode") or "observed",
        )
        return judge_bundle(self.bundle, self.source, Question(spec, option("--cxr-edge-against"), option("--cxr-edge-groups")))

    def summary(self) -> list[str]:
        """Films, reference, and remarks."""
        from toolkit.validate.drift import remarks

        report = self.report
        mark = "SYNTHETIC films: these verdicts say nothing about patients. " if report.synthetic else ""
        unusable = [f"{name} could not be used: {reason}." for name, reason in report.unusable.items()]
        return [
            f"{mark}Against {report.reference} on {report.n} films, {report.positives} of them positive.",
            *unusable,
            *remarks(report),
        ]


class LimitItem(pytest.Item):
    """One artifact under one limit."""

    def __init__(self, artifact: str, check: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.artifact, self.check = artifact, check
        self.add_marker("cxr_edge")

    def runtest(self) -> None:
        """Skip with the reason, pass, or raise LimitError."""
        gate = self.parent
        assert isinstance(gate, BundleGate), "made by BundleGate.collect"
        report = gate.report
        if self.artifact in report.skipped:
            pytest.skip(report.skipped[self.artifact])
        row = next(row for row in report.rows if row.artifact == self.artifact)
        found = next((check for check in row.checks if check.name == self.check), None)
        if found is None:
            pytest.skip(f"{gate.name} carries no sealed scores of {self.artifact}")
        if found.verdict == "fail":
            raise LimitError(_sentence(row, found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A sentence in place of a traceback, for a failed limit and for films or a bundle that cannot be judged."""
        from toolkit.errors import CxrEdgeError

        if isinstance(excinfo.value, (LimitError, CxrEdgeError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The head of a failure."""
        assert isinstance(self.parent, BundleGate), "made by BundleGate.collect"
        return self.parent.bundle.folder, None, f"{self.parent.name}: {self.artifact}, {self.check}"


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 to 100")
    return value


def _sentence(row: DriftRow, check: Check) -> str:
    """Why it fails, and the pneumonias that only the reference found."""
    lost = [flip for flip in row.flips if flip.change == "lost" and check.name in ("recall", "subgroups")]
    films = [f"  lost: {flip.path}, {flip.reference:.3f} before, {flip.score:.3f} now" for flip in lost]
    return "\n".join((f"{row.artifact}: {check.reason}.", *films))
