"""What each stage does in a run's folder: wiring only, the work is in the rooms. Needs the workshop."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import msgspec

from toolkit import judgement
from toolkit.artifact import Exporter
from toolkit.benchmark.run import benchmark as measure_latency
from toolkit.benchmark.run import single_stream_p50
from toolkit.candidate import ExportGauge
from toolkit.core import ranks
from toolkit.core.artifacts import Checkpoint, FileEntry, Graph, Provenance
from toolkit.core.bundle import SCHEMA_VERSION, Artifact, Bundle, Manifest, write_manifest
from toolkit.core.codec import encode_json, read_json
from toolkit.core.drift import DriftReport
from toolkit.core.evaluation import CrossValidation, Evaluation
from toolkit.core.files import write_atomically
from toolkit.core.latency import LatencyReport
from toolkit.core.libraries import installed
from toolkit.core.recipe import Recipe
from toolkit.core.reports import PruneReport, QuantizeAttempt, QuantizeReport, Sensitivity
from toolkit.core.target import PROCESSORS, Family, Target
from toolkit.core.turns import alone
from toolkit.data.films import Films
from toolkit.errors import ModelError, ParityError, StageError
from toolkit.infer import machine
from toolkit.int8 import Int8
from toolkit.pipeline import Run
from toolkit.prune.pruning import Pruning
from toolkit.prune.run import REPORT as PRUNED
from toolkit.prune.run import prune as prune_network
from toolkit.prune.sensitivity import sensitivity
from toolkit.quantize.lower import lower
from toolkit.report import plots
from toolkit.train.augment import changed_once
from toolkit.train.checkpoint import has_checkpoint, load_checkpoint
from toolkit.train.fit import forget_progress, read_history
from toolkit.train.folds import FOLDS, cross_validate
from toolkit.train.group import first_first
from toolkit.train.group import together as together  # noqa: PLC0414  (pipeline takes it from here)
from toolkit.train.run import Task
from toolkit.train.run import train as train_network

LOG = logging.getLogger(__name__)
FLOAT_GRAPH = "float"
LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "pillow")
PARETO, SENSITIVITY = "pareto.svg", "sensitivity"
QUANTIZED, LATENCY = "quantize.json", "latency.json"


def train(run: Run) -> None:
    """Cross-validate where the recipe asks for it, and train the dense network."""
    folder, spec = run.folder("train"), run.recipe.train
    if spec.folds and ranks.count() > 1:
        raise StageError("train.folds trains in one process: leave out torchrun, or set train.folds=null.")
    with first_first():
        task = _task(run, "train", None)
    if spec.folds is not None and not (folder / FOLDS).is_file():
        unshifted = replace(task, holdout=run.films("holdout"))
        cross_validate(spec, unshifted, folder)
    if not has_checkpoint(folder):
        train_network(spec, task, folder)
    if ranks.is_first():
        forget_progress(folder)


def prune(run: Run) -> None:
    """Take weights or channels out, step by step, and let the rest recover; then measure what that brought."""
    folder = run.folder("prune")
    work, gauge = pruning(run)
    if not has_checkpoint(folder):
        prune_network(work, folder, run.judge)
    report = read_json(folder / PRUNED, PruneReport)
    if run.recipe.prune.method != "none":
        _, network = load_checkpoint(folder)
        report = msgspec.structs.replace(report, benefits=gauge.benefits(network))
    write_atomically(folder / PRUNED, encode_json(report))
    if report.candidates:
        write_atomically(folder / PARETO, plots.pareto(report.candidates))
    for place in folder.glob("step-*"):
        forget_progress(place)


def pruning(run: Run) -> tuple[Pruning, ExportGauge]:
    """What pruning works with, and what asks an exported candidate for its cost."""
    spec, recipe = run.recipe.prune, run.recipe
    dense, network = load_checkpoint(run.folder("train"))
    gauge = ExportGauge(network, dense.preprocessing, recipe.export.opset, spec.runtime, spec.threads)
    return Pruning(spec, recipe.train, network, _task(run, "prune", dense.weights_sha256), gauge), gauge


def prune_sensitivity(run: Run) -> tuple[Sensitivity, ...]:
    """Prune each layer of the dense network alone; leaves RUN/sensitivity/sensitivity.json and .svg."""
    work, _ = pruning(run)
    rows = sensitivity(work, run.folder(SENSITIVITY))
    write_atomically(run.folder(SENSITIVITY) / "sensitivity.svg", plots.sensitivity(rows))
    return rows


def quantize(run: Run) -> None:
    """Lower to a float graph, and make an int8 graph for each target of the recipe that wants one."""
    folder, recipe = run.folder("quantize"), run.recipe
    checkpoint, network = load_checkpoint(run.folder("prune"))
    graph = folder / f"{FLOAT_GRAPH}.onnx"
    write_atomically(graph, lower(network, recipe.preprocessing, recipe.export.opset))
    _describe_graph(run, checkpoint, None, (graph,))
    int8 = Int8(recipe, network, _task(run, "quantize", checkpoint.weights_sha256), graph)
    attempts: list[QuantizeAttempt] = []
    replaced: dict[str, str] = {}
    for target in filter(_is_checked_here, _int8_targets(recipe)):
        tried, files = int8.climb(target)
        attempts += tried
        chosen = next(attempt for attempt in tried if attempt.chosen)
        if not chosen.passed and "half_precision" in recipe.quantize.ladder:
            replaced[target.name] = f"{target.backend}-fp16w"
        _describe_graph(run, checkpoint, target, files)
    write_atomically(folder / QUANTIZED, encode_json(QuantizeReport(attempts=tuple(attempts), replaced=replaced)))


def export(run: Run) -> None:
    """Write each artifact's files, hold it against torch on held-out films, choose its operating point, write the manifest."""
    folder = run.folder("export")
    checkpoint, network = load_checkpoint(run.folder("prune"))
    exporter = Exporter(run.recipe, checkpoint, network, holdout_of(run), folder)
    wanted, left_out = _wanted(run)
    artifacts: list[Artifact] = []
    unmeasured: dict[str, str] = {}
    for target in wanted:
        try:
            artifact, reason = exporter.make(target, _graph_of(run, target))
        except (ModelError, ParityError) as refused:
            if not (target.is_int8 and target.needs_engine):  # that is tried, and offered only where it builds and passes
                raise
            left_out[target.name] = str(refused)
            continue
        LOG.info("%s: agrees with torch, largest logit error %.2g", artifact.name, artifact.parity.max_logit_error)
        artifacts.append(artifact)
        unmeasured |= {artifact.name: reason} if reason else {}
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
            unmeasured=unmeasured,
            left_out=left_out,
            provenance=_provenance(run, "export", checkpoint.weights_sha256),
        ),
    )


