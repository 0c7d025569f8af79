"""`cxr-edge serve` under many clients at once, killed and started again, and stopped.

    python -m benchmarks.serve_load BUNDLE [SECONDS [CLIENTS]]

CLIENTS (32) send drawn films for SECONDS (120), each as soon as its last one is answered, one in HEAT_EVERY with a heat map, one in
BROKEN_EVERY no whole film; a client that is told to come again waits as long as it is told. Every answer is held against what the predictor
says of that film in this process. Then twice for a tenth of the time: the server is killed (SIGKILL) half-way and started again on its
port, and it is stopped (SIGTERM) half-way. Clients, server and model share the machine. Prints, and keeps in
docs/results/serve_load.json; exit code 1 when an answer was wrong, when a status came that is neither an answer nor 429, when a connection
was lost or an answer cut off that no signal excuses, when memory grew by more than MOST_GROWTH_MB from the second quarter to the last, or
when a file was left in the server's temporary folder.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import psutil

from toolkit.benchmark.host import describe_host
from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.data.phantom import draw_film
from toolkit.errors import CxrEdgeError
from toolkit.infer.predictor import Predictor

OUT = Path(__file__).parent.parent / "docs" / "results" / "serve_load.json"
SECONDS, CLIENTS = 120.0, 32
FILMS, FILM_PX = 12, 1024
HEAT_EVERY, BROKEN_EVERY = 4, 10
TOLERANCE = 1e-6  # of a probability
MOST_GROWTH_MB = 8.0
WAIT_S = 90
ANSWERS = ("200", "422")
LOST, CUT, WRONG = "no connection", "cut off", "wrong"


class Case(NamedTuple):
    """What is sent, and the probability that must come back; None where the file must be rejected."""

    content: bytes
    probability: float | None


class Memory(Frozen, frozen=True, kw_only=True):
    """Resident megabytes of the server: when it had judged one film, the mean of each quarter of the load, and when all was answered."""

    before: float
    quarters: tuple[float, ...]
    after: float


class Load(Frozen, frozen=True, kw_only=True):
    """Answers by status, and by what was wrong with them; the times are those of answers, as a client waits for them, with
    heat maps and without."""

    seconds: float
    answers: dict[str, int]
    films_per_s: float
    p50_ms: float | None
    p99_ms: float | None


class Report(Frozen, frozen=True, kw_only=True):
    """One bundle on one machine. `left_files`: in the server's temporary folder after all of it. `stop_code`: exit code at SIGTERM."""

    bundle: str
    artifact: str
    processor: str
    cores: int
    clients: int
    film_bytes: int
    load: Load
    memory: Memory
    killed: Load
    stopped: Load
    stop_code: int
    left_files: int


