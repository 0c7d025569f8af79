"""`cxr-edge data check | phantom`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import json_option, name_unusable, table, write_json
from toolkit.core.recipe import PhantomSpec
from toolkit.data.check import DataReport
from toolkit.data.check import check as check_source
from toolkit.data.phantom import write_phantoms
from toolkit.data.sources import read_source
from toolkit.errors import InputError

LEAK = 1
SHOWN = 10


@click.group()
def data() -> None:
    """Check a data set, or draw a synthetic one.

    \b
    Example:  cxr-edge data check chest_xray
    """


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check(ctx: click.Context, path: Path, json_file: str | None) -> None:
    """Hygiene of a folder, .zip or .npz: counts, patients, exact copies, leaks between train and test, unusable files.

    Exit code 1 when a patient or a copy is on both sides or copies are labelled differently, 3 when a file cannot be used.

    \b
    Example:  cxr-edge data check chest_xray
    """
    report = check_source(read_source(path))
    if json_file != "-":
        click.echo(_shown(report))
    write_json(report, json_file)
    if report.leaks or report.contradictions:
        ctx.exit(LEAK)
    name_unusable(ctx, dict(report.unusable))


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--train", "train_patients", type=click.IntRange(1), default=520, show_default=True, help="Patients of train.")
@click.option("--test", "test_patients", type=click.IntRange(1), default=170, show_default=True, help="Patients of test.")
@click.option("--size", "size_px", type=click.IntRange(64, 2048), default=224, show_default=True, help="Edge of a film in pixels.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Equal seeds draw equal films.")
def phantom(folder: Path, train_patients: int, test_patients: int, size_px: int, seed: int) -> None:
    """Draw synthetic chest films in the Kermany layout into DIR, which must not exist yet.

    They are drawings: nothing that is measured on them says anything about patients, and every result is marked so.

    \b
    Example:  cxr-edge data phantom phantoms --train 100 --test 40
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; give a new folder, nothing is overwritten.")
    write_phantoms(PhantomSpec(train_patients=train_patients, test_patients=test_patients, size_px=size_px, seed=seed), folder)
    click.echo(f"{folder}: synthetic films of {train_patients} train and {test_patients} test patients.")


def _shown(report: DataReport) -> str:
    classes = sorted({name for counts in report.films.values() for name in counts})
    lines = [
        f"{report.where}{' (SYNTHETIC films)' if report.synthetic else ''}",
        table(("films", *classes), [[split, *(str(counts.get(name, 0)) for name in classes)] for split, counts in report.films.items()]),
    ]
    groups = sorted({group for counts in report.patients.values() for group in counts})
    lines.append(
        table(
            ("patients", *groups), [[split, *(str(counts.get(group, 0)) for group in groups)] for split, counts in report.patients.items()]
        )
    )
    surplus = sum(len(group) - 1 for group in report.duplicates)
    lines.append(f"{len(report.duplicates)} groups of exact copies ({surplus} surplus films); each group stays on one side of a split.")
    if report.without_patient:
        lines.append(f"{report.without_patient} films name no patient; each counts as a patient of its own.")
    lines += _findings("labelled in two ways", [" = ".join(names) for names in report.contradictions])
    lines += _findings("on both sides of train and test", [f"{what}: {', '.join(names)}" for what, names in report.leaks.items()])
    lines += _findings("that are no pictures of the layout were passed over", report.ignored)
    lines.append(f"data digest {report.sha256}")
    return "\n".join(lines)


def _findings(what: str, found: tuple[str, ...] | list[str]) -> list[str]:
    if not found:
        return []
    more = [f"  ... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [f"{len(found)} {what}:", *(f"  {line}" for line in found[:SHOWN]), *more]
