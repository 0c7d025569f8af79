"""Shards of films on an engine."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.archive.isolated import Isolated, Question
from toolkit.archive.shards import Shard, Shards
from toolkit.core.bundle import MANIFEST, Artifact, Bundle
from toolkit.core.prediction import Prediction
from toolkit.core.progress import track
from toolkit.engine.work import Engine
from toolkit.errors import ClusterError

Judge = Callable[[Shard], list[Prediction]]


@dataclass(frozen=True)
class Judging:
    """The work: judge a shard's films with one artifact of a bundle, whose files travel with it. `root`: what names are relative to."""

    key: str
    files: Mapping[str, bytes]
    artifact: str
    root: Path
    cores: int = 1

    @classmethod
    def of(cls, bundle: Bundle, artifact: Artifact) -> Judging:
        """With an artifact that was chosen; raises BundleError when a file was changed."""
        bundle.verify(artifact)
        screen = bundle.verified_screen()
        paths = [bundle.folder / MANIFEST, *bundle.paths(artifact), *([screen] if screen else [])]
        files = {path.relative_to(bundle.folder).as_posix(): path.read_bytes() for path in paths}
        return cls(f"judging {bundle.sha256} {artifact.name}", files, artifact.name, Path.cwd())

    @contextmanager
    def open(self) -> Iterator[Judge]:
        """A predictor in a process of its own, that is asked with one shard after another."""
        with tempfile.TemporaryDirectory(prefix="cxr-edge-bundle-") as place:
            for name, content in self.files.items():
                (path := Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            isolated = Isolated(Question(Path(place), self.artifact, self.root))
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