class Server:
    """A server in a process of its own, which can be killed and started again on the same port."""

    def __init__(self, bundle: Path, temporary: Path) -> None:
        self._bundle, self._temporary, self.port = bundle, temporary, 0
        self.process = self._started()

    def start_again(self) -> None:
        """After the process has ended."""
        self.process = self._started()

    def resident_mb(self) -> float:
        """Of the process now."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    def _started(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "toolkit.cli", "serve", str(self._bundle), "--port", str(self.port)]
        environment = {**os.environ, "TMPDIR": str(self._temporary)}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        assert process.stdout is not None
        said = process.stdout.readline()
        if "http://" not in said:
            sys.exit("The server did not start; start it by hand to see why: cxr-edge serve BUNDLE.")
        self.port = int(said.split("http://")[1].split("/")[0].rpartition(":")[2])
        return process


class Client:
    """Sends one film after another over a connection that it keeps."""

    def __init__(self, port: int, cases: list[Case], seed: int) -> None:
        self._port, self._cases, self._random = port, cases, random.Random(seed)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self.answers: Counter[str] = Counter()
        self.times_ms: list[float] = []

    def run(self, until: float) -> Client:
        """Until a time of `time.monotonic`."""
        while time.monotonic() < until:
            heat = self._random.randrange(HEAT_EVERY) == 0
            case = self._cases[-1] if self._random.randrange(BROKEN_EVERY) == 0 else self._random.choice(self._cases[:-1])
            self.answers[self._one(case, heat)] += 1
        self._connection.close()
        return self

    def _one(self, case: Case, heat: bool) -> str:
        started = time.perf_counter()
        try:
            self._connection.request("POST", f"/predict?heatmap={str(heat).lower()}", case.content)
            answer = self._connection.getresponse()
            content = answer.read()
        except http.client.IncompleteRead:
            return self._again(CUT)
        except (OSError, http.client.HTTPException):
            return self._again(LOST)
        if answer.status == http.HTTPStatus.TOO_MANY_REQUESTS:
            time.sleep(int(answer.headers["Retry-After"]))
        elif str(answer.status) in ANSWERS:
            self.times_ms.append((time.perf_counter() - started) * 1000)
            return str(answer.status) if _is_right(content, answer.status, case, heat) else WRONG
        return str(answer.status)

    def _again(self, what: str) -> str:
        """The next one goes over a new connection."""
        self._connection.close()
        time.sleep(0.05)
        return what


def _is_right(content: bytes, status: int, case: Case, heat: bool) -> bool:
    try:
        found = json.loads(content)
    except ValueError:
        return False
    if case.probability is None:
        return status == http.HTTPStatus.UNPROCESSABLE_ENTITY and found["decision"] == "REJECTED"
    return abs(found["probability"] - case.probability) < TOLERANCE and ("heatmap_png" in found) == heat


def cases_of(predictor: Predictor) -> list[Case]:
    """Drawn films with what the predictor says of them; the last one is no film."""
    found = []
    for number in range(FILMS):
        stream = io.BytesIO()
        draw_film(("normal", "bacteria", "virus")[number % 3], FILM_PX, (number,)).save(stream, "JPEG", quality=90)
        found.append(Case(stream.getvalue(), predictor.judge_bytes(stream.getvalue(), "").prediction.probability))
    return [*found, Case(found[0].content[:-2000], None)]


def load(server: Server, cases: list[Case], clients: int, seconds: float, meanwhile: Callable[[float], None]) -> Load:
    """All clients for so long; `meanwhile` is called in a thread with the seconds, and waited for."""
    until = time.monotonic() + seconds
    side = threading.Thread(target=meanwhile, args=(seconds,))
    side.start()
    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(lambda seed: Client(server.port, cases, seed).run(until), range(clients)))
    side.join()
    times = [ms for one in done for ms in one.times_ms]
    answers = sum((one.answers for one in done), Counter[str]())
    return Load(
        seconds=seconds,
        answers=dict(sorted(answers.items())),
        films_per_s=sum(answers[status] for status in ANSWERS) / seconds,
        p50_ms=_percentile(times, 50),
        p99_ms=_percentile(times, 99),
    )


def _percentile(times: list[float], percent: int) -> float | None:
    return float(np.percentile(times, percent)) if len(times) * (100 - percent) >= 1000 else None  # ten lie beyond it


def measure(bundle: Bundle, seconds: float, clients: int) -> Report:
    """The load, then both ends."""
    predictor = Predictor(bundle)
    cases = cases_of(predictor)
    with TemporaryDirectory() as folder, _server(bundle.folder, Path(folder)) as server:
        Client(server.port, cases, 0).run(time.monotonic() + 0.1)
        before, samples = server.resident_mb(), list[float]()
        whole = load(server, cases, clients, seconds, lambda for_s: _sample(server, for_s, samples))
        quarters = tuple(float(np.mean(part)) for part in np.array_split(samples, 4))
        memory = Memory(before=before, quarters=quarters, after=server.resident_mb())
        killed = load(server, cases, clients, seconds / 10, lambda for_s: _kill(server, for_s))
        stopped = load(server, cases, clients, seconds / 10, lambda for_s: _stop(server, for_s))
        code, left = server.process.wait(WAIT_S), sum(1 for _ in Path(folder).rglob("*"))
    host = describe_host()
    return Report(
        bundle=bundle.manifest.name,
        artifact=predictor.artifact.name,
        processor=host.processor,
        cores=host.cores,
        clients=clients,
        film_bytes=round(np.mean([len(case.content) for case in cases[:-1]])),
        load=whole,
        memory=memory,
        killed=killed,
        stopped=stopped,
        stop_code=code,
        left_files=left,
    )


@contextmanager
def _server(bundle: Path, temporary: Path) -> Iterator[Server]:
    server = Server(bundle, temporary)
    try:
        yield server
    finally:
        server.process.kill()


def _sample(server: Server, seconds: float, samples: list[float]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        samples.append(server.resident_mb())
        time.sleep(seconds / 120)


def _kill(server: Server, seconds: float) -> None:
    time.sleep(seconds / 2)
    server.process.kill()
    server.process.wait()
    server.start_again()


def _stop(server: Server, seconds: float) -> None:
    time.sleep(seconds / 2)
    server.process.send_signal(signal.SIGTERM)


def faults(report: Report) -> list[str]:
    """What does not hold."""
    found = [
        f"{where}: {count} times {status}"
        for where, one, allowed in (
            ("load", report.load, {*ANSWERS, "429"}),
            ("killed", report.killed, {*ANSWERS, "429", LOST, CUT}),
            ("stopped", report.stopped, {*ANSWERS, "429", LOST}),
        )
        for status, count in one.answers.items()
        if status not in allowed
    ]
    growth = report.memory.quarters[-1] - report.memory.quarters[1]
    if growth > MOST_GROWTH_MB:
        found.append(f"memory grew by {growth:.1f} MB from the second quarter to the last")
    if report.left_files:
        found.append(f"{report.left_files} files were left in the temporary folder")
    if report.stop_code:
        found.append(f"exit code {report.stop_code} at SIGTERM")
    return found


def main() -> None:
    """What the command line says."""
    folder, *numbers = sys.argv[1:]
    try:
        report = measure(Bundle(Path(folder)), float(numbers[0]) if numbers else SECONDS, int(numbers[1]) if len(numbers) > 1 else CLIENTS)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    raw = encode_json(report)
    write_atomically(OUT, raw)
    print(raw.decode())
    found = faults(report)
    print("; ".join(found) or "All of it holds.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
