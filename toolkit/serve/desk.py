"""Films one after another: a bounded number of requests, several decoders, one inference at a time."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
from starlette.exceptions import HTTPException

from toolkit.imaging.overlay import overlay_png
from toolkit.infer.predictor import Judged, Predictor, Wanted
from toolkit.infer.stream import attempt
from toolkit.serve.answers import Answer, Health
from toolkit.serve.settings import Limits
from toolkit.serve.upload import Upload

MOST_RETRY_S = 60


class Desk:
    """Takes films until all places are taken. A place is held from the first byte of a film until the film is judged, also when nobody
    waits for it any more."""

    def __init__(self, predictor: Predictor, limits: Limits, *, synthetic: bool) -> None:
        self._predictor, self._limits, self._synthetic = predictor, limits, synthetic
        self._decoders = ThreadPoolExecutor(limits.decoders, "decode")
        self._model = ThreadPoolExecutor(1, "infer")
        self._reading, self._overdue, self._last_s = 0, 0, 0.0
        self._work: set[asyncio.Task[Answer]] = set()

    @property
    def health(self) -> Health:
        """How many places are taken, and whether work goes on."""
        return Health(status="stuck" if self._overdue else "ok", busy=self._busy, queue=self._limits.queue)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold a place while a film arrives. Raises HTTPException 429 when all are taken, with the seconds that a full queue last took."""
        if self._busy >= self._limits.queue:
            wait_s = min(max(math.ceil(self._last_s), 1), MOST_RETRY_S)
            raise HTTPException(429, f"All {self._busy} places are taken; send the film again in {wait_s} s.", {"Retry-After": str(wait_s)})
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    async def judge(self, upload: Upload, *, heat: bool) -> Answer:
        """What is said of a film. Its place is taken over before anything is waited for. Raises HTTPException 503 when it is late."""
        work = asyncio.create_task(self._answer(upload, Wanted(heat=heat)))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        done, _ = await asyncio.wait({work}, timeout=self._limits.answer_s)
        if not done:
            self._overdue += 1
            work.add_done_callback(self._came_late)
            raise HTTPException(503, "The film could not be judged in time; look whether this machine is overloaded, and send it again.")
        return work.result()

    @property
    def _busy(self) -> int:
        return self._reading + len(self._work)

    def _came_late(self, work: asyncio.Task[Answer]) -> None:
        self._overdue -= 1
        if not work.cancelled():
            work.exception()  # seen, so that nothing of the film is printed

    async def _answer(self, upload: Upload, wanted: Wanted) -> Answer:
        started, run = time.perf_counter(), asyncio.get_running_loop().run_in_executor
        film = await run(self._decoders, attempt, self._predictor.prepare, upload.content)
        judged = await run(self._model, self._predictor.decide, upload.name, film, wanted)
        answer = await run(self._decoders, self._drawn, judged)
        self._last_s = time.perf_counter() - started
        return answer

    def _drawn(self, judged: Judged) -> Answer:
        said = Answer(**msgspec.structs.asdict(judged.prediction), synthetic=self._synthetic)
        if judged.film is None or judged.heat is None:
            return said
        picture = overlay_png(judged.film.pixels, judged.heat, self._predictor.labels.positive)
        return msgspec.structs.replace(said, heatmap_png=base64.b64encode(picture).decode())
