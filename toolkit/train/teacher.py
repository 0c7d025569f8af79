"""Whom a network learns from: another checkpoint, or a sealed bundle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from toolkit.core.bundle import MANIFEST, TEACHES, Bundle
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.errors import ModelError
from toolkit.infer.predictor import open_session
from toolkit.models.fold import fold_batch_norms
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.module import Asked, to_network


class Teacher:
    """A trained network that is asked for its logits and does not learn. No module: it must not enter the student's checkpoints."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        still = fold_batch_norms(network.eval()).requires_grad_(False)
        self.network = still.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocessing = preprocessing

    def __call__(self, images: Tensor) -> Tensor:
        """float32 0..255 `[N, 1, H, W]` -> logits float32 `[N]`."""
        with torch.no_grad():
            logits: Tensor = self.network.to(images.device)(to_network(images, self.preprocessing))
        return logits.float()


class SealedTeacher:
    """A bundle's artifact in single precision: what is shipped teaches, several times faster than its checkpoint would in torch."""

    def __init__(self, bundle: Bundle) -> None:
        self.session = open_session(bundle, bundle.artifact(TEACHES), torch.get_num_threads())

    def __call__(self, images: Tensor) -> Tensor:
        """float32 0..255 `[N, 1, H, W]`, rounded to whole greys as the graph takes them -> logits float32 `[N]`."""
        greys = images.round().clamp(0, 255).to(torch.uint8)
        return torch.from_numpy(self.session.logits(greys.cpu().numpy())).to(images.device)

    def __deepcopy__(self, _memo: dict[int, object]) -> SealedTeacher:
        """A copy of the student, as weight averaging makes one, has the same teacher."""
        return self


def teacher_of(spec: TrainSpec, preprocessing: Preprocessing) -> Asked | None:
    """The teacher that `train.distill` names, a checkpoint's folder or a bundle's.

    Raises ModelError when it looks at films of another size, InputError for a bundle without the artifact that teaches.
    """
    if spec.distill is None:
        return None
    folder = Path(spec.distill.teacher)
    teacher: Asked
    if (folder / MANIFEST).is_file():
        bundle = Bundle(folder)
        theirs, teacher = bundle.manifest.preprocessing, SealedTeacher(bundle)
    else:
        described, network = load_checkpoint(folder)
        theirs, teacher = described.preprocessing, Teacher(network, described.preprocessing)
    if theirs.size_px != preprocessing.size_px:
        raise ModelError(
            f"The teacher in {folder} takes films of {theirs.size_px} px, this recipe "
            f"{preprocessing.size_px} px; train a teacher with the same preprocessing.size_px."
        )
    return teacher
