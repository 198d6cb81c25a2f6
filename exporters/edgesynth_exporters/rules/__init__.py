"""What each runtime takes of ONNX: tables in TOML beside this file, one for each version of TensorRT.

A table may be `based_on` an earlier one and then says only what changed. Its keys:

    runtime, version, opset = [least, greatest] (0: not stated), source, note
    types                   element types that tensors may have
    io_types                those of them that only inputs and outputs of a network may have
    casts                   types that are silently computed as another
    [[operators]]           names, and the types that their data may have
    unsupported             operators that the list names as not supported
    unsure                  types that the list does not name for an operator and that are known to work in part
    typed_inputs            whose type counts, where that is not the first input; -1: none
    typed_outputs           operators of which the type of the first output counts too
    domains                 of operators that it knows; "" is ONNX's own
    plugin_suffix           how the operators of the runtime's own plugins end
    dynamic_shapes          whether free dimensions are taken as they are
    local_functions         whether functions within the file are
    sparse_weights          whether sparse initializers are
    most_nested             graphs within graphs; 0: not stated
    clamped_at_will         inputs of operators where "as large as can be" means "to the end", after clamping too
    strongly_typed          whether the types of the file are those of the engine
    [[rules]]               what more must hold for some operators; `check` is a kind of condition in conditions.py
    removed_rules           rules of the earlier table that no longer hold
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

__all__ = [
    "ChannelWidth",
    "Refusal",
    "Rule",
    "Table",
    "hardware",
    "load_table",
    "remedy",
    "table_for",
    "useless_when_infinite",
]

TENSORRT = ("8.2", "8.5", "8.6", "10.3", "10.16", "11")
"""Versions with a table of their own, in their order."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for every node of some operators. `reason` may name {value}, {rank} and {type}."""

    id: str
    operators: tuple[str, ...]
    check: str
    parameters: Mapping[str, Any]
    severity: Severity
    reason: str
    remedy: str
    source: str


@dataclass(frozen=True)
class Table:
    """What one version of a runtime takes. `operators` is None where every operator of the standard is taken."""

    runtime: str
    version: str
    opset: tuple[int, int]
    source: str
    types: frozenset[str]
    io_types: frozenset[str]
    casts: Mapping[str, str]
    operators: Mapping[str, frozenset[str]] | None
    unsupported: frozenset[str]
    unsure: Mapping[str, frozenset[str]]
    typed_inputs: Mapping[str, int]
    typed_outputs: frozenset[str]
    rules: Mapping[str, tuple[Rule, ...]]
    domains: frozenset[str]
    plugin_suffix: str | None
    dynamic_shapes: bool
    local_functions: bool
    sparse_weights: bool
    most_nested: int
    clamped_at_will: Mapping[str, frozenset[int]]
    strongly_typed: bool

    @property
    def title(self) -> str:
        return f"{self.runtime} {self.version}".strip()


@dataclass(frozen=True)
class Refusal:
    """Why GPUs of some compute capabilities do not compute in a precision."""

    precision: str
    compute_capabilities: tuple[str, ...]
    reason: str
    source: str


@dataclass(frozen=True)
class ChannelWidth:
    """From a compute capability on, channels are computed in groups of `width`."""

    precision: str
    since: tuple[int, int]
    width: int
    reason: str
    source: str


@dataclass(frozen=True)
class Hardware:
    """Facts of boards that do not depend on the version of TensorRT.

    `cramped` is the share of the memory above which an engine leaves too little for the system and the application.
    """

    refusals: tuple[Refusal, ...]
    channel_widths: tuple[ChannelWidth, ...]
    workspace_mib: int
    workspace_source: str
    cramped: float


@cache
def table_for(tensorrt: str | None) -> tuple[Table, bool]:
    """The table for a version such as "8.2.1", and whether it was made for that version; None is ONNX Runtime's.

    For a version between two tables it is the earlier one, for one before them all the first.
    """
    if tensorrt is None:
        return load_table("onnxruntime"), True
    wanted = _numbers(tensorrt)
    known = [name for name in TENSORRT if _numbers(name) <= wanted]
    name = known[-1] if known else TENSORRT[0]
    return load_table(name), wanted[: len(_numbers(name))] == _numbers(name)


