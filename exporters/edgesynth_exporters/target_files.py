"""Targets from TOML: those that ship with edgesynth, and those that a user writes.

A target states its own facts; the rest follows from its JetPack, and then from the target that it is based on. What is
still missing gets a reason. The keys are the fields of `Target` that `_Entry` lists.
"""

import re
import tomllib
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.rules import TENSORRT, refusal, table_for
from edgesynth_exporters.suggest import nearest
from edgesynth_exporters.target import FACTS, Kind, PowerMode, Precision, Target
from edgesynth_exporters.toml_files import read_toml

__all__ = ["builtin_targets", "greatest_opset", "read_model", "read_targets"]

FOLDER = Path(__file__).parent
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # as a requirement can name it: latency_ms@NAME
FROM_JETPACK = ("l4t", "python", "cuda", "tensorrt")

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Version = Annotated[str, StringConstraints(pattern=r"^\d{1,5}(\.\d{1,5})+$")]
Megahertz = Annotated[float, Field(gt=0, lt=1e5)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Mode(_Strict):
    id: Annotated[int, Field(ge=0)]
    name: Text
    cpus: Text
    cpu_mhz: Megahertz | None = None
    gpu_mhz: Megahertz | None = None
    memory_mhz: Megahertz | None = None
    default: bool = False


class _Entry(_Strict):
    """One table of a file of targets; a key that is left out is unset, for TOML has no null."""

    kind: Kind = "board"
    based_on: Text | None = None
    description: Text | None = None
    module: Text | None = None
    jetpack: Text | None = None
    l4t: Version | None = None
    python: Version | None = None
    cuda: Version | None = None
    tensorrt: Version | None = None
    opset: Annotated[int, Field(ge=1)] | None = None
    precisions: Annotated[list[Precision], Field(min_length=1)] | None = None
    memory_mib: Annotated[int, Field(ge=1, lt=1 << 40)] | None = None
    compute_capability: Annotated[str, StringConstraints(pattern=r"^\d+\.\d$")] | None = None
    rails: list[Text] | None = None
    total_power: list[Annotated[list[Text], Field(min_length=1)]] | None = None
    power_modes: list[_Mode] | None = None
    sources: dict[Text, Text] = {}
    reasons: dict[Text, Text] = {}


class _Facts(NamedTuple):
    """Facts on the way to becoming a target, each with a source or a reason."""

    values: dict[str, Any]
    sources: dict[str, str]
    reasons: dict[str, str]

    def put(self, name: str, value: Any, source: str) -> None:
        self.values[name] = value
        self.sources[name] = source
        self.reasons.pop(name, None)


@cache
def builtin_targets() -> Mapping[str, Target]:
    """The targets that edgesynth knows, by name. Their files ship with it, so a damaged one is a bug."""
    return _read(FOLDER / "boards.toml", {}, own=False)


def read_targets(path: Path, known: Mapping[str, Target]) -> dict[str, Target]:
    """The targets that the user's file `path` defines, by name; all of them are boards.

    Raises EdgesynthError that names file and key for one that cannot be read, is no TOML, has an unknown key, a value
    of another type or one that contradicts another, or a name that is in `known` already.
    """
    return _read(path, known, own=True)


def read_model(path: Path, known: Mapping[str, Target]) -> Target:
    """The model that the file `path` of `edgesynth calibrate` holds, as a target with the name of the file.

    Its table `target` says which board it is `based_on` and has a `description`; the rest is for whoever estimates.
    Raises EdgesynthError as `read_targets` does.
    """
    where = f"{path}: [target]"
    table = read_toml(path, "a model").get("target")
    if not isinstance(table, dict):
        raise EdgesynthError(f"{path}: there is no table [target]: not a file that edgesynth calibrate wrote")
    name = path.stem
    if not NAME.fullmatch(name):
        raise EdgesynthError(f"{path}: {name!r} is no name: use letters, digits and . _ -, a letter or digit first")
    if name in known:
        by = known[name].defined_in or "edgesynth itself"
        raise EdgesynthError(f"{path}: the name '{name}' is taken by {by}; rename the file")
    model = _target(name, _entry(table | {"kind": "model"}, where), known, where, path)
    if model.based_on is None:
        raise EdgesynthError(f"{where}: based_on is missing: the board that the model is of")
    return replace(model, constants=str(path))


def greatest_opset(tensorrt: str) -> tuple[int, str] | None:
    """The greatest ONNX opset of the rules for this version of TensorRT, and the source; None for one before 8.2.

    A version without rules of its own has those of an earlier one, and their opset: what it takes beyond is not known.
    """
    if _version(tensorrt) < _version(TENSORRT[0]):
        return None
    table, exact = table_for(tensorrt)
    return table.opset[1], table.source if exact else f"rules for {tensorrt} are those of {table.title}: {table.source}"


@cache
def _jetpacks() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "jetpacks.toml").read_text(encoding="utf-8"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _read(path: Path, known: Mapping[str, Target], *, own: bool) -> dict[str, Target]:
    found: dict[str, Target] = {}
    taken = ChainMap(found, dict(known))
    for name, table in _tables(path).items():
        where = f"{path}: [{name}]"
        if not NAME.fullmatch(name):
            raise EdgesynthError(f"{path}: {name!r} is no name: use letters, digits and . _ -, a letter or digit first")
        if name in taken:
            by = taken[name].defined_in or "edgesynth itself"
            raise EdgesynthError(f"{where}: this name is taken by {by}; choose another")
        entry = _entry(table, where)
        if own and entry.kind != "board":
            raise EdgesynthError(f"{where}: kind '{entry.kind}' cannot be defined in a file, boards alone can")
        found[name] = _target(name, entry, taken, where, path if own else None)
    return found


def _tables(path: Path) -> dict[str, Any]:
    tables = read_toml(path, "targets")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise EdgesynthError(f"{path}: {name!r} is a key outside of a target; write [NAME] above its keys")
    return tables


def _entry(table: dict[str, Any], where: str) -> _Entry:
    try:
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            names = _Mode.model_fields if len(first["loc"]) > 1 else _Entry.model_fields
            raise EdgesynthError(f"{where}: unknown key '{key}'{nearest(str(first['loc'][-1]), names)}") from error
        raise EdgesynthError(f"{where}: {key}: {first['msg']}") from error
    for table_name, stated in (("sources", entry.sources), ("reasons", entry.reasons)):
        for name in stated:
            if name not in FACTS:
                raise EdgesynthError(f"{where}: {table_name}.{name} is about no fact{nearest(name, FACTS)}")
    for name in entry.sources:
        if name not in entry.model_fields_set:
            raise EdgesynthError(f"{where}: sources.{name}: {name} itself is not stated here; state it too")
    _check_modes(entry.power_modes or [], where)
    return entry


def _check_modes(modes: Iterable[_Mode], where: str) -> None:
    ids: set[int] = set()
    defaults = 0
    for mode in modes:
        if mode.id in ids:
            raise EdgesynthError(f"{where}: power_modes: two have the id {mode.id}")
        ids.add(mode.id)
        defaults += mode.default
    if defaults > 1:
        raise EdgesynthError(f"{where}: power_modes: {defaults} are the default, and one can be")


def _target(name: str, entry: _Entry, known: Mapping[str, Target], where: str, path: Path | None) -> Target:
    base = _base(entry, known, where)
    facts = _Facts({}, {}, {}) if base is None else _facts_of(base)
    stated = {fact: getattr(entry, fact) for fact in FACTS if fact in entry.model_fields_set}
    if "jetpack" in stated:
        _follow_jetpack(facts, stated, where)
    for fact, value in stated.items():
        origin = facts.sources.get(fact, "") if path is None else f"stated in {path}"
        facts.put(fact, _frozen(fact, value), entry.sources.get(fact, origin))
    _follow_tensorrt(facts, stated, where)
    _check_rails(facts.values, where)
    _check_precisions(facts.values, where)
    description = entry.description or (base.description if base else "")
    for key in ("description", "opset", "precisions"):
        if not (description if key == "description" else facts.values.get(key)):
            raise EdgesynthError(f'{where}: {key} is missing; state it, or based_on = "BOARD" to take the rest from')
    empty = [fact for fact in FACTS if facts.values.get(fact) in (None, ())]
    reasons = {fact: f"{'empty' if fact in stated else 'not stated'} in {path}" for fact in empty}
    reasons |= {fact: text for fact, text in (facts.reasons | entry.reasons).items() if fact in empty}
    return Target(
        name=name,
        description=description,
        source="estimated" if entry.kind == "model" else "measured",
        kind=entry.kind,
        based_on=None if base is None else base.name,
        sources={fact: text for fact, text in facts.sources.items() if fact not in empty},
        reasons=reasons,
        defined_in=None if path is None else str(path),
        **facts.values,
    )


def _base(entry: _Entry, known: Mapping[str, Target], where: str) -> Target | None:
    if entry.based_on is None:
        return None
    base = known.get(entry.based_on)
    if base is None or base.kind != "board":
        boards = [target.name for target in known.values() if target.kind == "board"]
        hint = nearest(entry.based_on, boards)
        raise EdgesynthError(f"{where}: based_on: '{entry.based_on}' is none of {', '.join(boards)}{hint}")
    return base


def _facts_of(target: Target) -> _Facts:
    values = {each.name: getattr(target, each.name) for each in fields(target) if each.name in FACTS}
    return _Facts(values, dict(target.sources), dict(target.reasons))


def _follow_jetpack(facts: _Facts, stated: Mapping[str, Any], where: str) -> None:
    """What the stated JetPack brings along."""
    jetpacks, name = _jetpacks()["jetpack"], stated["jetpack"]
    if name not in jetpacks:
        missing = [fact for fact in FROM_JETPACK if fact not in stated]
        if missing:
            raise EdgesynthError(
                f"{where}: jetpack: edgesynth knows what is in {', '.join(jetpacks)}, not in '{name}'; "
                f"state {', '.join(missing)} too"
            )
        return
    found = jetpacks[name]
    for fact in FROM_JETPACK:
        facts.put(fact, found[fact], found["source"])
    facts.put("jetpack", name, found["supports"])


def _follow_tensorrt(facts: _Facts, stated: Mapping[str, Any], where: str) -> None:
    """The opset that TensorRT takes, unless a lesser one is stated."""
    tensorrt = facts.values.get("tensorrt")
    found = None if tensorrt is None else greatest_opset(tensorrt)
    if "opset" not in stated:
        if found is not None:
            facts.put("opset", *found)
        elif "tensorrt" in stated:
            raise EdgesynthError(f"{where}: opset is missing: edgesynth does not know that of TensorRT {tensorrt}")
    elif found is not None and stated["opset"] > found[0]:
        raise EdgesynthError(f"{where}: opset: TensorRT {tensorrt} takes {found[0]} at most ({found[1]})")


def _check_rails(values: Mapping[str, Any], where: str) -> None:
    rails = values.get("rails", ())
    for alternative in values.get("total_power", ()):
        for rail in alternative:
            if rail not in rails:
                raise EdgesynthError(f"{where}: total_power: '{rail}' is none of the rails{nearest(rail, rails)}")
        if len(set(alternative)) < len(alternative):
            raise EdgesynthError(f"{where}: total_power: counts a rail twice: {' + '.join(alternative)}")


def _check_precisions(values: Mapping[str, Any], where: str) -> None:
    """Hardware has the last word on what it computes in."""
    for precision in values.get("precisions", ()):
        found = refusal(precision, values.get("compute_capability"))
        if found is not None:
            raise EdgesynthError(f"{where}: precisions: {precision}: {found[0]} ({found[1]})")


def _frozen(fact: str, value: Any) -> Any:
    """Lists as tuples, modes as what they are."""
    if fact == "power_modes":
        return tuple(PowerMode(**mode.model_dump()) for mode in value)
    if fact == "total_power":
        return tuple(map(tuple, value))
    return _unique(value) if isinstance(value, list) else value


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
