"""One device: look, copy, check, measure, fetch, clean up. Nothing is installed there unless wheels are given."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from toolkit.core.codec import encode_json
from toolkit.core.privacy import QUIET
from toolkit.core.reports import DeviceReport
from toolkit.devices import digests
from toolkit.devices.address import name_of, parse_address
from toolkit.devices.folder import private_folder
from toolkit.devices.guard import LOST
from toolkit.devices.job import BUNDLE, FILM, FILMS, JOB, MAX_RESULT_BYTES, RESULT, RUNNER, WHEELS, Job, parse_result
from toolkit.devices.look import Seen, look, refuse_full
from toolkit.devices.payload import Entry, Options, Package, folder_entries, pack, total_bytes, with_digests, write_tar
from toolkit.devices.shell import Request, Shell, local, text
from toolkit.devices.ssh import ssh_shell
from toolkit.devices.verdict import judged, refuse_foreign
from toolkit.devices.wheels import misfit
from toolkit.errors import DeviceError

OFF_S = 300.0
WORK_S = 6 * 3600
SEND_S = 6 * 3600
logger = logging.getLogger(__name__)


def measure(bundle_path: Path, address: str, options: Options) -> DeviceReport:
    """Measure a bundle on the device at `address` ('local' or ssh://user@host[:port]), judge its drift where films are given.

    Raises InputError for an address or a bundle that is none, BundleError for a damaged bundle, DataError for films that cannot be judged
    on, DeviceError with one sentence when the device cannot do it, is lost in the middle or sends back no result.
    """
    return visit(pack(bundle_path, options), open_shell(address, options.name), options)


def open_shell(address: str, name: str | None = None) -> Shell:
    """A shell at an address."""
    place = parse_address(address)
    return local(name or name_of(address)) if place is None else ssh_shell(place, name)


def visit(package: Package, shell: Shell, options: Options) -> DeviceReport:
    """The whole visit, of what is packed already."""
    logger.info("%s: looking", shell.where)
    seen = look(shell, options)
    entries = with_digests([*package.entries, *_wheels(shell, seen, options), _job(shell, options)])
    refuse_full(shell, seen, entries)
    with private_folder(shell, seen.base) as folder:
        logger.info("%s: copying %.1f MB", shell.where, total_bytes(entries) / 1e6)
        send(shell, folder, entries)
        check(shell, folder, entries[-1].sha256, options.python)
        python = _install(shell, folder, options.python) if _needs_wheels(seen, options) else options.python
        logger.info("%s: measuring", shell.where)
        raw = work(shell, folder, python)
    report = parse_result(raw, f"the result of {shell.where}")
    return _finished(msgspec.structs.replace(report, device=shell.where), package, options, seen)


def _needs_wheels(seen: Seen, options: Options) -> bool:
    return bool(seen.found.lacking) and options.install is not None


def _wheels(shell: Shell, seen: Seen, options: Options) -> list[Entry]:
    """The wheels, where the device lacks packages and they are for it."""
    if not _needs_wheels(seen, options) or options.install is None:
        return []
    entries = folder_entries(options.install, WHEELS, "*.whl")
    found = seen.found
    reason = misfit([entry.name.rpartition("/")[2] for entry in entries], found.machine, found.python[:2])
    if reason:
        version = ".".join(map(str, found.python[:2]))
        raise DeviceError(f"{shell.where} is {found.machine} with Python {version}, and {options.install} {reason}.")
    return entries


def _job(shell: Shell, options: Options) -> Entry:
    films, film = (FILMS if options.films else None), (FILM if options.film else None)
    job = Job(device=shell.where, benchmark=options.spec, artifacts=options.artifacts, bundle=BUNDLE, films=films, film=film)
    return Entry.of_bytes(JOB, encode_json(job))


def send(shell: Shell, folder: str, entries: Sequence[Entry]) -> None:
    """Copy all entries in one stream of tar."""
    command = f"umask 077; tar -x -o -f - -C {shlex.quote(folder)}"
    answer = shell.run(Request(command, feed=partial(write_tar, entries), limit_s=SEND_S))
    if answer.code:
        full = " Its disk is full: make room there, or name another place with --folder." if "No space left" in answer.err else ""
        raise DeviceError(f"{shell.where} could not take the files: {answer.reason}.{full}")


def check(shell: Shell, folder: str, list_sha256: str, python: str) -> None:
    """Compare every file's digest there with ours; the list of digests is held against its own digest first."""
    source = Path(digests.__file__).read_bytes()
    command = f"PYTHONSAFEPATH=1 {shlex.quote(python)} - {shlex.quote(folder)} {list_sha256}"
    answer = shell.run(Request(command, feed=text(source), limit_s=3600))
    if answer.code == digests.DAMAGED:
        raise DeviceError(f"{shell.where}: {answer.reason}. Nothing was run there; try again.")
    if answer.code:
        raise DeviceError(f"{shell.where}: the digests could not be checked ({answer.reason}).")


def work(shell: Shell, folder: str, python: str) -> bytes:
    """Run the job there under guard; gives the result's bytes."""
    run = _guarded(folder, python, (python, "-m", "toolkit.devices.on_device", f"{folder}/{JOB}", f"{folder}/{RESULT}"))
    answer = shell.run(Request(f"{run} && cat {shlex.quote(f'{folder}/{RESULT}')}", None, True, WORK_S, MAX_RESULT_BYTES))
    if answer.code == LOST:
        raise DeviceError(f"{shell.where} was lost in the middle of the work.")
    if answer.code:
        raise DeviceError(f"{shell.where} could not measure: {answer.reason}")
    return answer.out


def _install(shell: Shell, folder: str, python: str) -> str:
    """An environment from the wheels in the private folder; gives its Python."""
    logger.info("%s: installing into %s", shell.where, folder)
    place = f"{folder}/venv"
    command = _guarded(folder, python, (python, "-m", "toolkit.devices.install", f"{folder}/{WHEELS}", place))
    answer = shell.run(Request(command, hold=True, limit_s=3600))
    if answer.code:
        raise DeviceError(f"{shell.where}: {answer.reason}")
    return f"{place}/bin/python"


def _guarded(folder: str, python: str, words: Sequence[str]) -> str:
    """A command of sh that runs `words` with the runner that was sent, its temporary files in the private folder."""
    guard = (python, "-m", "toolkit.devices.guard", folder, *words)
    quiet = (f"{name}={value}" for name, value in QUIET.items())
    environment = (f"PYTHONPATH={folder}/{RUNNER}", "PYTHONSAFEPATH=1", f"TMPDIR={folder}/tmp", *quiet)
    return shlex.join(("env", *environment, *guard))


def _finished(report: DeviceReport, package: Package, options: Options, seen: Seen) -> DeviceReport:
    """Under its name, with what the visit itself saw, and with a verdict where films were sent."""
    problems = list(report.problems)
    if abs(seen.clock_off_s) > OFF_S:
        way = "ahead" if seen.clock_off_s > 0 else "behind"
        problems.append(f"The clock is {abs(seen.clock_off_s) / 60:.0f} minutes {way} of ours; 'taken' is by that clock.")
    report = msgspec.structs.replace(report, problems=tuple(problems))
    refuse_foreign(report, package.bundle)
    if not report.latency.rows:
        reasons = "; ".join(f"{one.artifact}: {one.reason}" for one in report.latency.skipped)
        raise DeviceError(f"{report.device} can run no artifact of {package.bundle.folder}. {reasons}.")
    if options.films is None:
        return msgspec.structs.replace(report, scores={}, unusable={})
    if not report.scores:
        return msgspec.structs.replace(report, problems=(*report.problems, "No verdict on drift: no film was scored there."))
    return judged(report, package.bundle, package.cases, options.gate)
