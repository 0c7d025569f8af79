"""Random changes of a batch of films, on the device that trains: one affine map for all geometry, then the tones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from toolkit.core.recipe import AugmentSpec
from toolkit.data.films import Films

WHITE = 255.0
PIECE = 256  # films that are changed together
ERASED_SHARE = (0.1, 0.35)  # of the edge


def augment(images: Tensor, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Change each film by its own draw. `images` float32 `[N, 1, H, W]` of 0..255; the same shape and range back.

    `generator` (on the CPU) draws everything, so equal states give equal films. Edge pixels are repeated where a film is moved away.
    """
    if spec.shear_rad or spec.zoom or spec.flip or spec.rotate_deg or spec.shift or spec.aspect or spec.crop != (1.0, 1.0):
        grid = affine_grid(draw_matrices(len(images), spec, generator).to(images.device), list(images.shape), align_corners=False)
        images = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if spec.gamma or spec.contrast or spec.brightness:
        images = _tones(images, spec, generator)
    if spec.blur_px:
        images = _blur(images, spec.blur_px, generator)
    if spec.noise:
        images = _noise(images, spec.noise, generator)
    return _erase(images, spec.erase, generator) if spec.erase else images


def changed_once(films: Films, spec: AugmentSpec) -> Films:
    """The same films, each changed by one fixed draw: equal in every run, on every machine. In memory."""
    if spec == AugmentSpec():
        return films
    generator = torch.Generator().manual_seed(0)
    images = np.empty_like(films.images)
    for start in range(0, len(films), PIECE):
        piece = torch.from_numpy(films.images[start : start + PIECE]).float()
        images[start : start + PIECE] = augment(piece, spec, generator).round_().to(torch.uint8).numpy()
    return Films(images, films.labels, films.cases)


def draw_matrices(count: int, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Affine matrices `[count, 2, 3]` from output to input coordinates (both -1 to 1): shear after zoom, as Keras'
    ImageDataGenerator has it, then rotation, then the window that is seen."""
    shear, zoom_x, zoom_y = (_uniform(count, generator) for _ in range(3))
    shear, zoom_x, zoom_y = shear * spec.shear_rad, 1 + zoom_x * spec.zoom, 1 + zoom_y * spec.zoom
    mirrored = torch.rand(count, generator=generator) < 0.5 if spec.flip else torch.zeros(count, dtype=torch.bool)
    side = torch.where(mirrored, -1.0, 1.0)
    stretch = _log_uniform(count, spec.aspect, generator).sqrt()
    seen = spec.crop[0] + (spec.crop[1] - spec.crop[0]) * torch.rand(count, generator=generator)
    zero = torch.zeros(count)
    first = torch.stack([side * zoom_x, -torch.sin(shear) * zoom_y], 1)
    second = torch.stack([zero, torch.cos(shear) * zoom_y], 1)
    linear = torch.stack([first * stretch[:, None], second / stretch[:, None]], 1) * seen[:, None, None]  # [count, 2, 2]
    linear = _rotations(count, spec.rotate_deg, generator) @ linear
    free = (1 - seen).abs()[:, None]  # how far the window may move and still touch the film's edges at most
    move = _uniform(2 * count, generator).view(count, 2) * (free + 2 * spec.shift)
    return torch.cat([linear, move[:, :, None]], 2)


def _rotations(count: int, degrees: float, generator: torch.Generator) -> Tensor:
    angle = torch.deg2rad(_uniform(count, generator) * degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _tones(images: Tensor, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Gamma, then contrast about the film's mean, then brightness; clipped to 0..255."""
    gamma, contrast = (_log_uniform(len(images), share, generator) for share in (spec.gamma, spec.contrast))
    shift = _uniform(len(images), generator) * spec.brightness * WHITE
    gamma, contrast, shift = (values.to(images.device).view(-1, 1, 1, 1) for values in (gamma, contrast, shift))
    if spec.gamma:
        images = (images / WHITE).clamp_(min=1e-6).pow_(gamma).mul_(WHITE)
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(mean + shift, images - mean, contrast).clamp_(0, WHITE)


def _blur(images: Tensor, largest_px: float, generator: torch.Generator) -> Tensor:
    """Gaussian blur of every second film on average, each by its own width."""
    width = torch.rand(len(images), generator=generator) * largest_px
    chosen = (torch.rand(len(images), generator=generator) < 0.5) & (width > 0.1)
    rows = chosen.nonzero().flatten()
    if not len(rows):
        return images
    reach = max(1, round(3 * largest_px))
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernels = torch.exp(-(places**2) / (2 * width[rows, None] ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(images.device)  # [n, k]
    films = pad(images[rows].transpose(0, 1), [reach] * 4, mode="replicate")  # [1, n, H + 2 reach, W + 2 reach]
    films = conv2d(films, kernels[:, None, :, None], groups=len(rows))
    films = conv2d(films, kernels[:, None, None, :], groups=len(rows))
    return images.index_copy(0, rows.to(images.device), films.transpose(0, 1))


def _noise(images: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    deviation = (torch.rand(len(images), generator=generator) * largest * WHITE).view(-1, 1, 1, 1)
    drawn = torch.randn(images.shape, generator=generator) * deviation
    return (images + drawn.to(images.device)).clamp_(0, WHITE)


def _erase(images: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """A rectangle becomes mid-grey."""
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    low, high = ERASED_SHARE
    draws = torch.rand(count, 5, generator=generator)
    images = images.clone()
    for row, (tall, wide, down, right, luck) in enumerate(draws.tolist()):
        if luck < chance:
            rows, columns = round((low + (high - low) * tall) * height), round((low + (high - low) * wide) * width)
            top, left = int(down * (height - rows)), int(right * (width - columns))
            images[row, :, top : top + rows, left : left + columns] = WHITE / 2
    return images


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    """Values in [-1, 1)."""
    return torch.rand(count, generator=generator) * 2 - 1


def _log_uniform(count: int, spread: float, generator: torch.Generator) -> Tensor:
    """Factors between 1 / (1 + spread) and 1 + spread, their logarithms uniform."""
    return (1 + spread) ** _uniform(count, generator)
