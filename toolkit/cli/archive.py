"""`cxr-edge predict --shards`: archives, on an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from toolkit.archive.judging import Judging, judge_all
from toolkit.archive.remote import is_remote, pictures_at
from toolkit.archive.shards import Asked, Shards
from toolkit.archive.tables import TABLES
from toolkit.cli.options import table
from toolkit.core.bundle import Bundle
from toolkit.core.files import storage_errors
from toolkit.core.locks import held
from toolkit.engine.choose import chosen
from toolkit.infer.predictor import REJECTED, choose_artifact


def judge_archive(bundle: Bundle, sources: tuple[str, ...], names: Iterable[str], options: dict[str, Any]) -> int:
    """Judge all films of the sources into the folder of shards; how many are REJECTED."""
    folder: Path = options["shards"]
    artifact = choose_artifact(bundle, options["artifact"])
    work = Judging.of(bundle, artifact)
    TABLES[options["form"]].check_available()
    asked = Asked(
        bundle_sha256=bundle.sha256, artifact=artifact.name, sources=sources, shard_size=options["shard_size"], form=options["form"]
    )
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder, f"{folder} is being written by another run; wait for it, or choose another folder."):
        shards = Shards(folder, asked, names)
        if shards.count_undone():
            with closing(chosen(options["engine"], options["workers"])) as engine:
                judge_all(engine, work, shards)
        decisions = shards.decisions()
    click.echo(table(("decision", "films"), [(name, str(count)) for name, count in sorted(decisions.items())]))
    click.echo(f"\n{shards.archive.films} films in {shards.archive.shards} shards: {folder}/results/*.{asked.form}")
    return decisions[REJECTED]


def names_of(source: str, local: Iterable[Path]) -> Iterator[str]:
    """Names of an object store's films, or of those that lie here."""
    return pictures_at(source) if is_remote(source) else map(str, local)