def validate(run: Run) -> None:
    """Judge the dense network and every artifact on the test films."""
    judgement.validate(run)


def benchmark(run: Run) -> None:
    """Time every artifact on this machine."""
    with alone():
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
        read_json(folder / judgement.DENSE, Evaluation),
        read_json(folder / judgement.EVALUATIONS, tuple[Evaluation, ...]),
        read_json(folder / judgement.DRIFT, DriftReport),
        read_json(run.folder("benchmark") / LATENCY, LatencyReport),
    )


def read_quantizing(run: Run) -> QuantizeReport:
    """What quantizing tried."""
    return read_json(run.folder("quantize") / QUANTIZED, QuantizeReport)


def fastest_first(drift_report: DriftReport, latency: LatencyReport) -> dict[Family, tuple[str, ...]]:
    """By kind of processor, names of the artifacts for it that passed and were timed, the fastest first; timed on this one."""
    p50 = single_stream_p50(latency)
    passed = {row.artifact for row in drift_report.rows if row.verdict == "pass"}
    order = sorted(passed & p50.keys() - slower_than_float(latency).keys(), key=lambda name: p50[name])
    return {family: tuple(name for name in order if Target.from_name(name).serves(family)) for family in PROCESSORS}


def slower_than_float(latency: LatencyReport) -> dict[str, str]:
    """int8 artifacts for this machine that a float one of the same runtime beats, with the figures."""
    p50 = single_stream_p50(latency)
    targets = {name: Target.from_name(name) for name in p50}
    found = {}
    for name, target in targets.items():
        rivals = [other for other, one in targets.items() if not one.is_int8 and one.backend == target.backend]
        if target.is_int8 and target.serves(machine.family()) and rivals:
            best = min(rivals, key=lambda other: p50[other])
            if p50[best] <= p50[name]:
                found[name] = f"it is slower than {best} here: {p50[name]:.3f} ms against {p50[best]:.3f} ms"
    return found


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


def _describe_graph(run: Run, checkpoint: Checkpoint, target: Target | None, files: tuple[Path, ...]) -> None:
    folder = run.folder("quantize")
    graph = Graph(
        files=tuple(FileEntry.of(folder, file.name) for file in files),
        backend=target.backend if target else None,
        precision=target.precision if target else "fp32",
        opset=run.recipe.export.opset,
        preprocessing=checkpoint.preprocessing,
        labels=checkpoint.labels,
        provenance=_provenance(run, "quantize", checkpoint.weights_sha256),
    )
    write_atomically(folder / f"{target.name if target else FLOAT_GRAPH}.json", encode_json(graph))


def _int8_targets(recipe: Recipe) -> list[Target]:
    return [target for target in map(Target.from_name, recipe.export.artifacts) if target.is_int8]


def _is_checked_here(target: Target) -> bool:
    """True when the int8 graph gives its sealed answers here; TensorRT's does so in ONNX Runtime."""
    return target.needs_engine or machine.why_not(target) is None


def _wanted(run: Run) -> tuple[list[Target], dict[str, str]]:
    """What is exported, and why the rest is not."""
    replaced = read_quantizing(run).replaced
    wanted: dict[str, Target] = {}
    left_out: dict[str, str] = {}
    for target in map(Target.from_name, run.recipe.export.artifacts):
        if target.name in replaced:
            left_out[target.name] = f"no rung of the ladder kept its answers on held-out patients; {replaced[target.name]} stands in for it"
            wanted[replaced[target.name]] = Target.from_name(replaced[target.name])
        elif target.is_int8 and not _is_checked_here(target):
            left_out[target.name] = str(machine.why_not(target))
        else:
            wanted[target.name] = target
    return list(wanted.values()), left_out


def _graph_of(run: Run, target: Target) -> Path:
    """The graph that an artifact is made of."""
    description = run.folder("quantize") / f"{target.name if target.is_int8 else FLOAT_GRAPH}.json"
    return description.with_name(read_json(description, Graph).files[0].path)
