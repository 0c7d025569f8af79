"""Shards of films on an engine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.archive.isolated import Isolated, Question
from toolkit.archive.shards import Shard, Shards
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.prediction import Prediction
from toolkit.core.progress import track
from toolkit.engine.work import Engine
from toolkit.errors import ClusterError
from toolkit.infer.packed import Packed, packed, unpacked

Judge = Callable[[Shard], list[Prediction]]


@dataclass(frozen=True)
class Judging:
    """The work: judge a shard's films with one artifact of a bundle, whose files travel with it. `root`: what names are relative to."""

    key: str
    files: Packed
    artifact: str
    root: Path
    cores: int = 1

    @classmethod
    def of(cls, bundle: Bundle, artifact: Artifact) -> Judging:
        """With an artifact that was chosen; raises BundleError when a file was changed."""
        return cls(f"judging {bundle.sha256} {artifact.name}", packed(bundle, (artifact,)), artifact.name, Path.cwd())

    @contextmanager
    def open(self) -> Iterator[Judge]:
        """A predictor in a process of its own, that is asked with one shard after another."""
        with unpacked(self.files) as bundle:
            isolated = Isolated(Question(bundle.folder, self.artifact, self.root))
            try:
                yield lambda shard: self._judged(isolated, shard)
            finally:
                isolated.close()

    def _judged(self, isolated: Isolated, shard: Shard) -> list[Prediction]:
        if shard.folder and not (self.root / shard.folder).is_dir():
            raise ClusterError(
                f"The worker on {platform.node()} does not see {self.root / shard.folder}; mount it there, at the same place."
            )
        return isolated.judge(shard.names)


def judge_all(engine: Engine, work: Judging, shards: Shards) -> None:
    """Judge the shards that have no results yet; each is written as soon as it is done."""
    undone = shards.count_undone()
    for shard, predictions in track(engine.run(work, shards.undone()), undone, "judge shards"):
        shards.write(shard, predictions)
