"""Decode drift: does a film get the same score as PNG, JPEG, 16-bit grey, DICOM, or decoded at reduced scale?

Each film is decoded as it came, written in each form, decoded and prepared as in the clinic, and scored; differences are against the
film as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from toolkit.core.drift import DecodeDrift, FormDrift
from toolkit.core.evaluation import Verdict
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import DataError, ImageError
from toolkit.imaging.decode import Pixels, decode_grey
from toolkit.imaging.encode import ENCODERS
from toolkit.imaging.prepare import least_px, prepare, prepare_raw
from toolkit.infer.predictor import Predictor
from toolkit.validate.evaluate import session_logits

Logits = NDArray[np.float32]


class Limit(NamedTuple):
    """Absolute logit differences that a form may make; 0 also asks for identical pixels at full size."""

    mean: float
    largest: float


class Form(NamedTuple):
    """How a film is written (`imaging.encode.ENCODERS`), whether a JPEG of it is decoded at reduced scale, what that may change."""

    written: str
    limit: Limit
    reduced: bool = False


# At least 1.6 times what exported/szanet measured on 60 films (docs/results/decode_drift.json), the worse of onnxruntime-fp16w and -int8,
# whose logits have steps of .07.
EXACT = Limit(0.0, 0.0)
FORMS: Mapping[str, Form] = {
    "png": Form("png", EXACT),
    "png16": Form("png16", EXACT),
    "dicom8": Form("dicom8", EXACT),
    "dicom16": Form("dicom16", EXACT),
    "dicom16-monochrome1": Form("dicom16-monochrome1", EXACT),
    "jpeg-95": Form("jpeg-95", Limit(0.04, 0.15)),
    "jpeg-90": Form("jpeg-90", Limit(0.04, 0.15)),
    "jpeg-75": Form("jpeg-75", Limit(0.04, 0.15)),
    "jpeg-95-reduced": Form("jpeg-95", Limit(0.05, 0.15), reduced=True),
}
TWINS = Limit(0.25, 0.6)  # the same film squashed to the network's size by someone else, once, and compressed again


def measure(predictor: Predictor, films: Mapping[str, bytes | Pixels], forms: Sequence[str] = tuple(FORMS)) -> DecodeDrift:
    """Score films, by name a file's bytes or grey pixels uint8 `[H, W]`, in each form.

    Raises DataError when there is no film or one cannot be decoded, MissingDependencyError for DICOM without pydicom.
    """
    if not films:
        raise DataError("There is no film to write in other forms; give at least one.")
    prepared: dict[str, list[Pixels]] = {form: [] for form in ("as it came", *forms)}
    identical = dict.fromkeys(forms, 0)
    for name, raw in films.items():
        try:
            grey = np.asarray(decode_grey(raw)) if isinstance(raw, bytes) else raw  # [H, W]
        except ImageError as cause:
            raise DataError(f"{name} {cause}; leave it out.") from cause
        prepared["as it came"].append(prepare_raw(grey, predictor.preprocessing))
        for form in forms:
            image, same = _through(grey, FORMS[form], predictor.preprocessing)
            prepared[form].append(image)
            identical[form] += same
    logits = {form: session_logits(predictor.session, np.stack(images)[:, None], form) for form, images in prepared.items()}
    before, point = logits.pop("as it came"), predictor.artifact.operating
    rows = tuple(compare(form, tuple(films), (before, after), point, FORMS[form].limit, identical[form]) for form, after in logits.items())
    verdict: Verdict = "pass" if all(row.verdict == "pass" for row in rows) else "fail"
    return DecodeDrift(artifact=predictor.artifact.name, films=len(films), rows=rows, verdict=verdict)


def compare(
    form: str, names: Sequence[str], logits: tuple[Logits, Logits], point: OperatingPoint, limit: Limit, identical: int | None = None
) -> FormDrift:
    """Logits `[N]` before and after; an exact form must have every film in `identical` too."""
    before, after = (values.astype(np.float64) for values in logits)
    moved, shifted = np.abs(after - before), np.abs(point.probability(after) - point.probability(before))
    called = [point.probability(values) >= point.threshold for values in (before, after)]
    mean, largest = float(moved.mean()), float(moved.max())
    reason = _reason(len(names), identical, Limit(mean, largest), limit)
    return FormDrift(
        form=form,
        films=len(names),
        identical=identical,
        mean_logit=mean,
        largest_logit=largest,
        mean_probability=float(shifted.mean()),
        largest_probability=float(shifted.max()),
        changed=tuple(names[row] for row in np.flatnonzero(called[0] != called[1]).tolist()),
        limit_mean_logit=limit.mean,
        limit_largest_logit=limit.largest,
        verdict="fail" if reason else "pass",
        reason=reason,
    )


def _through(grey: Pixels, form: Form, preprocessing: Preprocessing) -> tuple[Pixels, bool]:
    """A film written, decoded and prepared, uint8 `[size, size]`; whether decoding gave the same pixels back."""
    asked = msgspec.structs.replace(preprocessing, decode="reduced") if form.reduced else preprocessing
    picture = decode_grey(ENCODERS[form.written](grey), least_px(asked))
    return prepare(picture, preprocessing), np.array_equal(np.asarray(picture), grey)


def _reason(films: int, identical: int | None, found: Limit, limit: Limit) -> str:
    """What is beyond its limit, also when it is not a number; empty when nothing is."""
    if limit == EXACT and identical is not None and identical != films:
        return f"{films - identical} of {films} films come back with other pixels"
    beyond = [
        f"the {which} logit difference is {value:.3g}, limit {most:g}"
        for which, value, most in zip(Limit._fields, found, limit, strict=True)
        if not value <= most
    ]
    return "; ".join(beyond)
