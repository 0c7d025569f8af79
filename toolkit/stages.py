"""What each stage does in a run's folder: wiring only, the work is in the rooms. Needs the workshop."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import msgspec

from toolkit.benchmark.host import installed
from toolkit.benchmark.run import benchmark as measure_latency
from toolkit.benchmark.run import single_stream_p50
from toolkit.candidate import ExportGauge
from toolkit.core import operating
from toolkit.core.artifacts import Checkpoint, FileEntry, Graph, Provenance
from toolkit.core.bundle import REFERENCE_SCORES, SCHEMA_VERSION, Artifact, Bundle, Manifest, write_manifest
from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import storage_errors, write_atomically
from toolkit.core.reports import CrossValidation, DriftReport, Evaluation, LatencyReport, PruneReport, Sensitivity
from toolkit.core.target import Target
from toolkit.data.films import Films
from toolkit.export import to_onnx, to_openvino
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import runtime
from toolkit.pipeline import Run
from toolkit.prune.pruning import Pruning
from toolkit.prune.run import REPORT as PRUNED
from toolkit.prune.run import prune as prune_network
from toolkit.prune.sensitivity import sensitivity
from toolkit.quantize import for_onnxruntime, for_openvino
from toolkit.quantize.calibration import calibration_images
from toolkit.quantize.lower import lower
from toolkit.report import plots
from toolkit.train.augment import changed_once
from toolkit.train.checkpoint import has_checkpoint, load_checkpoint
from toolkit.train.fit import forget_progress, read_history
from toolkit.train.folds import FOLDS, cross_validate
from toolkit.train.run import Task
from toolkit.train.run import train as train_network
from toolkit.train.score import score
from toolkit.validate import drift, parity
from toolkit.validate.evaluate import artifact_logits, judge, session_logits

LOG = logging.getLogger(__name__)
FLOAT_GRAPH = "float"
QUANTIZERS = {"onnxruntime": (for_onnxruntime.quantize, ".onnx"), "openvino": (for_openvino.quantize, ".xml")}
LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "pillow")
PARETO, SENSITIVITY = "pareto.svg", "sensitivity"
DRIFT, LATENCY, EVALUATIONS, DENSE = "drift.json", "latency.json", "evaluations.json", "dense.json"


def train(run: Run) -> None:
    """Cross-validate where the recipe asks for it, and train the dense network."""
    folder, spec = run.folder("train"), run.recipe.train
    if spec.folds is not None and not (folder / FOLDS).is_file():
        unshifted = replace(_task(run, "train", None), holdout=run.films("holdout"))
        cross_validate(spec, unshifted, folder)
    if not has_checkpoint(folder):
        train_network(spec, _task(run, "train", None), folder)
    forget_progress(folder)


def prune(run: Run) -> None:
    """Take weights or channels out, step by step, and let the rest recover; then measure what that brought."""
    folder = run.folder("prune")
    work, gauge = pruning(run)
    if not has_checkpoint(folder):
        prune_network(work, folder)
    report = read_json(folder / PRUNED, PruneReport)
    if run.recipe.prune.method != "none":
        _, network = load_checkpoint(folder)
        report = msgspec.structs.replace(report, benefits=gauge.benefits(work.dense, network))
    write_atomically(folder / PRUNED, encode_json(report))
    if report.candidates:
        write_atomically(folder / PARETO, plots.pareto(report.candidates))
    for place in folder.glob("step-*"):
        forget_progress(place)


def pruning(run: Run) -> tuple[Pruning, ExportGauge]:
    """What pruning works with, and what asks an exported candidate for its cost."""
    spec, recipe = run.recipe.prune, run.recipe
    dense, network = load_checkpoint(run.folder("train"))
    gauge = ExportGauge(dense.preprocessing, recipe.export.opset, spec.runtime, spec.threads)
    return Pruning(spec, recipe.train, network, _task(run, "prune", dense.weights_sha256), gauge), gauge


def prune_sensitivity(run: Run) -> tuple[Sensitivity, ...]:
    """Prune each layer of the dense network alone; leaves RUN/sensitivity/sensitivity.json and .svg."""
    work, _ = pruning(run)
    rows = sensitivity(work, run.folder(SENSITIVITY))
    write_atomically(run.folder(SENSITIVITY) / "sensitivity.svg", plots.sensitivity(rows))
    return rows


def quantize(run: Run) -> None:
    """Lower to a float graph, and make an int8 graph for each runtime that the recipe exports to."""
    folder, recipe = run.folder("quantize"), run.recipe
    checkpoint, network = load_checkpoint(run.folder("prune"))
    graph = folder / f"{FLOAT_GRAPH}.onnx"
    write_atomically(graph, lower(network, recipe.preprocessing, recipe.export.opset))
    _describe_graph(run, checkpoint, None, (graph,))
    wanted = [Target.from_name(name) for name in recipe.export.artifacts]
    images = calibration_images(run.films("train"), recipe.quantize.calibration_films, recipe.seed)
    for backend in dict.fromkeys(target.backend for target in wanted if target.precision == "int8"):
        work, suffix = QUANTIZERS[backend]
        file = folder / f"{backend}-int8{suffix}"
        with storage_errors(file):
            files = work(graph, images, recipe.quantize, file)
        _describe_graph(run, checkpoint, backend, files)


def export(run: Run) -> None:
    """Write each artifact's files, hold it against torch on held-out films, choose its operating point, write the manifest."""
    folder, spec = run.folder("export"), run.recipe.export
    checkpoint, network = load_checkpoint(run.folder("prune"))
    holdout = holdout_of(run)
    films = parity.with_edge_cases(holdout.images[: spec.parity_films], run.recipe.seed)
    expected = score(network, films, run.recipe.preprocessing)
    artifacts = []
    for name in spec.artifacts:
        artifact = _export_one(run, Target.from_name(name), films, expected, checkpoint)
        LOG.info("%s: agrees with torch, largest logit error %.2g", name, artifact.parity.max_logit_error)
        artifacts.append(artifact)
    write_manifest(
        folder,
        Manifest(
            schema_version=SCHEMA_VERSION,
            name=run.recipe.name,
            model=checkpoint.model,
            sparsity=checkpoint.sparsity,
            labels=checkpoint.labels,
            preprocessing=checkpoint.preprocessing,
            artifacts=tuple(artifacts),
            provenance=_provenance(run, "export", checkpoint.weights_sha256),
        ),
    )


