"""The screen: gathers its pictures, fits it, measures it. Needs the workshop, and clones of the repositories in `screen_sets.py`.

    python -m benchmarks.screen gather CLONES PICTURES.npz
    python -m benchmarks.screen fit CHEST_XRAY PICTURES.npz [EPOCHS]          (writes toolkit/screen/screen.onnx and screen.json)
    python -m benchmarks.screen limits CHEST_XRAY                             (chooses the limits anew; part of fit)
    python -m benchmarks.screen measure CHEST_XRAY PICTURES.npz OUT.json      (adds the counts to screen.json too)

Fitted on films of train patients, on halves of the sets that say so, on drawn pictures and on what is made from films. Limits are chosen
on held-out train patients. Test films and the other sets choose nothing: they are measured.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import toolkit.screen
from benchmarks.screen_kinds import DRAWN, DRAWN_UNSEEN, INVERTED, MADE, Random
from benchmarks.screen_sets import SETS, PictureSet, pictures
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import ScreenCount, ScreenEntry, ScreenLimits
from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import AugmentSpec, DataSpec, PhantomSpec
from toolkit.data.films import Films, prepare_films
from toolkit.data.phantom import write_phantoms
from toolkit.data.sources import read_source
from toolkit.data.splits import split_by_patient
from toolkit.imaging.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.runtimes import runtime
from toolkit.infer.screen import CLIPPED_LEVELS, Screen
from toolkit.train.augment import augment
from toolkit.validate.intervals import wilson

FILM, GRAPH = Preprocessing(size_px=224), Preprocessing(size_px=96)
PLACE = Path(toolkit.screen.__file__).parent
GRAPH_FILE, ENTRY_FILE = "screen.onnx", "screen.json"
SEED = 0
BATCH, STEPS = 128, 90
SHARES = {"films": 0.34, "adults": 0.14, "made": 0.27, "others": 0.17, "drawn": 0.08}
USUAL = AugmentSpec(
    flip=True,
    aspect=0.28,
    crop=(0.78, 1.12),
    rotate_deg=9,
    shear_rad=0.05,
    gamma=0.5,
    contrast=0.5,
    brightness=0.1,
    blur_px=1.2,
    noise=0.05,
    erase=0.15,
)
CORRUPTED, SEVEREST = 0.3, 4
REJECTED_OF_HELD_OUT = 0.003  # as they are, and corrupted a little
MEASURED_FILMS = 624
NONE = "none"


class Network(nn.Module):
    """uint8 `[N, 1, 96, 96]` -> logits `[N]` of a usable frontal film, and of an inverted one. 27 thousand weights."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 24, 40, 56, 64)
        layers: list[nn.Module] = [_normed(nn.Conv2d(1, widths[0], 3, 2, 1, bias=False))]  # [N, 16, 48, 48]
        layers += [_separable(before, after, 2) for before, after in itertools.pairwise(widths[:4])]  # [N, 56, 6, 6]
        self.body = nn.Sequential(*layers, _separable(widths[3], widths[4], 1), _separable(widths[4], widths[4], 1))
        self.places = _normed(nn.Conv2d(widths[4], 8, 1, bias=False))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * 36 + widths[4], 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The two logits, float32 `[N]` each."""
        features = self.body((image.float() - 128.0) / 64.0)
        both = torch.cat([self.places(features).flatten(1), features.mean((2, 3))], 1)  # [N, 352]
        usable, inverted = self.head(both).unbind(1)
        return usable, inverted


def _normed(layer: nn.Conv2d) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())


def _separable(before: int, after: int, stride: int) -> nn.Module:
    depthwise = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)
    return nn.Sequential(_normed(depthwise), _normed(nn.Conv2d(before, after, 1, bias=False)))


class Gathered(NamedTuple):
    """Prepared pictures of one set, uint8 `[N, 224, 224]`, and which of them are for fitting, bool `[N]`."""

    pixels: Pixels
    fitted: NDArray[np.bool_]


def gather(clones: Path, out: Path) -> None:
    """Read all sets into one file, and say what was found."""
    found: dict[str, Any] = {}
    for chosen in SETS:
        rows = list(pictures(chosen, clones, FILM))
        found[f"{chosen.name} pixels"] = np.stack([row.pixels for row in rows])
        found[f"{chosen.name} fitted"] = np.array([row.fitted for row in rows])
        found[f"{chosen.name} groups"] = np.array([row.group for row in rows])
        print(f"{chosen.name}: {len(rows)} pictures, {sum(row.fitted for row in rows)} of them to fit")
    np.savez_compressed(out, **found)


def read_gathered(path: Path) -> dict[str, Gathered]:
    """All sets by name."""
    with np.load(path) as archive:
        return {chosen.name: Gathered(archive[f"{chosen.name} pixels"], archive[f"{chosen.name} fitted"]) for chosen in SETS}


def films_of(chest_xray: Path) -> dict[str, Films]:
    """Films of train, of held-out train patients, and of the test split."""
    source = read_source(chest_xray)
    splits = split_by_patient(source, DataSpec(), SEED)
    return {name: prepare_films(source, getattr(splits, name), FILM, name) for name in ("train", "holdout", "test")}


class Pool(NamedTuple):
    """What a batch is drawn from, uint8 `[N, 96, 96]` each."""

    films: Pixels
    adults: Pixels
    others: tuple[Pixels, ...]


def pool_of(train: Pixels, gathered: dict[str, Gathered]) -> Pool:
    """Everything for fitting, as the graph takes it. Sets of others are drawn from equally often, whatever their size."""
    fitted = {chosen: small(gathered[chosen.name].pixels[gathered[chosen.name].fitted]) for chosen in SETS}
    adults = np.concatenate([pixels for chosen, pixels in fitted.items() if chosen.frontal])
    return Pool(small(train), adults, tuple(pixels for chosen, pixels in fitted.items() if not chosen.frontal and len(pixels)))


def small(images: Pixels) -> Pixels:
    """uint8 `[N, S, S]` -> `[N, 96, 96]`, as the clinic does it."""
    return np.stack([prepare_raw(pixels, GRAPH) for pixels in images]) if len(images) else np.empty((0, 96, 96), np.uint8)


def batches(pool: Pool, random: Random) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of an epoch: pictures float32 `[N, 1, 96, 96]`, whether usable `[N]`, whether inverted `[N]`, the latter -1 where no film.

    What is made from a film is made after the usual changes, as a clinic would spoil a film of any look.
    """
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    kinds = list(SHARES)
    for _ in range(STEPS):
        drawn = [kinds[place] for place in random.choice(len(kinds), BATCH, p=list(SHARES.values()))]
        plain = np.stack([_picture(kind, pool, random) for kind in drawn])
        changed = augment(torch.from_numpy(plain)[:, None].float(), USUAL, generator).round_().to(torch.uint8)[:, 0].numpy()
        images, usable, inverted = changed.copy(), np.zeros(BATCH, np.float32), np.full(BATCH, -1, np.float32)
        for row, kind in enumerate(drawn):
            images[row], usable[row], inverted[row] = _finished(kind, changed[row], random)
        yield tuple(map(torch.from_numpy, (images[:, None].astype(np.float32), usable, inverted)))


