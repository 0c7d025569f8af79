"""How much each layer can lose: one layer pruned alone, at several ratios, without fine-tuning."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

from torch import nn

from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.progress import track
from toolkit.core.reports import Sensitivity
from toolkit.prune.pruning import Pruning
from toolkit.prune.recovery import Pupil, estimate_batch_norms, tuning
from toolkit.prune.unstructured import make_zeros, tensors_of

RATIOS = (0.25, 0.5, 0.75, 0.9)
FILE = "sensitivity.json"


def sensitivity(work: Pruning, folder: Path) -> tuple[Sensitivity, ...]:
    """A row for each layer and ratio, written to `folder` as they come: a killed run goes on behind the last."""
    file = folder / FILE
    rows = list(read_json(file, tuple[Sensitivity, ...])) if file.is_file() else []
    wanted = list(itertools.product(_layers(work), RATIOS))
    for layer, ratio in track(wanted[len(rows) :], len(wanted) - len(rows), "sensitivity"):
        network, kept = _one_layer_less(work, layer, ratio)
        if work.spec.recovery.batch_norm:
            estimate_batch_norms(Pupil(network, tuning(work.spec.recovery, work.training), work.task, work.dense, 0.0), work.task.train)
        recall_loss, area_loss = work.losses(network)
        rows.append(Sensitivity(layer=layer, ratio=ratio, kept=kept, roc_auc_loss=area_loss, recall_loss_pt=recall_loss))
        write_atomically(file, encode_json(rows))
    return tuple(rows)


def _layers(work: Pruning) -> list[str]:
    """What can be pruned alone."""
    if work.spec.method == "structured":
        return [group.name for group in work.groups[0]]
    return [name for name, layer in work.dense.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _one_layer_less(work: Pruning, layer: str, ratio: float) -> tuple[nn.Module, int]:
    if work.spec.method == "structured":
        widths = work.widths({layer: ratio})
        return work.narrow(widths), widths[layer]
    network = copy.deepcopy(work.dense)
    part = nn.Sequential(network.get_submodule(layer))
    make_zeros(part, work.spec, ratio, work.task.seed)
    return network, sum(int(tensor.count_nonzero()) for tensor in tensors_of(part))
