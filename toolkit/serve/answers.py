"""What the server says, as types; the description in `openapi` is made of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.exceptions import HTTPException
from starlette.responses import Response

from toolkit import __version__
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen
from toolkit.core.labels import Labels
from toolkit.core.operating import Band
from toolkit.core.prediction import Prediction
from toolkit.serve.settings import Limits

NOTICE = (
    "A research tool and a screening aid. It gives no diagnosis, it is not a medical device, and it is no substitute for a person "
    "who reads films."
)


class Answer(Prediction, frozen=True, kw_only=True):
    """A prediction; `path` is the name that the client gave. `heatmap_png`: the film under its heat map, a PNG in base64, there only where
    it was asked for and the film was judged. `synthetic`: the model learnt from drawn films, so that the answer means nothing."""

    synthetic: bool = False
    heatmap_png: str | UnsetType = UNSET


class Model(Frozen, frozen=True, kw_only=True):
    """What judges here. `recall` and `specificity` were measured on `films` films of the bundle's test set; null where they were not."""

    name: str
    model: str
    artifact: str
    bundle_sha256: str
    version: str
    labels: Labels
    threshold: float
    band: Band | None
    recall: float | None
    specificity: float | None
    films: int | None
    size_px: int
    upload_bytes: int
    synthetic: bool
    notice: str
    attribution: str


class Health(Frozen, frozen=True, kw_only=True):
    """`busy` of `queue` places are taken. 'stuck': a film took longer than the server waits, and is still being judged."""

    status: Literal["ok", "stuck"]
    busy: int
    queue: int


class Failure(Frozen, frozen=True, kw_only=True):
    """Why there is no answer, and what to do."""

    error: str


def describe(bundle: Bundle, artifact: Artifact, limits: Limits) -> Model:
    """What `GET /model` says."""
    manifest, metrics = bundle.manifest, artifact.metrics
    return Model(
        name=manifest.name,
        model=manifest.model,
        artifact=artifact.name,
        bundle_sha256=bundle.sha256,
        version=__version__,
        labels=manifest.labels,
        threshold=artifact.operating.threshold,
        band=artifact.operating.band,
        recall=metrics.recall if metrics else None,
        specificity=metrics.specificity if metrics else None,
        films=metrics.n if metrics else None,
        size_px=manifest.preprocessing.size_px,
        upload_bytes=limits.upload_bytes,
        synthetic=manifest.provenance.synthetic,
        notice=NOTICE,
        attribution=manifest.attribution,
    )


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Any of the types above, or plain dicts, as JSON."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def refused(error: HTTPException) -> Response:
    """The answer to a request that gets none."""
    return json_response(Failure(error=error.detail), error.status_code, dict(error.headers or {}))
