"""The two classes and which of them is the positive one."""

from __future__ import annotations

from toolkit.core.codec import Frozen


class Labels(Frozen, frozen=True, kw_only=True):
    """Names of the classes; the label 1 and the probability belong to `positive`."""

    negative: str = "NORMAL"
    positive: str = "PNEUMONIA"

    def __post_init__(self) -> None:
        if self.negative == self.positive:
            raise ValueError(f"both classes are named '{self.positive}'")

    @property
    def names(self) -> tuple[str, str]:
        """Names in the order of their numbers: 0, 1."""
        return (self.negative, self.positive)

    def number(self, name: str) -> int:
        """0 for the negative class, 1 for the positive one."""
        return self.names.index(name)