def _picture(kind: str, pool: Pool, random: Random) -> Pixels:
    if kind == "drawn":
        return DRAWN[str(random.choice(list(DRAWN)))](96, random)
    if kind == "others":
        pictures_of_one = pool.others[random.integers(len(pool.others))]
        picture = pictures_of_one[random.integers(len(pictures_of_one))]
        turned = np.rot90(picture, random.integers(4)) if random.random() < 0.3 else picture
        return 255 - turned if random.random() < 0.2 else turned
    source = pool.adults if kind == "adults" or (kind == "made" and random.random() < 0.3) else pool.films
    return source[random.integers(len(source))]


def _finished(kind: str, picture: Pixels, random: Random) -> tuple[Pixels, float, float]:
    """A changed picture, whether it is a usable film, whether an inverted one."""
    name = str(random.choice(list(MADE))) if kind == "made" else NONE
    if name != NONE:
        picture = MADE[name](picture, random)
    if random.random() < CORRUPTED and kind != "drawn":
        picture = corrupt(picture, str(random.choice(list(CORRUPTIONS))), int(random.integers(1, SEVEREST + 1)), str(random.random()))
    film = kind in ("films", "adults")
    return picture, float(film), float(name == INVERTED) if film or name != NONE else -1.0


def train(pool: Pool, epochs: int) -> Network:
    """Fit from nothing; one cycle of the rate, weights averaged at the end."""
    torch.manual_seed(SEED)
    network = Network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * STEPS)
    for epoch in range(epochs):
        network.train()
        losses = []
        for images, usable, inverted in batches(pool, np.random.default_rng((SEED, epoch))):
            said_usable, said_inverted = network(images.to(memory_format=torch.channels_last))
            known = inverted >= 0
            loss = binary_cross_entropy_with_logits(said_usable, usable)
            loss = loss + 0.5 * binary_cross_entropy_with_logits(said_inverted[known], inverted[known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}", flush=True)
    found: Network = averaged.module.eval()
    return found


def write_graph(network: Network, path: Path) -> None:
    """Export for any number of films."""
    example = torch.zeros(2, 1, 96, 96, dtype=torch.uint8)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["image"],
        output_names=["logit", "inverted"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.optimize()
    write_atomically(path, _without_traces(program.model_proto))


def _without_traces(model: Any) -> bytes:
    """Stack traces name places of the machine that exported."""
    for node in model.graph.node:
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    return bytes(model.SerializeToString())


def choose_limits(held: Pixels) -> ScreenLimits:
    """Of held-out films uint8 `[N, 224, 224]`: the network's, such as rejects few of them as they are and corrupted a little; the rules',
    such as rejects none of them, with room, however severely corrupted. Asks the graph that lies in the package."""
    session = runtime("onnxruntime").load((PLACE / GRAPH_FILE,), 1)
    usable, inverted = session.outputs(small(np.concatenate([held, _corrupted(held, 2)]))[:, None])
    flat = small(np.concatenate([held, _corrupted(held, 5)])).reshape(2 * len(held), -1)
    clipped = np.maximum((flat <= CLIPPED_LEVELS).mean(1), (flat >= 255 - CLIPPED_LEVELS).mean(1))
    return ScreenLimits(
        contrast_least=round(min(8.0, 0.5 * float(flat.std(1).min())), 1),
        clipped_most=round(min(0.95, float(clipped.max()) + 0.05), 2),
        bright_least=int(0.5 * np.quantile(flat, 0.99, axis=1).min()),
        dark_most=int(255 - 0.5 * (255 - np.quantile(flat, 0.01, axis=1).max())),
        usable_least=round(float(np.quantile(usable, REJECTED_OF_HELD_OUT)), 3),
        inverted_most=round(max(0.0, float(np.quantile(inverted, 1 - REJECTED_OF_HELD_OUT / 4))), 3),
    )


def _corrupted(films: Pixels, severity: int) -> Pixels:
    """Each film by one of the corruptions in turn."""
    names = list(CORRUPTIONS)
    return np.stack([corrupt(film, names[row % len(names)], severity, f"held out {row}") for row, film in enumerate(films)])


def fit(chest_xray: Path, gathered_file: Path, epochs: int) -> None:
    """Fit, export, choose the limits; leaves both files of the package, with nothing measured yet."""
    films, gathered = films_of(chest_xray), read_gathered(gathered_file)
    write_graph(train(pool_of(films["train"].images[:, 0], gathered), epochs), PLACE / GRAPH_FILE)
    _describe(films["holdout"].images[:, 0])


def limits(chest_xray: Path) -> None:
    """Choose the limits of the graph that is there anew."""
    _describe(films_of(chest_xray)["holdout"].images[:, 0])


def _describe(held: Pixels) -> None:
    nothing = ScreenCount(pictures=0, rejected=0)
    file = FileEntry.of(PLACE, GRAPH_FILE)
    entry = ScreenEntry(file=file, size_px=96, limits=choose_limits(held), films=nothing, others=nothing)
    write_atomically(PLACE / ENTRY_FILE, encode_json(entry))
    print(encode_json(entry).decode())


class Row(NamedTuple):
    """One line of the results. `reasons` counts what the screen said."""

    name: str
    what: str
    fitted_kind: bool
    pictures: int
    rejected: int
    interval95: tuple[float, float] | None
    reasons: dict[str, int]


def row_of(screen: Screen, name: str, what: str, images: Pixels, *, fitted_kind: bool) -> Row:
    """Ask the screen, picture by picture, as the clinic does."""
    said = [why for image in images if (why := screen.why_rejected(image)) is not None]
    return Row(name, what, fitted_kind, len(images), len(said), wilson(len(said), len(images)), dict(Counter(said)))


def measure(chest_xray: Path, gathered_file: Path, out: Path) -> None:
    """Every set that is not fitted, once; writes the results and puts the totals into the package's description."""
    entry = read_json(PLACE / ENTRY_FILE, ScreenEntry)
    screen = Screen(runtime("onnxruntime").load((PLACE / GRAPH_FILE,), 1), entry)
    films, gathered = films_of(chest_xray), read_gathered(gathered_file)
    rows = [*_films_rows(screen, films), *_set_rows(screen, gathered), *_made_rows(screen, films["test"].images[:, 0], gathered)]
    rows += [*_drawn_rows(screen), *_corrupted_rows(screen, films["test"].images[:, 0]), _phantoms(screen, out.parent)]
    for row in rows:
        print(f"{row.what:12} {row.name:55} {row.rejected:5} of {row.pictures:5} {100 * row.rejected / row.pictures:6.1f} %  {row.reasons}")
    described = msgspec.structs.replace(entry, films=_total(rows, "films"), others=_total(rows, "other"))
    write_atomically(PLACE / ENTRY_FILE, encode_json(described))
    sets = [_described(chosen) for chosen in SETS]
    write_atomically(out, encode_json({"screen": described, "rows": [row._asdict() for row in rows], "sets": sets}))


def _total(rows: list[Row], what: str) -> ScreenCount:
    chosen = [row for row in rows if row.what == what]
    return ScreenCount(pictures=sum(row.pictures for row in chosen), rejected=sum(row.rejected for row in chosen))


def _films_rows(screen: Screen, films: dict[str, Films]) -> list[Row]:
    held = row_of(screen, "held-out train patients (they chose the limits)", "held out", films["holdout"].images[:, 0], fitted_kind=True)
    test = row_of(screen, "official test split", "films", films["test"].images[:, 0], fitted_kind=True)
    tiny = [np.asarray(Image.fromarray(film).resize((28, 28), Image.Resampling.BILINEAR)) for film in films["test"].images[:, 0]]
    return [held, test, row_of(screen, "official test split at 28 px", "small films", np.stack(tiny), fitted_kind=True)]


def _set_rows(screen: Screen, gathered: dict[str, Gathered]) -> Iterator[Row]:
    for chosen in SETS:
        found = gathered[chosen.name]
        unseen = found.pixels[~found.fitted]
        if len(unseen):
            yield row_of(screen, chosen.name, "adults" if chosen.frontal else "other", unseen, fitted_kind=chosen.role != "measured")


def _made_rows(screen: Screen, test: Pixels, gathered: dict[str, Gathered]) -> Iterator[Row]:
    adults = np.concatenate([gathered[chosen.name].pixels for chosen in SETS if chosen.frontal and chosen.role == "measured"])
    for whose, what, films in (("test films", "other", test[:MEASURED_FILMS]), ("adults' films", "adults made", adults)):
        for name, make in MADE.items():
            made = np.stack([make(film, np.random.default_rng((1, row))) for row, film in enumerate(films)])
            yield row_of(screen, f"{whose}, {name}", what, made, fitted_kind=True)


def _drawn_rows(screen: Screen) -> Iterator[Row]:
    for kinds, fitted in ((DRAWN, True), (DRAWN_UNSEEN, False)):
        for name, draw in kinds.items():
            drawn = np.stack([draw(FILM.size_px, np.random.default_rng((2, row))) for row in range(200)])
            yield row_of(screen, f"drawn: {name}", "other", drawn, fitted_kind=fitted)


def _corrupted_rows(screen: Screen, test: Pixels) -> Iterator[Row]:
    """What clinics do to films: how many of them are still taken."""
    for name in CORRUPTIONS:
        for severity in SEVERITIES[1:]:
            spoilt = np.stack([corrupt(film, name, severity, f"test {row}") for row, film in enumerate(test)])
            yield row_of(screen, f"{name} {severity}", "corrupted", spoilt, fitted_kind=True)


def _phantoms(screen: Screen, beside: Path) -> Row:
    """Drawn films, for which the screen is not made."""
    place = beside / ".phantoms"
    write_phantoms(PhantomSpec(train_patients=40, test_patients=16, size_px=224, seed=11), place)
    source = read_source(place)
    images = prepare_films(source, source.cases, FILM, "phantoms").images[:, 0]
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.rmdir()
    return row_of(screen, "phantoms", "drawn films", images, fitted_kind=False)


def _described(chosen: PictureSet) -> dict[str, Any]:
    repository = chosen.repository._asdict()
    return {"name": chosen.name, **{f"repository_{key}" if key == "name" else key: value for key, value in repository.items()}} | {
        "pattern": chosen.pattern,
        "views": chosen.views,
        "role": chosen.role,
    }


PLAIN_VERBS: dict[str, Callable[..., None]] = {"gather": gather, "limits": limits, "measure": measure}


def main(verb: str, *arguments: str) -> None:
    """Run one verb; paths, and for `fit` the number of epochs."""
    if verb == "fit":
        fit(Path(arguments[0]), Path(arguments[1]), int(arguments[2]) if len(arguments) > 2 else 24)
    else:
        PLAIN_VERBS[verb](*map(Path, arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
