"""A published backbone under a head of our own: the form of all transfer learning here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from toolkit.models.logit import one_logit

Weights = Mapping[str, Tensor]
Place = Callable[[str], str | None]


class Transfer(nn.Module):
    """`backbone` gives features `[N, F]` (its own classifier is taken out), `head` one or two units, the result is one logit.

    `place` tells where a tensor of published weights belongs in this network, None when it is of the classifier that was taken out.
    `imagenet` downloads the published ImageNet weights; None where there are none.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, place: Place, imagenet: Callable[[], Weights] | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.place = place
        self.imagenet = imagenet

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 3, size, size]` in the scale that the weights were made for -> logits `[N]`."""
        features = self.backbone(image)  # [N, F]
        return one_logit(self.head(features))


def without(*classifier: str) -> Place:
    """Published names that begin so are left out; all others are the backbone's."""

    def place(name: str) -> str | None:
        return None if name.startswith(classifier) else f"backbone.{name}"

    return place


def dense_head(widths: tuple[int, ...], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers through `widths`, the last without activation, ReLU and dropout between the others."""
    layers: list[nn.Module] = []
    for place, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(width_in, width_out))
        if place < len(widths) - 2:
            layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
    return nn.Sequential(*layers)
