"""What is said of one film. JSON keys are promised to scripts."""

from __future__ import annotations

from toolkit.core.codec import Frozen


class Prediction(Frozen, frozen=True, kw_only=True):
    """What is said of one film. `label` is the side of the threshold that it falls on; `decision` is the label, or UNCERTAIN inside the
    artifact's band. A file that cannot be used, or a picture that is no usable frontal chest film, is REJECTED: `error` says why, label and
    probability are null. `ms`: decoding and inference. `bundle_sha256`: of the bundle's manifest. `heatmap` and
    `secondary_capture`: where they were written.
    """

    path: str
    label: str | None
    probability: float | None
    threshold: float
    decision: str
    artifact: str
    ms: float
    error: str | None = None
    bundle_sha256: str = ""
    heatmap: str | None = None
    secondary_capture: str | None = None
