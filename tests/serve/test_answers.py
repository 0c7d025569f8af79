"""What is answered about films and the model."""

from __future__ import annotations

import base64
import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import Server, film_bytes, form
from toolkit import __version__
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.codec import decode_json, field_names
from toolkit.core.prediction import Prediction
from toolkit.infer.predictor import Predictor
from toolkit.serve.answers import Answer, describe
from toolkit.serve.settings import Limits


def expected(level: int) -> float:
    return 1 / (1 + math.exp(-(level - 128) / 10))


def test_a_raw_film_gets_a_prediction_with_the_promised_keys(server: Server, sealed: Path) -> None:
    reply = server.send(film_bytes(138))
    found = decode_json(reply.content, Answer, "answer")
    assert (reply.status, found.decision, found.label, found.error) == (200, "PNEUMONIA", "PNEUMONIA", None)
    assert found.probability == pytest.approx(expected(138), abs=1e-6)
    assert found.bundle_sha256 == Bundle(sealed).sha256
    assert set(field_names(Prediction)) == set(reply.json) - {"synthetic"}
    assert reply.json["synthetic"] is False


@pytest.mark.parametrize("name", ["film.png", "Übersicht 1.jpeg", "a;b.png", ""])
def test_a_form_gets_the_same_and_its_name_back(server: Server, name: str) -> None:
    content, kind = form(film_bytes(118), name)
    reply = server.ask("POST", "/predict", content, {"Content-Type": kind})
    assert (reply.status, reply.json["decision"], reply.json["path"]) == (200, "NORMAL", name)
    assert reply.json["probability"] == pytest.approx(expected(118), abs=1e-6)


def test_other_fields_of_a_form_are_passed_over(server: Server) -> None:
    other = b'--limit\r\nContent-Disposition: form-data; name="ward"\r\n\r\nseven\r\n'
    content, kind = form(film_bytes(138))
    reply = server.ask("POST", "/predict", other + content, {"Content-Type": kind})
    assert (reply.status, reply.json["decision"]) == (200, "PNEUMONIA")


def test_the_server_answers_what_predict_says(server: Server, sealed: Path) -> None:
    predictor, film = Predictor(Bundle(sealed)), film_bytes(131, "JPEG")
    said = msgspec.to_builtins(predictor.judge_bytes(film, "").prediction)
    answered = server.send(film).json
    del answered["synthetic"]
    assert {**answered, "ms": 0} == {**said, "ms": 0}


def test_a_heat_map_comes_where_it_is_asked_for(server: Server) -> None:
    with_map, without = server.send(film_bytes(138), "?heatmap=true").json, server.send(film_bytes(138), "?heatmap=false").json
    picture = Image.open(io.BytesIO(base64.b64decode(with_map["heatmap_png"])))
    assert (picture.format, picture.width > 400) == ("PNG", True)
    assert "heatmap_png" not in without
    assert with_map["probability"] == without["probability"]


@pytest.mark.parametrize(
    ("film", "why"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 no film", "is not a picture"),
        (film_bytes(138)[:-40], "is damaged or truncated"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 40, "DICOM"),
    ],
    ids=["empty", "wrong type", "truncated", "broken DICOM"],
)
@pytest.mark.parametrize("heat", ["false", "true"])
def test_a_file_that_cannot_be_used_is_rejected_with_the_reason(server: Server, film: bytes, why: str, heat: str) -> None:
    reply = server.send(film, f"?heatmap={heat}")
    assert (reply.status, reply.json["decision"], reply.json["label"], reply.json["probability"]) == (422, "REJECTED", None, None)
    assert why in reply.json["error"]
    assert "heatmap_png" not in reply.json


def test_many_clients_at_once_get_each_the_answer_to_its_own_film(server: Server) -> None:
    levels = [int(level) for level in np.linspace(90, 170, 36)]
    with ThreadPoolExecutor(len(levels)) as pool:
        replies = list(pool.map(lambda level: server.send(film_bytes(level), "?heatmap=true"), levels))
    assert [reply.status for reply in replies] == [200] * len(levels)
    assert [reply.json["probability"] for reply in replies] == pytest.approx([expected(level) for level in levels], abs=1e-6)


def test_health_and_model(server: Server, sealed: Path) -> None:
    bundle = Bundle(sealed)
    assert server.ask("GET", "/health").json == {"status": "ok", "busy": 0, "queue": 40}
    model = server.ask("GET", "/model").json
    assert model["name"] == "brightness"
    assert model["artifact"] == "onnxruntime-fp32"
    assert (model["threshold"], model["upload_bytes"], model["version"]) == (0.5, 32_000_000, __version__)
    assert (model["recall"], model["films"], model["synthetic"]) == (None, None, False)
    assert model["bundle_sha256"] == bundle.sha256
    assert "no diagnosis" in model["notice"]


def test_the_measured_rates_of_a_sealed_bundle_are_told() -> None:
    bundle = Bundle(Path(__file__).parents[2] / "exported" / "szanet")
    artifact = bundle.artifact("onnxruntime-fp32")
    found = describe(bundle, artifact, Limits())
    assert artifact.metrics is not None
    assert (found.recall, found.specificity, found.films) == (artifact.metrics.recall, artifact.metrics.specificity, artifact.metrics.n)
    assert found.attribution == bundle.manifest.attribution


def test_a_synthetic_bundle_says_so_everywhere(bundle: Path, tmp_path: Path) -> None:
    from tests.serve.conftest import running

    manifest = Bundle(bundle).manifest
    write_manifest(bundle, msgspec.structs.replace(manifest, provenance=msgspec.structs.replace(manifest.provenance, synthetic=True)))
    with running(bundle, tmp_path / "server") as started:
        assert started.ask("GET", "/model").json["synthetic"] is True
        assert started.send(film_bytes(138)).json["synthetic"] is True
        assert "trained on SYNTHETIC films" in started.errors.read_text()


def test_every_answer_forbids_what_it_does_not_need(server: Server) -> None:
    for path in ("/", "/health", "/model", "/openapi.json", "/nothing"):
        headers = server.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert not [name for name in headers if name.lower().startswith("access-control") or name.lower() == "server"]


def test_head_gives_the_headers_alone(server: Server) -> None:
    reply = server.ask("HEAD", "/model")
    assert (reply.status, reply.content) == (200, b"")