def validate(run: Run) -> None:
    """Judge the dense network and every artifact on the test films, and hold each artifact against the dense one."""
    folder, films = run.folder("validate"), run.films("test")
    dense, network = load_checkpoint(run.folder("train"))
    logits = score(network, films.images, dense.preprocessing)
    reference = drift.Scores.of(f"{dense.model} dense (torch)", logits, dense.operating)
    write_atomically(folder / DENSE, encode_json(_judge(run, reference.name, films, logits, dense.operating)))
    write_atomically(folder / REFERENCE_SCORES, drift.write_reference(films, reference))
    bundle = Bundle(run.folder("export"))
    rows, evaluations = [], []
    for artifact in bundle.manifest.artifacts:
        found = artifact_logits(bundle, artifact, films.images)
        evaluations.append(_judge(run, artifact.name, films, found, artifact.operating))
        scores = drift.Scores.of(artifact.name, found, artifact.operating)
        rows.append(drift.compare(reference, scores, films, run.recipe.validate))
    write_atomically(folder / EVALUATIONS, encode_json(evaluations))
    report = drift.summarise(reference.name, films, tuple(rows), run.source.synthetic)
    write_atomically(folder / DRIFT, encode_json(report))


def benchmark(run: Run) -> None:
    """Time every artifact on this machine."""
    report = measure_latency(Bundle(run.folder("export")), run.recipe.benchmark)
    write_atomically(run.folder("benchmark") / LATENCY, encode_json(report))


def read_histories(run: Run) -> dict[str, tuple[dict[str, float], ...]]:
    """The training curves of each stage that trained."""
    return {stage: read_history(run.folder(stage)) for stage in ("train", "prune")}


