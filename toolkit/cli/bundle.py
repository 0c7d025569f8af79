"""`cxr-edge bundle verify | show`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import bundle_argument, json_option, number, table, write_json
from toolkit.core.bundle import Bundle, Manifest


@click.group()
def bundle() -> None:
    """Verify a bundle, or show what is inside.

    \b
    Example:  cxr-edge bundle verify exported/szanet
    """


@bundle.command()
@bundle_argument
def verify(bundle_path: Path) -> None:
    """Compare the digest of every file of BUNDLE with the sealed one; exit code 1 when one differs.

    \b
    Example:  cxr-edge bundle verify exported/szanet
    """
    opened = Bundle(bundle_path)
    opened.verify()
    files = opened.manifest.all_files()
    click.echo(f"{bundle_path}: {len(files)} files are as they were sealed. Bundle digest {opened.sha256}")


@bundle.command()
@bundle_argument
@json_option
def show(bundle_path: Path, json_file: str | None) -> None:
    """What BUNDLE holds: artifacts, thresholds, verdicts, origin.

    \b
    Example:  cxr-edge bundle show exported/szanet
    """
    opened = Bundle(bundle_path)
    if json_file != "-":
        click.echo(_shown(opened.manifest))
        click.echo(f"bundle digest {opened.sha256}")
    write_json(opened.manifest, json_file)


def _shown(manifest: Manifest) -> str:
    rows = [
        [
            artifact.name,
            f"{artifact.bytes / 1e6:.2f}",
            number(artifact.p50_ms, 2),
            number(artifact.operating.threshold),
            number(artifact.metrics.recall if artifact.metrics else None),
            number(artifact.metrics.roc_auc if artifact.metrics else None),
            artifact.drift.verdict if artifact.drift else "not run",
        ]
        for artifact in manifest.artifacts
    ]
    head = ("artifact", "MB", "p50 ms", "threshold", "recall", "AUC", "gate")
    mark = "Trained on SYNTHETIC films: not for patients.\n" if manifest.provenance.synthetic else ""
    others = "".join(
        f"for {family}: {', '.join(names) or 'none'}\n"
        for family, names in manifest.recommended_for.items()
        if names != manifest.recommended
    )
    zeros = f"{100 * manifest.sparsity:.1f} % of the weights zero, " if manifest.sparsity else ""
    notes = "".join(f"{name}: {reason}\n" for name, reason in (*manifest.left_out.items(), *manifest.unmeasured.items()))
    return (
        f"{mark}{manifest.name}: {manifest.model}, {zeros}"
        f"{manifest.labels.positive} against {manifest.labels.negative}, schema {manifest.schema_version}\n"
        f"{table(head, rows)}\n"
        f"recommended: {', '.join(manifest.recommended) or 'none'} (timed on {manifest.measured_on or 'no machine'})\n{others}{notes}"
        f"recipe {manifest.provenance.recipe_sha256}\ndata {manifest.provenance.data_sha256}"
    )
