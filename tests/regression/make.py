"""Record what a bundle answers now: python -m tests.regression.make exported/szanet --films ../shared/data/chest_xray_224

What differs from the earlier record is printed first: read it, it is what the tests would have said. Answers of artifacts that do not run on
this machine are kept as they were recorded, while the bundle is the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tests.regression.record import (
    HERE,
    FilmSet,
    Head,
    Logits,
    Point,
    Record,
    Set,
    answers,
    changed,
    film_set,
    lay_out,
    point_of,
    read,
    runs_here,
    write,
)
from toolkit.core.bundle import Bundle


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--films", type=click.Path(path_type=Path, exists=True), required=True, help="The Kermany films at 224 pixels.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Where the record is written  [default: beside this file].")
def main(folder: Path, films: Path, target: Path | None) -> None:
    """Record what a bundle answers now."""
    bundle = Bundle(folder)
    place = target or HERE / folder.resolve().name
    before = read(place) if (place / "record.json").is_file() else None
    now = measure(bundle, films, before)
    for sentence in changed(before, now, bundle) if before else ():
        click.echo(f"Changed: {sentence}")
    write(place, now)
    click.echo(f"{place}: {len(now.head.artifacts)} artifacts")


def measure(bundle: Bundle, folder: Path, before: Record | None) -> Record:
    """Score all that runs here; what does not is taken from the earlier record, or refused."""
    sets = _sets(bundle, folder)
    head: dict[str, Point] = {}
    scores: dict[Set, dict[str, Logits]] = {kind: {} for kind in sets}
    for name, why in runs_here(bundle).items():
        if why is None:
            head[name] = point_of(bundle, name)
            found = {kind: answers(bundle, name, films) for kind, films in sets.items()}
        elif before is not None and before.head.bundle_sha256 == bundle.sha256:
            head[name] = before.head.artifacts[name]
            found = {kind: before.scores[kind][name] for kind in sets}
        else:
            raise click.ClickException(f"{name} cannot be recorded here: {why}. Record it where it runs.")
        for kind, logits in found.items():
            scores[kind][name] = logits
    return Record(Head(bundle_sha256=bundle.sha256, artifacts=head), scores)


def _sets(bundle: Bundle, folder: Path) -> dict[Set, FilmSet]:
    with tempfile.TemporaryDirectory() as drawn:
        return {"phantom": film_set("phantom", lay_out(Path(drawn) / "films"), bundle), "real": film_set("real", folder, bundle)}


if __name__ == "__main__":
    main()
