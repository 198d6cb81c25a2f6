"""Element types of single operators, against what the public lists say of them: types.csv, beside operators.csv.

The rows of BOOL are those that the importer of 8.2 refuses, whatever the list says:
https://github.com/onnx/onnx-tensorrt/blob/009d6541b4ee1fa3f3150cd7cbabe7e56aa54840/builtin_op_importers.cpp
"""

import csv
from pathlib import Path

import pytest
from edgesynth_exporters.check import check_model
from onnx import TensorProto, helper

from tests.exporters.models import FLOAT, INT64, node, save, target, value

with Path(__file__).with_name("types.csv").open(newline="") as file:
    ROWS = list(csv.DictReader(file))

MADE = {
    "DepthToSpace": node("DepthToSpace", ["x"], ["y"], blocksize=2),
    "Gather": node("Gather", ["x", "i"], ["y"]),
    "GatherElements": node("GatherElements", ["x", "ix"], ["y"]),
    "Resize": node("Resize", ["x", "", "s"], ["y"]),
    "SpaceToDepth": node("SpaceToDepth", ["x"], ["y"], blocksize=2),
    "Where": node("Where", ["c", "x", "x"], ["y"]),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['operator']}-{row['type']}")
@pytest.mark.parametrize("version", ["8.2", "8.6"])
def test_the_verdict_on_a_type_is_that_of_the_list(tmp_path, row, version):
    kind = getattr(TensorProto, row["type"])
    made = MADE.get(row["operator"]) or node(row["operator"], ["x"], ["y"])
    reads = [value("x", kind, [1, 8, 4, 4])] + [value("c", TensorProto.BOOL, [1, 8, 4, 4])] * ("c" in made.input)
    constants = {
        "i": helper.make_tensor("i", INT64, [1], [0]),
        "ix": helper.make_tensor("ix", INT64, [1, 1, 1, 1], [0]),
        "s": helper.make_tensor("s", FLOAT, [4], [1, 1, 2, 2]),
    }
    weights = [tensor for name, tensor in constants.items() if name in made.input]
    path = save(tmp_path / "m.onnx", [made], reads, weights, [value("y", kind, None)])
    report = check_model(path, target(version, opset=13))
    assert {"yes": report.findings == (), "no": not report.ok, "unsure": report.ok}[row[version]]
    told = [(f.rule, f.severity) for f in report.findings if f.rule == "type"]
    if row[version] == "unsure":
        assert told == [("type", "warning")]
    assert "type" in {f.rule for f in report.findings} or row[version] == "yes"