@cache
def load_table(name: str) -> Table:
    """The table called `name`: a version in TENSORRT, or "onnxruntime"."""
    content = _merged(name)
    rules = [_rule(entry) for entry in content["rules"].values()]
    return Table(
        runtime=content["runtime"],
        version=content["version"],
        opset=(content["opset"][0], content["opset"][1]),
        source=content["source"],
        types=frozenset(content["types"]),
        io_types=frozenset(content["io_types"]),
        casts=content["casts"],
        operators=content["operators"] or None,
        unsupported=frozenset(content["unsupported"]) - content["operators"].keys(),
        unsure={operator: frozenset(types) for operator, types in content["unsure"].items()},
        typed_inputs=content["typed_inputs"],
        typed_outputs=frozenset(content["typed_outputs"]),
        rules={
            operator: tuple(rule for rule in rules if operator in rule.operators)
            for operator in {operator for rule in rules for operator in rule.operators}
        },
        domains=frozenset(content["domains"]),
        plugin_suffix=content["plugin_suffix"] or None,
        dynamic_shapes=content["dynamic_shapes"],
        local_functions=content["local_functions"],
        sparse_weights=content["sparse_weights"],
        most_nested=content["most_nested"],
        clamped_at_will={operator: frozenset(inputs) for operator, inputs in content["clamped_at_will"].items()},
        strongly_typed=content["strongly_typed"],
    )


@cache
def remedy(operator: str) -> str | None:
    """What to do about an operator that is not supported, None where nothing better is known than a plugin."""
    remedies: dict[str, str] = _read("remedies")["remedies"]
    return remedies.get(operator)


@cache
def hardware() -> Hardware:
    """Facts of GPUs: rules/hardware.toml."""
    content = _read("hardware")
    return Hardware(
        refusals=tuple(
            Refusal(e["precision"], tuple(e["compute_capabilities"]), e["reason"], e["source"])
            for e in content["refusals"]
        ),
        channel_widths=tuple(
            ChannelWidth(e["precision"], (e["since"][0], e["since"][1]), e["width"], e["reason"], e["source"])
            for e in content["channel_widths"]
        ),
        workspace_mib=content["workspace"]["mib"],
        workspace_source=content["workspace"]["source"],
        cramped=content["memory"]["cramped"],
    )


def refusal(precision: str, compute_capability: str | None) -> tuple[str, str] | None:
    """Why a GPU of that compute capability does not compute in a precision, and the source; None where it does."""
    for each in hardware().refusals:
        if each.precision == precision and compute_capability in each.compute_capabilities:
            return each.reason.format(compute_capability=compute_capability), each.source
    return None


@cache
def useless_when_infinite() -> frozenset[str]:
    """Operators that an infinite weight makes useless; elsewhere, as in a mask of attention, it may be meant."""
    return frozenset(_read("weights")["useless_when_infinite"])


def _merged(name: str) -> dict[str, Any]:
    """The content of a table with that of the tables it is based on."""
    content = _read(name)
    base = _merged(content["based_on"]) if "based_on" in content else _EMPTY
    merged = {**base, **content}
    for key in ("casts", "unsure", "typed_inputs"):
        merged[key] = {**base[key], **content.get(key, {})}
    merged["operators"] = dict(base["operators"])
    for group in content.get("operators", []):
        merged["operators"].update(dict.fromkeys(group["names"], frozenset(group["types"])))
    merged["unsupported"] = [*base["unsupported"], *content.get("unsupported", [])]
    removed = set(content.get("removed_rules", []))
    merged["rules"] = {key: rule for key, rule in base["rules"].items() if key not in removed}
    merged["rules"] |= {entry["id"]: {"source": content["source"], **entry} for entry in content.get("rules", [])}
    return merged


_EMPTY: dict[str, Any] = {
    "casts": {},
    "unsure": {},
    "typed_inputs": {},
    "operators": {},
    "unsupported": [],
    "rules": {},
    "opset": [0, 0],
    "types": [],
    "io_types": [],
    "domains": [""],
    "typed_outputs": [],
    "plugin_suffix": "",
    "dynamic_shapes": False,
    "local_functions": True,
    "sparse_weights": False,
    "most_nested": 0,
    "clamped_at_will": {},
    "strongly_typed": False,
}


def _rule(entry: Mapping[str, Any]) -> Rule:
    named = {"id", "operators", "check", "severity", "reason", "remedy", "source"}
    return Rule(
        id=entry["id"],
        operators=tuple(entry["operators"]),
        check=entry["check"],
        parameters={key: value for key, value in entry.items() if key not in named},
        severity=entry.get("severity", "error"),
        reason=entry["reason"],
        remedy=entry["remedy"],
        source=entry["source"],
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