def read_pruning(run: Run) -> PruneReport:
    """What pruning left."""
    return read_json(run.folder("prune") / PRUNED, PruneReport)


def read_folds(run: Run) -> CrossValidation | None:
    """What the cross-validation left, where the recipe asked for one."""
    file = run.folder("train") / FOLDS
    return read_json(file, CrossValidation) if file.is_file() else None


def read_results(run: Run) -> tuple[Evaluation, tuple[Evaluation, ...], DriftReport, LatencyReport]:
    """What `validate` and `benchmark` left: dense metrics, metrics of each artifact, drift, latency."""
    folder = run.folder("validate")
    return (
        read_json(folder / DENSE, Evaluation),
        read_json(folder / EVALUATIONS, tuple[Evaluation, ...]),
        read_json(folder / DRIFT, DriftReport),
        read_json(run.folder("benchmark") / LATENCY, LatencyReport),
    )


def fastest_first(drift_report: DriftReport, latency: LatencyReport) -> tuple[str, ...]:
    """Names of the artifacts that passed and were timed, the fastest first."""
    p50 = single_stream_p50(latency)
    passed = {row.artifact for row in drift_report.rows if row.verdict == "pass"}
    return tuple(sorted(passed & p50.keys(), key=lambda name: p50[name]))


def _task(run: Run, stage: str, parent: str | None) -> Task:
    recipe = run.recipe
    return Task(
        train=run.films("train"),
        holdout=holdout_of(run),
        preprocessing=recipe.preprocessing,
        labels=recipe.labels,
        seed=recipe.seed,
        provenance=_provenance(run, stage, parent),
    )


def holdout_of(run: Run) -> Films:
    """The held-out films, shifted as the recipe says."""
    return changed_once(run.films("holdout"), run.recipe.data.holdout_augment)


def _provenance(run: Run, stage: str, parent: str | None) -> Provenance:
    return Provenance(
        recipe_sha256=run.recipe.sha256_through(stage),
        data_sha256=run.source.sha256(),
        parent_sha256=parent,
        synthetic=run.source.synthetic,
        libraries=installed(LIBRARIES),
    )


def _describe_graph(run: Run, checkpoint: Checkpoint, backend: str | None, files: tuple[Path, ...]) -> None:
    folder = run.folder("quantize")
    graph = Graph(
        files=tuple(FileEntry.of(folder, file.name) for file in files),
        backend=backend,
        precision="int8" if backend else "fp32",
        opset=run.recipe.export.opset,
        preprocessing=checkpoint.preprocessing,
        labels=checkpoint.labels,
        provenance=_provenance(run, "quantize", checkpoint.weights_sha256),
    )
    write_atomically(folder / f"{files[0].stem}.json", encode_json(graph))


def _export_one(run: Run, target: Target, films: Pixels, expected: parity.Logits, checkpoint: Checkpoint) -> Artifact:
    folder, spec = run.folder("export"), run.recipe.export
    graph = run.folder("quantize") / f"{target.name if target.precision == 'int8' else FLOAT_GRAPH}.json"
    first = graph.with_name(read_json(graph, Graph).files[0].path)
    writer = to_onnx if target.backend == "onnxruntime" else to_openvino
    names = writer.export(first, target.precision, folder)
    session = runtime(target.backend).load([folder / name for name in names], target=target)
    checked = parity.compare(expected, session_logits(session, films, f"{target.name} on parity films"), checkpoint.operating)
    parity.refuse_departure(target.name, target.precision, checked, spec)
    holdout = holdout_of(run)
    logits = session_logits(session, holdout.images, f"{target.name} on held-out films")
    return Artifact(
        name=target.name,
        target=target,
        files=tuple(FileEntry.of(folder, name) for name in names),
        requires=target.backend,
        operating=operating.choose(holdout.labels, logits, run.recipe.train.target_recall),
        parity=checked,
    )


def _judge(run: Run, name: str, films: Films, logits: parity.Logits, point: operating.OperatingPoint) -> Evaluation:
    return judge(name, films, logits, point, run.source.synthetic)
