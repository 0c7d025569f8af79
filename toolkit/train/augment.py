"""Random changes of a batch of films, on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from toolkit.core.recipe import AugmentSpec


def augment(images: Tensor, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Shear, zoom and mirror each film by its own draw, as Keras' ImageDataGenerator does (edge pixels repeated).

    `images` float32 `[N, 1, H, W]`; same shape back. `generator` draws everything, so equal states give equal films.
    """
    if not (spec.shear_rad or spec.zoom or spec.flip):
        return images
    grid = affine_grid(draw_matrices(len(images), spec, generator).to(images.device), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_matrices(count: int, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Affine matrices `[count, 2, 3]` from output to input coordinates: shear after zoom, without shift."""
    shear, zoom_x, zoom_y = (_uniform(count, generator) for _ in range(3))
    shear, zoom_x, zoom_y = shear * spec.shear_rad, 1 + zoom_x * spec.zoom, 1 + zoom_y * spec.zoom
    mirrored = torch.rand(count, generator=generator) < 0.5 if spec.flip else torch.zeros(count, dtype=torch.bool)
    side = torch.where(mirrored, -1.0, 1.0)
    zero = torch.zeros(count)
    first = torch.stack([side * zoom_x, -torch.sin(shear) * zoom_y, zero], 1)
    second = torch.stack([zero, torch.cos(shear) * zoom_y, zero], 1)
    return torch.stack([first, second], 1)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    """Values in [-1, 1)."""
    return torch.rand(count, generator=generator) * 2 - 1
