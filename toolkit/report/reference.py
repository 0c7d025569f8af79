"""Every key of a recipe and of a bundle's manifest, from the types that read them.

python -m toolkit.report.reference recipes > docs/recipes.md
python -m toolkit.report.reference bundle > docs/bundle.md
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types

from toolkit.core.bundle import Manifest
from toolkit.core.codec import to_plain
from toolkit.core.recipe import Recipe

RECIPES = """# Recipes

What a recipe can say: its keys, what they take, and what they are when they are left out. Written from the types that read recipes, by
`python -m toolkit.report.reference recipes > docs/recipes.md`. An unknown key, a wrong type and a value out of range are refused with the
valid ones. `--set train.epochs=3` sets a key on the command line."""
BUNDLE = """# Bundles

A folder that is all a clinic needs:

| file | holds |
|---|---|
| `bundle.json` | the manifest: everything below |
| model files | `.onnx`, `.xml` with `.bin`, `.engine`, and ONNX for engines that are built where they run |
| `screen.onnx` | what rejects pictures that are no usable frontal chest films |
| `README.md` | the model card |
| `reference_scores.csv` | SHA-256 of each test film, its label, and the probability that the dense network and each artifact gave it |
| `reference_corruptions.csv` | the dense network's scores of some films, corrupted |

It is written beside its place and moved there when it is whole. Whoever loads it compares digests first, fills in nothing that is missing,
and takes the fastest artifact that passed its gate and that the machine can run (`recommended_for`). Paths that leave the folder, links
out of it, ONNX files that name other files and manifests above 4 MB are refused before a runtime sees them. A digest tells of damage; it
tells of malice only when the manifest's own, which every prediction names, is compared with one that came by another way
(`cxr-edge bundle show`).

The keys of the manifest, written from the types that read it by `python -m toolkit.report.reference bundle > docs/bundle.md`:"""
DOCUMENTS: dict[str, tuple[str, str, type]] = {"recipes": (RECIPES, "A recipe", Recipe), "bundle": (BUNDLE, "`bundle.json`", Manifest)}
BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
PLAIN: dict[type[types.Type], str] = {
    types.StrType: "text",
    types.BoolType: "true or false",
    types.AnyType: "any value",
    types.NoneType: "null",
}


def reference(document: str) -> str:
    """Markdown, of 'recipes' or 'bundle': a section for each part, in its order; a part that occurs again refers to its first section."""
    head, title, kind = DOCUMENTS[document]
    sections: dict[type, tuple[str, str]] = {}
    _add("", types.type_info(kind), sections)
    return "\n\n".join([head, f"## {title}{next(iter(sections.values()))[1]}", *(text for _, text in list(sections.values())[1:])]) + "\n"


def _add(path: str, kind: types.Type, sections: dict[type, tuple[str, str]]) -> None:
    """A section for the struct at `path` (of `kind`, perhaps optional), then those of the structs in it."""
    struct = _struct(kind)
    if struct is None or struct.cls in sections:
        return
    sections[struct.cls] = path, ""  # its place, before those of its parts
    for field in struct.fields:
        _add(f"{path}.{field.encode_name}".lstrip("."), field.type, sections)
    rows = [f"| `{field.encode_name}` | {_words(field.type, sections)} | {_default(field)} |" for field in struct.fields]
    title = f"## `{path}`" if path else ""
    table = "\n".join(["| key | takes | when left out |", "|---|---|---|", *rows])
    sections[struct.cls] = path, "\n\n".join([title, inspect.cleandoc(str(struct.cls.__doc__)), table])


def _struct(kind: types.Type) -> types.StructType | None:
    if isinstance(kind, types.UnionType):
        return next((found for part in kind.types if (found := _struct(part))), None)
    if isinstance(kind, types.VarTupleType):
        return _struct(kind.item_type)
    if isinstance(kind, types.DictType):
        return _struct(kind.value_type)
    return kind if isinstance(kind, types.StructType) else None


def _words(kind: types.Type, sections: dict[type, tuple[str, str]]) -> str:
    """What a value may be."""
    if isinstance(kind, types.Metadata):
        return _words(kind.type, sections)
    if isinstance(kind, types.UnionType):
        return ", or ".join(_words(part, sections) for part in kind.types)
    if isinstance(kind, types.VarTupleType):
        return f"a list, each {_words(kind.item_type, sections)}"
    if isinstance(kind, types.DictType):
        return f"{_words(kind.key_type, sections)}: {_words(kind.value_type, sections)}"
    if isinstance(kind, types.TupleType):
        return f"{len(kind.item_types)} values, each {_words(kind.item_types[0], sections)}"
    return f"the keys of `{sections[kind.cls][0]}`" if isinstance(kind, types.StructType) else _one_value(kind)


def _one_value(kind: types.Type) -> str:
    if isinstance(kind, types.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, types.IntType | types.FloatType):
        name = "a whole number" if isinstance(kind, types.IntType) else "a number"
        return ", ".join([name, *(said.format(f"{bound:g}") for key, said in BOUNDS.items() if (bound := getattr(kind, key)) is not None)])
    return PLAIN[type(kind)]


def _default(field: types.Field) -> str:
    value = field.default if field.default is not NODEFAULT else field.default_factory
    if value is NODEFAULT:
        return "must be given"
    value = value() if callable(value) else value
    if not isinstance(value, msgspec.Struct):
        return f"`{_shown(to_plain(value))}`"
    usual = {one.name: one.default for one in msgspec.structs.fields(type(value))}
    other = {name: plain for name, plain in to_plain(value).items() if plain != to_plain(usual[name])}
    return f"`{_shown(other)}`, else as there" if other else "as there"


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode().replace('"', "").replace(",", ", ") or "''"


if __name__ == "__main__":
    sys.stdout.write(reference(sys.argv[1]))
