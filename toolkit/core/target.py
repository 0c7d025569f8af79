"""Where an artifact runs: backend, precision, processor family."""

from __future__ import annotations

from typing import Literal

from toolkit.core.codec import Frozen
from toolkit.errors import RecipeError

Backend = Literal["onnxruntime", "openvino"]
Precision = Literal["fp32", "fp16w", "int8"]
ArtifactName = Literal["onnxruntime-fp32", "onnxruntime-fp16w", "onnxruntime-int8", "openvino-fp32", "openvino-fp16w", "openvino-int8"]


class Target(Frozen, frozen=True, kw_only=True):
    """A runtime and an arithmetic.

    `fp32` is plain single precision, `fp16w` stores the weights in half precision and calculates in single,
    `int8` has quantized weights and activations.
    """

    backend: Backend
    precision: Precision

    @property
    def name(self) -> ArtifactName:
        """The artifact's name, such as 'onnxruntime-int8'."""
        return f"{self.backend}-{self.precision}"  # type: ignore[return-value]

    @classmethod
    def from_name(cls, name: str) -> Target:
        """The target of an artifact's name; raises RecipeError for a name of another form."""
        backend, _, precision = name.partition("-")
        if backend not in ("onnxruntime", "openvino") or precision not in ("fp32", "fp16w", "int8"):
            raise RecipeError(f"'{name}' is not a target; expected BACKEND-PRECISION such as onnxruntime-int8.")
        return cls(backend=backend, precision=precision)  # type: ignore[arg-type]
