"""A real sshd on the loopback address, and what a device can be like."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.conftest import EDGE, make_bundle
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import REFERENCE_SCORES, Bundle, Reference, write_manifest
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import BenchmarkSpec
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.devices.payload import Options
from toolkit.devices.ssh import CONFIG
from toolkit.infer.predictor import open_session
from toolkit.validate.evaluate import judge
from toolkit.validate.scores import Scores, write_scores

SSHD = shutil.which("sshd") or next((str(path) for path in (Path("/usr/sbin/sshd"), Path("/sbin/sshd")) if path.is_file()), None)
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="openssh-server or openssh-client is not installed: apt-get install openssh-server"
)
QUICK = BenchmarkSpec(runs=5, warmup=1, threads=(1,), batches=(2,))
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 50
"""
CLIENT = """\
IdentityFile {folder}/user_key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile /dev/null
"""


def keygen(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def wait_for(ready: Callable[[], bool], seconds: float = 30) -> None:
    """Poll; the limit is only there so that a broken test ends."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Server:
    """A running sshd; `folder` holds its keys and configuration, `config` is the client's."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "client"

    def know(self, key: Path | None) -> None:
        """Make this the host key that the client knows; None makes the server a stranger."""
        kind, value = (key or self.folder / "host_key").with_suffix(".pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {value}\n" if key else "")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def start_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts servers; `path` is the PATH there. The client takes the configuration of the last one."""
    servers: list[Server] = []

    def start(path: str | None = None) -> Server:
        folder = tmp_path / f"sshd-{len(servers)}"
        folder.mkdir()
        keygen(folder / "host_key")
        key = keygen(folder / "user_key")
        shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        more = f'SetEnv "PATH={path}"\n' if path else ""
        (folder / "server").write_text(SERVER.format(port=port, folder=folder) + more)
        (folder / "client").write_text(CLIENT.format(folder=folder))
        assert SSHD
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "server")], stderr=subprocess.DEVNULL)
        server = Server(folder, port, process)
        servers.append(server)
        server.know(folder / "host_key")
        wait_for(lambda: listens(port))
        monkeypatch.setenv(CONFIG, str(server.config))
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(start_sshd: Callable[..., Server]) -> Server:
    return start_sshd()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a device has its temporary files; empty before and after each visit."""
    folder = tmp_path / "device tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def options(place: Path) -> Options:
    return Options(spec=QUICK, python=sys.executable, folder=str(place))


@pytest.fixture
def tools(tmp_path: Path) -> Callable[[Mapping[str, str]], str]:
    """A PATH with what a plain machine has, and no Python; each entry of the given table is a script of sh in place of a command."""

    def make(scripts: Mapping[str, str]) -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sh", "env", "df", "tail", "tar", "rm", "mkdir", "cat", "touch", "sleep"):
            real = shutil.which(name)
            assert real
            if name not in scripts:
                (folder / name).symlink_to(real)
        for name, text in scripts.items():
            script(folder / name, text)
        return str(folder)

    return make


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Sixteen flat films that the brightness graph tells apart, under names that no device may learn."""
    for name, levels in (("NORMAL", range(40, 72, 4)), ("PNEUMONIA", range(132, 196, 8))):
        folder = tmp_path / "films" / name
        folder.mkdir(parents=True)
        for level in levels:
            Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(folder / f"JaneDoe-{level}.png")
    return tmp_path / "films"


def sealed_bundle(folder: Path, films: Path, threshold: float = 0.5) -> Path:
    """A hand-made bundle whose artifact has this threshold, with reference scores: its own, at a threshold of .5."""
    bundle = Bundle(make_bundle(folder, threshold))
    artifact, source = bundle.manifest.artifacts[0], read_source(films)
    found = prepare_films(source, labelled_films(source), bundle.manifest.preprocessing, "read")
    logits = open_session(bundle, artifact).logits(found.images)
    scores, half = Scores.of(artifact.name, logits, artifact.operating), OperatingPoint()
    (folder / REFERENCE_SCORES).write_text(write_scores(found, Scores("dense", scores.probability, 0.5), (scores,)))
    metrics = judge("dense", found, logits, half, False)
    reference = Reference(model="none", operating=half, weights_sha256="0" * 64, films=len(found), metrics=metrics)
    manifest = msgspec.structs.replace(bundle.manifest, reference=reference, files=(FileEntry.of(folder, REFERENCE_SCORES),))
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def with_scores(tmp_path: Path, films: Path) -> Path:
    return sealed_bundle(tmp_path / "sealed", films)
