"""A sealed bundle as teacher: the answers that it gives, and the student it goes with."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.train.test_fit import RISING, bright_and_dark
from tests.train.test_run import task
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import DistillSpec
from toolkit.errors import BundleError, InputError, ModelError
from toolkit.infer.predictor import open_session
from toolkit.train.run import train
from toolkit.train.teacher import SealedTeacher, teacher_of

SHIPPED = ROOT / "exported" / "mobilenet-v2"
SPEC = RISING.__replace__(epochs=1, batch_size=4, average=0.9, distill=DistillSpec(teacher=str(SHIPPED), share=0.8))
LOOK = Preprocessing(size_px=224, channels=3)


def test_it_answers_as_the_bundle_does_of_greys_rounded_to_whole_ones() -> None:
    drawn = np.random.default_rng(3).integers(0, 256, (2, 1, 224, 224), np.uint8)
    own = open_session(Bundle(SHIPPED), Bundle(SHIPPED).artifact("onnxruntime-fp32"), 1).logits(drawn)
    teacher = SealedTeacher(Bundle(SHIPPED))
    assert teacher(torch.from_numpy(drawn).float() + 0.3).tolist() == pytest.approx(own.tolist(), abs=1e-4)
    beyond = torch.tensor([-40.0, 300.0]).repeat_interleave(224 * 224).view(2, 1, 224, 224)  # contrast and noise leave the range of greys
    edges = torch.tensor([0.0, 255.0]).repeat_interleave(224 * 224).view(2, 1, 224, 224)
    assert teacher(beyond).tolist() == teacher(edges).tolist()


def test_a_student_whose_weights_are_averaged_learns_from_it(tmp_path: Path) -> None:
    films = bright_and_dark(8, size=224)
    described = train(SPEC, task(films, LOOK), tmp_path / "train")
    alone = train(SPEC.__replace__(distill=None), task(films, LOOK), tmp_path / "alone")
    assert described.weights_sha256 != alone.weights_sha256
    assert {file.name for file in (tmp_path / "train").iterdir()} == {file.name for file in (tmp_path / "alone").iterdir()}


def test_a_copied_student_has_the_same_teacher() -> None:
    teacher = SealedTeacher(Bundle(SHIPPED))
    assert copy.deepcopy({"teacher": teacher})["teacher"] is teacher


def test_a_bundle_for_films_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="takes films of 224 px, this recipe 48 px"):
        teacher_of(SPEC, Preprocessing(size_px=48, channels=1))


def test_a_bundle_without_the_form_that_teaches_is_refused(tmp_path: Path) -> None:
    manifest = json.loads((SHIPPED / MANIFEST).read_text(encoding="utf-8"))
    manifest["artifacts"] = [one for one in manifest["artifacts"] if one["name"] == "openvino-int8"]
    manifest["recommended"], manifest["recommended_for"] = [], {}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match="onnxruntime-fp32.*openvino-int8"):
        teacher_of(SPEC.__replace__(distill=DistillSpec(teacher=str(tmp_path))), LOOK)


def test_a_changed_bundle_does_not_teach(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    graph = folder / "fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    assert (folder / MANIFEST).is_file()
    with pytest.raises(BundleError, match=r"fp32\.onnx"):
        teacher_of(SPEC.__replace__(distill=DistillSpec(teacher=str(folder))), LOOK)
