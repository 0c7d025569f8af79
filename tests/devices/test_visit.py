"""A whole visit over a real sshd on the loopback address, and each way in which it fails."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.conftest import call_cli
from tests.devices.conftest import Server, keygen, needs_sshd, script, sealed_bundle, wait_for
from toolkit.core.bundle import Bundle
from toolkit.core.codec import read_json
from toolkit.core.latency import LatencyReport
from toolkit.core.reports import DeviceReport
from toolkit.data.sources import read_source
from toolkit.devices.fleet import Device, FleetResult, measure_fleet
from toolkit.devices.payload import Options
from toolkit.devices.visit import measure
from toolkit.errors import DeviceError

pytestmark = needs_sshd
Start = Callable[..., Server]
Tools = Callable[[Mapping[str, str]], str]


def left(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def test_a_whole_visit(sshd: Server, with_scores: Path, films: Path, options: Options, place: Path) -> None:
    report = measure(with_scores, sshd.address, replace(options, films=films, name="ward"))
    assert (report.device, report.bundle, report.bundle_sha256) == ("ward", "brightness", Bundle(with_scores).sha256)
    assert [(row.scenario, row.runs) for row in report.latency.rows] == [("single_stream", 5), ("offline", 2)]
    assert report.latency.host.cores >= 1
    assert set(report.scores) == {"onnxruntime-fp32"}
    assert set(report.scores["onnxruntime-fp32"]) == {case.sha256 for case in read_source(films).cases}
    assert report.drift is not None
    assert (report.drift.n, report.drift.positives, report.drift.verdict) == (16, 8, "pass")
    assert {check.name: check.verdict for check in report.drift.rows[0].checks}["sealed"] == "pass"
    assert (report.problems, report.unusable) == ((), {})
    assert left(place) == []


def test_what_lies_there_meanwhile_is_ours_alone_and_names_no_patient(
    sshd: Server, with_scores: Path, films: Path, options: Options, place: Path, tmp_path: Path
) -> None:
    body = f'case "$3" in */cxr-edge-*) cd "$3" && find . -printf "%m %P\\n" > "{tmp_path}/seen";; esac; exec {sys.executable} "$@"'
    python = script(tmp_path / "python", body)
    report = measure(with_scores, sshd.address, replace(options, films=films, python=str(python)))
    assert report.drift is not None
    seen = dict(reversed(line.split(" ", 1)) for line in (tmp_path / "seen").read_text().splitlines())
    assert set(seen.values()) <= {"700", "600"}
    assert not [name for name in seen if "JaneDoe" in name or "torch" in name]
    assert {"bundle/fp32.onnx", "runner/toolkit/devices/on_device.py", "digests.json", "job.json"} <= set(seen)
    assert len([name for name in seen if name.startswith("films/")]) == 16


def test_the_home_folder_there_stays_as_it_was(sshd: Server, with_scores: Path, films: Path, options: Options, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    home = script(tmp_path / "python", f'HOME="{tmp_path}/home" exec {sys.executable} "$@"')
    assert measure(with_scores, sshd.address, replace(options, films=films, python=str(home))).drift
    assert left(tmp_path / "home") == []


def test_an_artifact_that_loses_pneumonias_fails_there(sshd: Server, films: Path, options: Options, tmp_path: Path) -> None:
    strict = sealed_bundle(tmp_path / "strict", films, threshold=0.9)
    report = measure(strict, sshd.address, replace(options, films=films))
    assert report.drift is not None
    (row,) = report.drift.rows
    assert (row.verdict, row.lost_positives) == ("fail", 3)
    assert {flip.path for flip in row.flips} == {f"PNEUMONIA/JaneDoe-{level}.png" for level in (132, 140, 148)}


def test_a_film_that_cannot_be_used_is_named_by_its_name_here(
    sshd: Server, with_scores: Path, films: Path, options: Options, place: Path
) -> None:
    (films / "NORMAL" / "broken.png").write_bytes(b"\x89PNG")
    report = measure(with_scores, sshd.address, replace(options, films=films))
    assert list(report.unusable) == ["NORMAL/broken.png"]
    assert report.drift is not None
    assert report.drift.n == 16


def test_a_changed_host_key_is_refused_even_if_the_user_asks_for_none(sshd: Server, bundle: Path, options: Options, place: Path) -> None:
    sshd.know(keygen(sshd.folder / "other_key"))
    for habit in ("ask", "accept-new", "no"):
        sshd.config.write_text(f"StrictHostKeyChecking {habit}\n{sshd.config.read_text()}")
        with pytest.raises(DeviceError, match=r"shows another host key than the one that is known.*Nothing was sent"):
            measure(bundle, sshd.address, options)
    assert left(place) == []


def test_a_host_that_is_not_known_is_refused_and_not_learnt(sshd: Server, bundle: Path, options: Options) -> None:
    sshd.know(None)
    with pytest.raises(DeviceError, match=r"its host key was never accepted. Connect once by hand"):
        measure(bundle, sshd.address, options)
    assert (sshd.folder / "known_hosts").read_text() == ""


def test_a_key_that_is_refused(sshd: Server, bundle: Path, options: Options) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(DeviceError, match=r"refuses the key: put your public key into"):
        measure(bundle, sshd.address, options)


def test_a_host_that_is_switched_off(sshd: Server, bundle: Path, options: Options) -> None:
    sshd.stop()
    with pytest.raises(DeviceError, match=r"cannot be reached: is it switched on.*Connection refused"):
        measure(bundle, sshd.address, options)


def test_a_configuration_that_ssh_refuses(sshd: Server, bundle: Path, options: Options) -> None:
    sshd.config.write_text("Nonsense yes\n")
    with pytest.raises(DeviceError, match="ssh refuses its configuration"):
        measure(bundle, sshd.address, options)


def test_the_users_own_configuration_counts(sshd: Server, bundle: Path, options: Options) -> None:
    sshd.config.write_text(f"{sshd.config.read_text()}Host ward\n  HostName 127.0.0.1\n  Port {sshd.port}\n")
    assert measure(bundle, "ssh://ward", options).latency.rows


def test_no_python_there(start_sshd: Start, tools: Tools, bundle: Path, options: Options, place: Path) -> None:
    server = start_sshd(path=tools({}))
    with pytest.raises(DeviceError, match="has no 'python3'; install Python 3.11 or newer there"):
        measure(bundle, server.address, replace(options, python="python3"))
    assert left(place) == []


def test_an_old_python_there(sshd: Server, bundle: Path, options: Options, tmp_path: Path) -> None:
    old = script(tmp_path / "old", f'sed "s/sys.version_info/(3, 9, 2)/" | {sys.executable} "$@"')
    with pytest.raises(DeviceError, match=r"has Python 3.9.2 as '.*old'; 3.11 or newer is needed"):
        measure(bundle, sshd.address, replace(options, python=str(old)))


def test_no_space_there(start_sshd: Start, tools: Tools, bundle: Path, options: Options, place: Path) -> None:
    text = "echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo '/dev/mmcblk0 1000000 999000 1000 99% /'"
    server = start_sshd(path=tools({"df": text}))
    with pytest.raises(
        DeviceError, match="has 1 MB free in .*, and 30 MB are needed; make room there, or name another place with --folder"
    ):
        measure(bundle, server.address, options)
    assert left(place) == []


def test_a_disk_that_is_full_while_it_takes_the_files(start_sshd: Start, tools: Tools, bundle: Path, options: Options, place: Path) -> None:
    full = "cat > /dev/null; echo 'tar: fp32.onnx: Cannot write: No space left on device' >&2; exit 2"
    server = start_sshd(path=tools({"tar": full}))
    with pytest.raises(DeviceError, match="could not take the files: .*No space left on device. Its disk is full: make room there"):
        measure(bundle, server.address, options)
    assert left(place) == []


@pytest.mark.parametrize("damage", ["printf x >> {}/bundle/fp32.onnx", "rm {}/runner/toolkit/errors.py", "printf x >> {}/digests.json"])
def test_a_damaged_copy_is_found_by_its_digests(
    damage: str, start_sshd: Start, tools: Tools, bundle: Path, options: Options, place: Path
) -> None:
    tar = f'{shutil.which("tar")} "$@" && {damage.format(chr(34) + "$6" + chr(34))}'
    server = start_sshd(path=tools({"tar": tar}))
    with pytest.raises(DeviceError, match=r"damaged.*Nothing was run there; try again"):
        measure(bundle, server.address, options)
    assert left(place) == []


def test_a_bundle_that_no_runtime_there_can_run(sshd: Server, bundle: Path, options: Options) -> None:
    manifest = Bundle(bundle).manifest
    target = msgspec.structs.replace(manifest.artifacts[0].target, backend="tensorrt")
    artifact = msgspec.structs.replace(manifest.artifacts[0], name="tensorrt-fp32", target=target)
    (bundle / "bundle.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, artifacts=(artifact,), recommended=())))
    with pytest.raises(DeviceError, match="can run no artifact of .*tensorrt-fp32: tensorrt is not installed"):
        measure(bundle, sshd.address, options)


def stuck(tmp_path: Path) -> Path:
    """A Python that hangs when the work begins, and says so in a file, which is there with its number or not at all."""
    said = f'echo $$ > "{tmp_path}/part"; mv "{tmp_path}/part" "{tmp_path}/working"'
    return script(
        tmp_path / "stuck", f'if [ "$2" = toolkit.devices.on_device ]; then {said}; exec sleep 600; fi; exec {sys.executable} "$@"'
    )


def kill_sessions(server: Server, listener: bool) -> None:
    """End the connections of a server in the middle, as a cable that is pulled does; with `listener` it does not come back."""
    sessions = psutil.Process(server.process.pid).children(recursive=True)
    if listener:
        server.process.kill()
    for session in sessions:
        with suppress(psutil.NoSuchProcess):  # one that ended meanwhile
            if session.name().startswith("sshd"):
                session.kill()


@pytest.mark.parametrize("listener", [False, True], ids=["comes back", "stays away"])
def test_a_device_that_is_lost_in_the_middle_is_named_and_the_others_go_on(
    listener: bool, start_sshd: Start, bundle: Path, options: Options, place: Path, tmp_path: Path
) -> None:
    first, second = start_sshd(), start_sshd()
    second.config.write_text(first.config.read_text() + f"IdentityFile {second.folder}/user_key\n")
    known = "".join((server.folder / "known_hosts").read_text() for server in (first, second))
    (first.folder / "known_hosts").write_text(known)
    devices = (
        Device(name="lost", address=first.address, python=str(stuck(tmp_path))),
        Device(name="fine", address=second.address),
        Device(name="here", address="local"),
    )
    results: list[FleetResult] = []
    visit = threading.Thread(target=lambda: results.append(measure_fleet(bundle, devices, options)))
    visit.start()
    wait_for((tmp_path / "working").is_file)
    kill_sessions(first, listener)
    visit.join()
    (result,) = results
    assert [report.device for report in result.devices] == ["fine", "here"]
    assert set(result.failed) == {"lost"}
    assert "lost was lost in the middle of the work" in result.failed["lost"]
    assert ("may be left there" in result.failed["lost"]) is listener
    wait_for(lambda: left(place) == [])
    assert not psutil.pid_exists(int((tmp_path / "working").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("where", ["ssh", "local"])
def test_whatever_ends_the_command_here_nothing_is_left_there(
    where: str, number: signal.Signals, sshd: Server, bundle: Path, place: Path, tmp_path: Path
) -> None:
    address = sshd.address if where == "ssh" else "local"
    words = ["devices", "measure", str(bundle), "--device", address, "--folder", str(place), "--python", str(stuck(tmp_path))]
    heard = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    }  # a shell's background job would pass on that it ignores it
    with subprocess.Popen([sys.executable, "-m", "toolkit.cli", *words], stderr=subprocess.PIPE, text=True, **heard) as command:
        wait_for((tmp_path / "working").is_file)
        command.send_signal(number)
        _, said = command.communicate()
    assert "Traceback" not in said
    wait_for(lambda: left(place) == [])
    wait_for(lambda: not psutil.pid_exists(int((tmp_path / "working").read_text())))


@pytest.mark.parametrize("listener", [False, True], ids=["comes back", "stays away"])
def test_a_cut_while_files_are_copied_leaves_nothing_there(
    listener: bool, start_sshd: Start, tools: Tools, bundle: Path, options: Options, tmp_path: Path
) -> None:
    server = start_sshd(
        path=tools({"tar": f'{shutil.which("tar")} "$@"; touch "{tmp_path}/copied"; while [ -d "$6" ]; do sleep 0.1; done'})
    )
    cutter = threading.Thread(target=lambda: (wait_for((tmp_path / "copied").is_file), kill_sessions(server, listener)))
    cutter.start()
    with pytest.raises(DeviceError, match="was lost in the middle of the work: the connection was cut"):
        measure(bundle, server.address, options)
    cutter.join()
    wait_for(lambda: left(Path(str(options.folder))) == [])


@pytest.mark.parametrize("where", ["ssh", "local"])
def test_an_interruption_ends_the_visit_and_cleans_up(
    where: str, sshd: Server, bundle: Path, options: Options, place: Path, tmp_path: Path
) -> None:
    from toolkit.devices.payload import pack
    from toolkit.devices.visit import open_shell, visit

    shell = open_shell(sshd.address if where == "ssh" else "local", "ward")
    own = replace(options, python=str(stuck(tmp_path)))
    stopper = threading.Thread(target=lambda: (wait_for((tmp_path / "working").is_file), shell.stop.set()))
    stopper.start()
    with pytest.raises(DeviceError, match="ward: stopped before it was done"):
        visit(pack(bundle, own), shell, own)
    stopper.join()
    assert left(place) == []
    wait_for(lambda: not psutil.pid_exists(int((tmp_path / "working").read_text())))


def test_the_command(
    sshd: Server, with_scores: Path, films: Path, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--python", options.python, "--runs", "5", "--threads", "1", "--folder", str(options.folder))
    out = tmp_path / "out"
    assert call_cli("devices", "measure", with_scores, "--device", sshd.address, "--films", films, "--out", out, *common) == 0
    name = f"{sshd.address.removeprefix('ssh://').replace(':', '-')}"
    report = read_json(out / f"result-{name}.json", DeviceReport)
    assert report.drift is not None
    shown = capsys.readouterr()
    assert f"{name}  {report.latency.host.processor}" in shown.out
    assert shown.err == ""
    sshd.know(None)
    both = ("--device", sshd.address, "--device", "local")
    assert call_cli("devices", "measure", with_scores, *both, *common, "--json", "-") == 3
    assert f"{name} FAILED: {name} is not known yet" in capsys.readouterr().err
    assert call_cli("devices", "measure", with_scores, "--device", sshd.address, *common) == 1
    strict = sealed_bundle(tmp_path / "strict", films, threshold=0.9)
    assert call_cli("devices", "measure", strict, "--device", "local", "--films", films, *common) == 1
    assert "local: onnxruntime-fp32 fails: it loses 3 and gains 0 of 8 pneumonias" in capsys.readouterr().err


def test_benchmark_takes_a_device(
    sshd: Server, bundle: Path, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.devices.payload.Options", partial(Options, python=options.python))  # the one that has the packages
    quick = ("--device", sshd.address, "--runs", "5", "--threads", "1", "--precision", "100", "--cold-starts", "0")
    assert call_cli("benchmark", bundle, *quick, "--json", tmp_path / "there.json") == 0
    assert "onnxruntime-fp32  single_stream" in capsys.readouterr().out
    rows = read_json(tmp_path / "there.json", LatencyReport).rows
    assert [(row.scenario, row.threads) for row in rows] == [("single_stream", 1), ("offline", 1)]
    assert call_cli("benchmark", bundle, *quick, "--checkpoint", tmp_path) == 2
    assert "--checkpoint needs PyTorch, which no device has" in capsys.readouterr().err
    assert call_cli("benchmark", bundle, "--device", "raspberry") == 2


def wheelhouse(tmp_path: Path) -> Path:
    """What `make` keeps for the tests, and pip's own wheel, which Python brings along."""
    import ensurepip

    folder = tmp_path / "wheels"
    shutil.copytree(Path(sys.prefix) / "wheelhouse", folder)
    for wheel in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
        shutil.copy(wheel, folder)
    return folder


