"""Bundles that somebody made to do harm: refused with a sentence, before a runtime sees them."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import ROOT, brightness_graph, call_cli, reseal
from tests.core.test_bundle import MODEL, edit, name_file
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle
from toolkit.core.codec import to_plain
from toolkit.core.files import sha256_of
from toolkit.errors import BundleError, CxrEdgeError, InputError
from toolkit.infer import on_onnxruntime, on_openvino
from toolkit.infer.onnx_guard import check_self_contained
from toolkit.infer.predictor import Predictor

Captured = pytest.CaptureFixture[str]
SZANET = ROOT / "exported" / "szanet"


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks a runtime to open a file fails."""
    import onnxruntime
    import openvino

    for library, name in ((onnxruntime, "InferenceSession"), (openvino, "Core")):
        monkeypatch.setattr(library, name, lambda *_, **__: pytest.fail("a runtime was asked"))


def secret_tensor(location: str = "../secret") -> TensorProto:
    """A tensor that lies in another file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "secret")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def in_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_sparse(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_sparse_places(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def in_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))


def in_tensors(model: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="all", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(tensor)


def in_sparse_attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(tensor)


def in_subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_node("If", ["c"], [], then_branch=graph_with(tensor), else_branch=graph_with(numpy_helper.from_array(np.zeros(1))))
    model.graph.node.append(
        helper.make_node("If", ["c"], [], then_branch=helper.make_graph([inner], "a", [], []), else_branch=graph_with(tensor))
    )


def in_graphs(model: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="graphs", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.append(graph_with(tensor))


def in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("d", "f", [], ["y"], [node], [helper.make_opsetid("", 20)]))


def in_default(model: onnx.ModelProto, tensor: TensorProto) -> None:
    in_function(model, numpy_helper.from_array(np.zeros(1)))
    model.functions[0].attribute_proto.append(helper.make_attribute("a", tensor))


def in_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().initialization.CopyFrom(graph_with(tensor))


PLACES = (
    *(in_initializer, in_sparse, in_sparse_places, in_constant, in_tensors, in_sparse_attribute),
    *(in_subgraph, in_graphs, in_function, in_default, in_training),
)


def forged(bundle: Path, change: Callable[[onnx.ModelProto, TensorProto], None], location: str = "../secret") -> Path:
    """The bundle with a graph that names another file, its digests right."""
    model = brightness_graph()
    change(model, secret_tensor(location))
    (bundle / MODEL).write_bytes(model.SerializeToString())
    reseal(bundle)
    return bundle


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("no_runtime")
def test_a_graph_that_names_another_file_is_not_loaded(place: Callable[[onnx.ModelProto, TensorProto], None], bundle: Path) -> None:
    opened = Bundle(forged(bundle, place))
    opened.verify()
    with pytest.raises(BundleError, match=r"fp32\.onnx wants a tensor from another file, which no bundle needs; it is not loaded"):
        Predictor(opened)
    with pytest.raises(BundleError, match="wants a tensor from another file"):
        on_openvino.load([bundle / MODEL])


@pytest.mark.parametrize("location", ["/etc/passwd", "beside.bin", "sub/../../secret", ""])
@pytest.mark.usefixtures("no_runtime")
def test_it_does_not_matter_which_file(location: str, bundle: Path) -> None:
    with pytest.raises(BundleError, match="wants a tensor from another file"):
        Predictor(Bundle(forged(bundle, in_initializer, location)))


@pytest.mark.usefixtures("no_runtime")
def test_half_of_the_fields_is_enough(bundle: Path) -> None:
    def without(name: str) -> Callable[[onnx.ModelProto, TensorProto], None]:
        def change(model: onnx.ModelProto, tensor: TensorProto) -> None:
            tensor.ClearField(name)
            model.graph.initializer.append(tensor)

        return change

    for name in ("data_location", "external_data"):
        with pytest.raises(BundleError, match="wants a tensor from another file"):
            Predictor(Bundle(forged(bundle, without(name))))


@pytest.mark.usefixtures("no_runtime")
def test_the_command_says_so_and_ends_with_1(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("predict", forged(bundle, in_initializer), tmp_path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "wants a tensor from another file" in err


def test_a_graph_whose_tensors_lie_in_it_is_loaded(bundle: Path) -> None:
    model = brightness_graph()
    model.graph.initializer[0].data_location = TensorProto.DEFAULT  # said, and harmless
    model.metadata_props.add(key="location", value="external_data")
    (bundle / MODEL).write_bytes(model.SerializeToString())
    reseal(bundle)
    images = np.full((1, 1, 32, 32), 138, np.uint8)
    assert Predictor(Bundle(bundle)).session.logits(images) == pytest.approx(1, abs=1e-5)
    for file in SZANET.glob("*.onnx"):
        check_self_contained(file)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "cannot be read"),
        (b"\xff" * 100, "is no ONNX file, or is damaged"),
        (b"\x3a\xff\xff\xff\xff\x0f", "is no ONNX file"),  # a graph of 4 GB
        (b"\x0b\x0c", "is no ONNX file"),  # a group
        (b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "is no ONNX file"),  # a length of more than 64 bits
    ],
)
@pytest.mark.usefixtures("no_runtime")
def test_what_is_no_graph_is_refused(raw: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match=words):
        on_onnxruntime.load([tmp_path / "a.onnx"])


@pytest.mark.usefixtures("no_runtime")
def test_a_graph_under_another_suffix_is_refused(bundle: Path) -> None:
    for suffix in (".ort", ".pb", ".ONNX", ""):
        file = bundle / f"model{suffix}"
        shutil.copy(bundle / MODEL, file)
        for runtime in (on_onnxruntime, on_openvino):
            with pytest.raises(BundleError, match=r"is no \.onnx file; it is not loaded"):
                runtime.load([file])


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    inner = b""
    for _ in range(2000):
        inner = field(1, field(5, field(6, inner)))  # a graph's node's attribute's graph
    (tmp_path / "a.onnx").write_bytes(field(7, inner))
    with pytest.raises(BundleError, match="nests graphs more than 64 deep"):
        check_self_contained(tmp_path / "a.onnx")


def test_a_damaged_graph_is_passed_or_refused_and_nothing_else(tmp_path: Path) -> None:
    raw, chance = brightness_graph().SerializeToString(), random.Random(1)
    file = tmp_path / "a.onnx"
    for _ in range(500):
        broken = bytearray(raw)
        for _ in range(chance.randrange(1, 5)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        file.write_bytes(broken[: chance.randrange(1, len(broken) + 1)])
        try:
            check_self_contained(file)
        except BundleError as error:
            assert str(file) in str(error)


# OpenVINO's own format: weights lie at offsets in a second file.


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    """The brightness graph as OpenVINO writes it."""
    import openvino

    (tmp_path / "a.onnx").write_bytes(brightness_graph().SerializeToString())
    openvino.save_model(openvino.Core().read_model(tmp_path / "a.onnx"), tmp_path / "ir.xml", compress_to_fp16=False)
    return tmp_path / "ir.xml"


@pytest.mark.parametrize("offset", ["99999999", "-8", str(2**64 - 4), "9" * 40])
def test_weights_beyond_their_file_are_refused(offset: str, ir: Path) -> None:
    on_openvino.load([ir, ir.with_suffix(".bin")])
    text = ir.read_text()
    at = text.index('offset="') + len('offset="')
    ir.write_text(text[:at] + offset + text[text.index('"', at) :])
    with pytest.raises(BundleError, match=r"OpenVINO .* refuses .*ir\.xml"):
        on_openvino.load([ir, ir.with_suffix(".bin")])


def test_the_weights_of_an_ir_must_have_a_digest(ir: Path, bundle: Path) -> None:
    for file in (ir, ir.with_suffix(".bin")):
        shutil.copy(file, bundle)
    entries = [to_plain(FileEntry.of(bundle, name)) for name in ("ir.xml", "ir.bin")]
    edit(bundle, lambda data: data["artifacts"][0].update(files=entries))
    Bundle(bundle).verify()
    edit(bundle, lambda data: data["artifacts"][0].update(files=entries[:1]))
    with pytest.raises(BundleError, match=r"the artifact onnxruntime-fp32 does not list the weights of ir\.xml"):
        Bundle(bundle)


# Manifests.


def test_swapped_artifacts_are_found(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(SZANET, tmp_path / "szanet"))
    first, second = bundle / "fp32.onnx", bundle / "int8-x86.onnx"
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    for name in Bundle(bundle).names:
        opened = Bundle(bundle)
        if {file.path for file in opened.artifact(name).files} & {first.name, second.name}:
            with pytest.raises(BundleError, match="was changed: its digest is not the sealed one"):
                Predictor(opened, name)


@pytest.mark.usefixtures("no_runtime")
def test_a_manifest_of_a_gigabyte_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(bundle / MANIFEST, 10**9)  # a sparse file
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was read"))
    with pytest.raises(BundleError, match=rf"has 1000000000 bytes, more than any manifest \({MAX_MANIFEST_BYTES}\)"):
        Bundle(bundle)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_a_manifest_that_is_no_file_is_not_opened(kind: str, bundle: Path) -> None:
    path = bundle / MANIFEST
    path.unlink()
    make: dict[str, Callable[[], None]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(MANIFEST),
    }
    make[kind]()
    with pytest.raises(InputError, match=r"there is no bundle\.json in it"):
        Bundle(bundle)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_a_part_that_is_no_file_is_not_opened(kind: str, bundle: Path) -> None:
    path = bundle / MODEL
    path.unlink()
    make: dict[str, Callable[[], None]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(MODEL),
    }
    make[kind]()
    with pytest.raises(BundleError, match=r"fp32\.onnx is missing; copy the bundle again"):
        Bundle(bundle).verify()


def test_what_cannot_be_read_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle(bundle)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(BundleError, match=r"fp32\.onnx cannot be read: Permission denied; copy the bundle again"):
        opened.verify()
    with pytest.raises(BundleError, match=r"bundle\.json cannot be read: Permission denied"):
        Bundle(bundle)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (MANIFEST, "which is no file of a bundle"),
        (f"./{MANIFEST}", "which is no file of a bundle"),
        ("a\0b", "which is no file of a bundle"),
        ("red\x1b[31m\nline", "which is no file of a bundle"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("a/" * 3000 + "b", "cannot be read: File name too long"),
        ("", "is missing"),
        (".", "is missing"),
        ("~", "is missing"),
        ("/", "lies outside the bundle"),
        ("..", "lies outside the bundle"),
        (f"sub/../{MODEL}", "lies outside the bundle"),
    ],
)
def test_odd_names_of_files_are_refused(path: str, words: str, bundle: Path) -> None:
    name_file(bundle, path)
    with pytest.raises(BundleError, match=words) as refused:
        Bundle(bundle).verify()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("size", [-1, 0, 2**40, 2**63, 2**80])
def test_a_wrong_size_is_a_change(size: int, bundle: Path) -> None:
    edit(bundle, lambda data: data["artifacts"][0]["files"][0].update(bytes=size))
    with pytest.raises(BundleError, match="was changed"):
        Bundle(bundle).verify()


def test_a_link_inside_and_a_hard_link_are_files_like_any_other(bundle: Path) -> None:
    (bundle / MODEL).rename(bundle / "real.onnx")
    (bundle / MODEL).symlink_to("real.onnx")
    Bundle(bundle).verify()
    (bundle / MODEL).unlink()
    (bundle / MODEL).hardlink_to(bundle / "real.onnx")
    Bundle(bundle).verify()


def test_two_artifacts_of_one_name_are_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["artifacts"].append(data["artifacts"][0]))
    with pytest.raises(BundleError, match="it holds two artifacts of the same name"):
        Bundle(bundle)


def test_one_file_with_two_digests_is_a_change(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(files=[{"path": MODEL, "sha256": "0" * 64, "bytes": 1}]))
    with pytest.raises(BundleError, match="was changed"):
        Bundle(bundle).verify()


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("key", ["labels", "artifacts", "recommended_for"])
def test_deep_nesting_is_refused(key: str, opening: str, closing: str, depth: int, bundle: Path) -> None:
    data = json.loads((bundle / MANIFEST).read_text())
    del data[key]
    head = json.dumps(data)[:-1]
    (bundle / MANIFEST).write_text(f'{head}, "{key}": {opening * depth}1{closing * depth}}}')
    with pytest.raises(BundleError):
        Bundle(bundle)


def test_a_kind_of_processor_that_nobody_knows_is_named(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(recommended_for={"z80": []}))
    with pytest.raises(BundleError, match="'recommended_for': Invalid enum value 'z80'; valid values: x86-vnni, x86"):
        Bundle(bundle)


def changed_at_random(data: Any, chance: random.Random) -> None:
    """One place of a manifest's JSON gets another value, goes, is repeated or is put in brackets."""
    at, values = data, (None, True, -1, 2**63, 2**80, 1e308, "", "\0", "../x", [], {}, [[]], {"a": 1}, "e" * 10_000)
    while True:
        key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if not isinstance(at[key], dict | list) or not at[key] or chance.random() < 0.2:
            break
        at = at[key]
    match chance.randrange(4):
        case 0:
            at[key] = chance.choice(values)
        case 1:
            del at[key]
        case 2:
            at[key] = [at[key]]
        case _ if isinstance(at, dict):
            at[chance.choice(("k", "", "a.b", "a[0]", "x: y"))] = chance.choice(values)


def manifests() -> Iterator[bytes]:
    """Damaged in their structure, then in their bytes."""
    raw, chance = (SZANET / MANIFEST).read_bytes(), random.Random(3)
    for _ in range(700):
        data = json.loads(raw)
        changed_at_random(data, chance)
        yield json.dumps(data).encode()
    for _ in range(300):
        broken = bytearray(raw)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        yield bytes(broken)


def test_a_damaged_manifest_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    for raw in manifests():
        (tmp_path / MANIFEST).write_bytes(raw)
        try:
            opened = Bundle(tmp_path)
            assert msgspec.json.encode(opened.manifest)
            opened.verify()
        except CxrEdgeError as error:
            assert str(tmp_path) in str(error)


def test_the_digest_of_the_manifest_tells_of_a_change_that_the_digests_hide(bundle: Path) -> None:
    before = Bundle(bundle).sha256
    (bundle / MODEL).write_bytes(brightness_graph(scale=-0.1).SerializeToString())
    reseal(bundle)
    opened = Bundle(bundle)
    opened.verify()
    assert opened.manifest.artifacts[0].files[0].sha256 == sha256_of(bundle / MODEL)
    assert opened.sha256 != before
