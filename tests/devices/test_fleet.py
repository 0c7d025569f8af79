"""A list of devices: read strictly; each failure stays with its device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import call_cli
from toolkit.core.codec import read_json
from toolkit.core.reports import DeviceReport
from toolkit.devices import fleet
from toolkit.devices.fleet import Device, measure_fleet, read_fleet, write_reports
from toolkit.devices.payload import Options
from toolkit.errors import InputError, RecipeError


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "devices.yaml").write_text(text)
    return tmp_path / "devices.yaml"


def test_folders_of_wheels_are_relative_to_the_list(tmp_path: Path) -> None:
    text = "devices: [{name: pi, address: ssh://pi, install: wheels}, {name: here, address: local, install: /wheels, python: python3.12}]"
    pi, here = read_fleet(written(tmp_path, text))
    assert (pi.install, pi.python, pi.folder) == (str(tmp_path / "wheels"), None, None)
    assert (here.install, here.python) == ("/wheels", "python3.12")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: []", "devices"),
        ("devices: [{name: pi}]", "address"),
        (
            "devices: [{name: pi, address: ssh://pi, user: root}]",
            r"unknown key 'devices\[0\].user'; valid keys here: name, address, python",
        ),
        ("devices: [{name: ../pi, address: ssh://pi}]", "name"),
        ("devices: [{name: -pi, address: ssh://pi}]", "name"),
        ("devices: [{name: pi, address: ssh://-oX}]", "pi: 'ssh://-oX' is no device"),
        ("devices: [{name: pi, address: local}, {name: pi, address: ssh://pi}]", "names pi twice"),
        ("- local", "devices.yaml"),
        ("devices: [", "is not valid YAML"),
    ],
)
def test_what_is_no_list_of_devices(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        read_fleet(written(tmp_path, text))


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No list of devices at"):
        read_fleet(tmp_path / "nothing.yaml")


def test_one_that_fails_does_not_end_the_others(bundle: Path, options: Options, tmp_path: Path) -> None:
    devices = (Device(name="old", address="local", python="python-nowhere"), Device(name="here", address="local"))
    result = measure_fleet(bundle, devices, options)
    assert [report.device for report in result.devices] == ["here"]
    assert result.failed == {"old": "old has no 'python-nowhere'; install Python 3.11 or newer there, or name it with --python."}
    (path,) = write_reports(result, tmp_path / "out")
    assert path.name == "result-here.json"
    assert read_json(path, DeviceReport) == result.devices[0]


def test_not_even_a_mistake_of_ours_ends_the_others(bundle: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    visit = fleet.visit

    def odd(package: fleet.Package, shell: fleet.Shell, own: Options) -> DeviceReport:
        if shell.where == "odd":
            raise KeyError("a mistake")
        return visit(package, shell, own)

    monkeypatch.setattr(fleet, "visit", odd)
    result = measure_fleet(bundle, (Device(name="odd", address="local"), Device(name="here", address="local")), options)
    assert [report.device for report in result.devices] == ["here"]
    assert result.failed == {"odd": "odd: KeyError: 'a mistake'."}


def test_a_bundle_that_is_none_is_told_before_any_device_is_asked(options: Options, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No bundle at"):
        measure_fleet(tmp_path, (Device(name="pi", address="ssh://nowhere.invalid"),), options)


def test_an_artifact_that_is_none_is_told_here(bundle: Path, options: Options) -> None:
    with pytest.raises(InputError, match="has no artifact 'int4'"):
        measure_fleet(bundle, (Device(name="here", address="local"),), replace(options, artifacts=("int4",)))


@pytest.mark.parametrize("verb", ["measure", "kit", "wheels"])
def test_each_command_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli("devices", verb, "--help") == 0
    assert f"Example:  cxr-edge devices {verb} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "No device was named; give --device ssh://user@host or --fleet recipes/devices.yaml."),
        (("--device", "ssh://a_b", "--device", "pi"), "'pi' is no device"),
        (("--device", "ssh://u@h:2", "--device", "ssh://u@h-2"), "Two devices have the same name"),
    ],
)
def test_the_command_refuses_what_names_no_device(
    words: tuple[str, ...], message: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_cli("devices", "measure", bundle, *words) == 2
    assert message in capsys.readouterr().err