def test_nothing_is_installed_unless_asked_and_then_into_a_folder_that_goes(
    sshd: Server, with_scores: Path, films: Path, options: Options, place: Path, tmp_path: Path
) -> None:
    bare = replace(options, python=str(script(tmp_path / "bare", f'exec {sys.executable} -S "$@"')), films=films)
    with pytest.raises(DeviceError, match=r"lacks click, msgspec, numpy, onnxruntime, pillow. Nothing is installed there unaskedly"):
        measure(with_scores, sshd.address, bare)
    report = measure(with_scores, sshd.address, replace(bare, install=wheelhouse(tmp_path)))
    assert report.drift is not None
    assert report.drift.verdict == "pass"
    assert set(report.latency.host.libraries) == {"numpy", "onnxruntime", "pillow"}  # no torch, no cxr-edge: the folder's own environment
    assert left(place) == []


def test_wheels_for_another_machine(sshd: Server, bundle: Path, options: Options, place: Path, tmp_path: Path) -> None:
    bare = replace(options, python=str(script(tmp_path / "bare", f'exec {sys.executable} -S "$@"')), install=tmp_path / "other")
    (tmp_path / "other").mkdir()
    for name in ("click-8.5.1-py3-none-any", "msgspec-0.22.0-cp311-cp311-manylinux_2_17_riscv64"):
        (tmp_path / "other" / f"{name}.whl").touch()
    with pytest.raises(DeviceError, match=r"is \w+ with Python 3.\d+, and .*other holds msgspec for another machine or Python"):
        measure(bundle, sshd.address, bare)
    assert left(place) == []


def test_the_digest_of_what_was_sent_is_ours(bundle: Path) -> None:
    from toolkit.devices.payload import pack, with_digests

    entries = with_digests(pack(bundle, Options()).entries)
    assert all(hashlib.sha256(entry.read()).hexdigest() == entry.sha256 for entry in entries)
