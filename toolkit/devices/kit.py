"""A folder for a USB stick: bundle, runner, films, wheels, and one command that measures a machine without network."""

from __future__ import annotations

import time
from pathlib import Path

from toolkit.core.codec import encode_json
from toolkit.core.files import folder_written_whole
from toolkit.devices.job import FILMS, JOB, WHEELS, Job
from toolkit.devices.payload import Entry, Options, folder_entries, pack, with_digests
from toolkit.errors import InputError

RUN_PY = '''\
"""python3 run.py measures this machine and writes result-HOSTNAME.json beside this file. Nothing stays on the machine."""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0])
sys.dont_write_bytecode = True  # the stick stays as it was written
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "runner"))

from pathlib import Path

from toolkit.devices.on_stick import main

sys.exit(main(Path(__file__).resolve().parent))
'''
RUN_SH = """\
#!/bin/sh
# sh run.sh   looks for a Python that is new enough and measures this machine.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$here/run.py"
    fi
done
echo "Error: Python 3.11 or newer is needed on this machine." >&2
exit 2
"""
README = """\
Measures the model {name} on a machine without network.

    sh run.sh          (or: python3 run.py)

It checks this stick, copies the model to a temporary folder, measures for some minutes, and writes result-HOSTNAME.json beside this
file. Nothing stays on the machine. {wheels}{films}
In the workshop the result is read with:  cxr-edge report ... --add result-HOSTNAME.json
"""


def write_kit(bundle_path: Path, out: Path, options: Options) -> Path:
    """Write the kit to `out`, whole or not at all; `options` as of a visit, of which `python`, `folder` and `name` say nothing here.

    Raises InputError for a folder that holds something or wheels that are none, and what `pack` raises.
    """
    if out.is_mount():
        raise InputError(f"{out} is the stick itself; give a folder on it, such as {out / 'cxr-edge-kit'}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and holds something; read its results first, then remove it or give another folder.")
    entries = with_digests(_entries(bundle_path, options))
    with folder_written_whole(out) as folder:
        for entry in entries:
            file = folder / entry.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(entry.read())
    return out


def _entries(bundle_path: Path, options: Options) -> list[Entry]:
    package = pack(bundle_path, options)
    wheels = folder_entries(options.install, WHEELS, "*.whl") if options.install else []
    if options.install and not wheels:
        raise InputError(f"{options.install} holds no wheel; gather them with cxr-edge devices wheels.")
    job = Job(
        device="",
        benchmark=options.spec,
        artifacts=options.artifacts,
        films=FILMS if options.films else None,
        written_unix_s=time.time(),
    )
    about = README.format(
        name=package.bundle.manifest.name,
        wheels="Packages that it lacks are installed into that folder, from the stick. " if wheels else "It needs cxr-edge's packages. ",
        films="The films on it bear their digest as name." if options.films else "",
    )
    texts = {JOB: encode_json(job), "run.py": RUN_PY.encode(), "run.sh": RUN_SH.encode(), "README.txt": about.encode()}
    return [*package.entries, *wheels, *(Entry.of_bytes(name, data) for name, data in texts.items())]
