"""OpenSSH's `ssh` with the user's own configuration, and one sentence for each way in which it fails."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from toolkit.devices.address import Address
from toolkit.devices.shell import Answer, Request, Shell
from toolkit.errors import DeviceError

CONFIG = "CXR_EDGE_SSH_CONFIG"  # a file for `ssh -F`, in place of the user's own
FAILED = 255  # ssh's own exit code
# Over the user's configuration: nobody is asked anything, no key is accepted unseen, nothing of ours is lent to the device.
OPTIONS: Mapping[str, str] = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "15",
    "ConnectionAttempts": "1",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "ControlMaster": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "LogLevel": "ERROR",
}
# What ssh says -> what is the matter and what to do. The first that is found counts.
FAILURES: Sequence[tuple[str, str]] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "shows another host key than the one that is known: it was set up anew, or somebody stands between. Nothing was sent. Ask its "
        "keeper for the fingerprint; only then remove the old key (ssh-keygen -R HOST) and connect once by hand",
    ),
    (r"REVOKED HOST KEY|has been revoked", "shows a host key that was revoked. Nothing was sent"),
    (
        r"Host key verification failed|host key is known for|authenticity of host",
        "is not known yet: its host key was never accepted. Connect once by hand with ssh and compare the fingerprint",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods|no mutual signature",
        "refuses the key: put your public key into ~/.ssh/authorized_keys there (ssh-copy-id), or name the right one in ~/.ssh/config",
    ),
    (r"Could not resolve hostname", "is a name that nobody knows: check it, or write the address in numbers"),
    (
        r"connect to host .*(refused|timed out|No route|unreachable|Invalid argument)|timed out during banner|Operation timed out",
        "cannot be reached: is it switched on, in this network, and does its SSH server run on that port",
    ),
    (
        r"Bad configuration option|Bad owner or permissions|terminating, \d+ bad|Can't open user config",
        "was not tried: ssh refuses its configuration",
    ),
    (
        r"kex_exchange_identification|banner exchange|Unable to negotiate|Connection (reset|closed) by",
        "ended the connection before it began",
    ),
)


def ssh_shell(address: Address, called: str | None = None) -> Shell:
    """A shell on a device; `called` is what messages call it, by default its address."""
    return SshShell(command(address), called or address.name, {**os.environ, "LC_ALL": "C"})


def command(address: Address) -> tuple[str, ...]:
    """`ssh` with everything but the command."""
    config = os.environ.get(CONFIG)
    words = ["ssh", "-T", *(("-F", config) if config else ())]
    for name, value in OPTIONS.items():
        words += ["-o", f"{name}={value}"]
    words += ["-p", str(address.port)] if address.port else []
    words += ["-l", address.user] if address.user else []
    return (*words, "--", address.host)


class SshShell(Shell):
    """Raises DeviceError with one clear sentence when the connection fails or is cut."""

    def run(self, request: Request) -> Answer:
        """As Shell.run."""
        answer = super().run(request)
        if answer.code == FAILED:
            raise DeviceError(explain(self.where, answer))
        return answer


def explain(where: str, answer: Answer) -> str:
    """One sentence on why ssh itself failed, then its own words where they add something."""
    if answer.started:
        return f"{where} was lost in the middle of the work: the connection was cut ({answer.reason})."
    for pattern, sentence in FAILURES:
        if re.search(pattern, answer.err):
            return f"{where} {sentence} ({answer.reason})."
    return f"{where} cannot be used: {answer.reason}."
