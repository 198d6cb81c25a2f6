"""The tables of rules: whole, consistent, and with sources."""

import re
from itertools import pairwise

import onnx
import pytest
from edgesynth_exporters.conditions import CONDITIONS
from edgesynth_exporters.rules import TENSORRT, hardware, load_table, remedy, table_for

TYPES = {"FP32", "FP16", "BF16", "FP8", "FP4", "INT64", "INT32", "INT8", "INT4", "UINT8", "BOOL"}
# Operators of old versions of ONNX, or of none, that TensorRT's lists name.
UNKNOWN_TO_ONNX = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}
TABLES = [load_table(name) for name in (*TENSORRT, "onnxruntime")]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_a_table_is_consistent(table):
    operators = set(table.operators or ())
    assert not operators & table.unsupported
    assert table.types <= TYPES
    assert table.io_types <= table.types
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert (operators | table.unsupported) - UNKNOWN_TO_ONNX <= known
    assert set().union(*(table.operators or {"": set()}).values()) <= TYPES
    assert {*table.unsure, *table.typed_inputs, *table.rules} - operators <= {"RandomNormal", "RandomNormalLike"}
    assert table.source.startswith("https://")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_a_rule_can_be_evaluated_and_says_what_to_do(table):
    for rule in {rule.id: rule for rules in table.rules.values() for rule in rules}.values():
        assert rule.check in CONDITIONS, rule.id
        assert rule.severity in ("error", "warning")
        assert rule.source.startswith("https://"), rule.id
        assert rule.reason
        assert rule.remedy
        assert set(re.findall(r"{(\w+)}", rule.reason)) <= {"value", "rank", "type"}, rule.id
        assert "{value}" not in rule.reason or "attribute" in rule.parameters, rule.id
        assert set(rule.parameters.get("when", {})) <= {"opset_from", "opset_to", "rank", "type", "attribute", "values"}


def test_later_versions_take_what_earlier_ones_do():
    for name, following in pairwise(TENSORRT):
        before, after = load_table(name), load_table(following)
        assert before.operators.keys() <= after.operators.keys(), (name, following)
        assert before.opset[1] <= after.opset[1]


@pytest.mark.parametrize(
    ("tensorrt", "title", "exact"),
    [
        ("8.2.1", "TensorRT 8.2", True),
        ("8.2", "TensorRT 8.2", True),
        ("8.20", "TensorRT 8.6", False),
        ("8.4.1", "TensorRT 8.2", False),
        ("7.1.3", "TensorRT 8.2", False),
        ("8.5.2", "TensorRT 8.5", True),
        ("8.6.2", "TensorRT 8.6", True),
        ("10.3.0", "TensorRT 10.3", True),
        ("10.13.0", "TensorRT 10.3", False),
        ("10.16.2", "TensorRT 10.16", True),
        ("11.5.0", "TensorRT 11", True),
        (None, "ONNX Runtime", True),
    ],
)
def test_a_version_has_its_table_or_the_one_before_it(tensorrt, title, exact):
    table, made_for_it = table_for(tensorrt)
    assert (table.title, made_for_it) == (title, exact)


def test_what_changed_is_said_once():
    """A table that is based on another takes over its rules and drops those that no longer hold."""
    ids = {name: {r.id for rules in load_table(name).rules.values() for r in rules} for name in TENSORRT}
    assert {"conv-weights", "topk-k", "clip-bounds"} <= ids["8.2"]
    assert "conv-weights" not in ids["8.5"]
    assert "topk-k" in ids["8.5"]
    assert "topk-k" not in ids["8.6"]
    assert load_table("8.2").operators["TopK"] == {"FP32", "FP16"}
    assert load_table("8.6").operators["TopK"] == {"FP32", "FP16", "INT32"}


def test_remedies_are_for_operators_that_some_version_lacks():
    assert "HardSigmoid" in remedy("HardSwish")
    assert remedy("Conv") is None


def test_facts_of_the_hardware_have_sources():
    facts = hardware()
    assert all(entry.source.startswith("https://") for entry in (*facts.refusals, *facts.channel_widths))
    assert {(w.precision, w.since, w.width) for w in facts.channel_widths} >= {("fp16", (5, 3), 2), ("fp16", (7, 0), 8)}
