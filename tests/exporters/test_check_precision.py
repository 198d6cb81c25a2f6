"""Precision, opset and memory: what the target says, what the rules say, and what the file brings along."""

import numpy as np
import pytest
from edgesynth_exporters.check import check_model
from edgesynth_exporters.rules import refusal, table_for
from edgesynth_exporters.target_files import read_targets
from edgesynth_exporters.targets import TARGETS
from onnx import TensorProto, helper, numpy_helper

from tests.exporters.models import FLOAT, node, save, target, value, weight

CONV = node("Conv", ["x", "w"], ["y"])
W = weight("w", [8, 8, 3, 3])
WITH_INT8 = target("8.6.2", precisions=("fp32", "fp16", "int8"), compute_capability="8.7")


@pytest.mark.parametrize(
    "version", ["8.2.1", "8.4.1", "8.5.2", "8.7", "9.1", "10.0.1", "10.3.0", "10.9", "11.1", "12.0"]
)
def test_a_file_at_the_opset_of_a_target_is_acceptable_there(tmp_path, version):
    """The target's opset is that of the rules it is checked by, whether or not they were made for its version."""
    file = tmp_path / "targets.toml"
    file.write_text(f'[mine]\nbased_on = "xavier-nx"\ntensorrt = "{version}"\n')
    mine = read_targets(file, TARGETS)["mine"]
    assert mine.opset == table_for(version)[0].opset[1]
    assert check_model(save(tmp_path / "m.onnx", [CONV], weights=[W], opset=mine.opset), mine).ok
    late = check_model(save(tmp_path / "n.onnx", [CONV], weights=[W], opset=mine.opset + 1), mine)
    assert [f.rule for f in late.findings if f.severity == "error"] == ["opset"]


def test_int8_of_an_fp32_file_needs_ranges_and_says_so(tmp_path):
    path = save(tmp_path / "m.onnx", [CONV], weights=[W])
    report = check_model(path, WITH_INT8, "int8")
    (finding,) = (f for f in report.findings if f.rule == "calibration")
    assert (report.ok, finding.severity) == (True, "warning")
    assert "calibration cache" in finding.reason
    assert "edgesynth export --precision int8" in finding.remedy
    assert "calibration" not in {f.rule for f in check_model(path, WITH_INT8, "fp16").findings}


def test_a_quantised_file_needs_none(tmp_path):
    scale, zero = helper.make_tensor("s", FLOAT, [], [0.1]), helper.make_tensor("z", TensorProto.INT8, [], [0])
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, weights=[scale, zero])
    assert check_model(path, WITH_INT8, "int8").findings == ()


@pytest.mark.parametrize(("dtype", "found"), [(np.float32, ["precision-in-file"]), (np.float16, [])])
def test_weights_within_constants_have_a_precision_too(tmp_path, dtype, found):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensor = numpy_helper.from_array(np.full([8, 8, 3, 3], 0.5, dtype), "")
    nodes = [node("Constant", [], ["w"], value=tensor), CONV]
    ends = [value("x", kind, [1, 8, 4, 4])], [value("y", kind, None)]
    path = save(tmp_path / "m.onnx", nodes, ends[0], outputs=ends[1])
    board = target("11.5.0", precisions=("fp32", "fp16"), compute_capability="8.7")
    report = check_model(path, board, "fp16")
    assert [f.rule for f in report.findings if f.severity == "error"] == found


def test_what_hardware_does_not_compute_in():
    assert refusal("int8", "6.2")[0] == "a GPU of compute capability 6.2 has no INT8 arithmetic"
    assert refusal("int8", "8.7") is refusal("fp16", "6.2") is refusal("int8", None) is None


def test_a_memory_finding_says_where_the_board_s_memory_is_known_from(tmp_path):
    path = save(tmp_path / "m.onnx", [CONV], weights=[W])
    (finding,) = check_model(path, target(memory_mib=100)).findings
    assert finding.source.startswith(f"the board's memory: {target().sources['memory_mib']}; workspace: ")
    (finding,) = check_model(path, target(memory_mib=100, sources={})).findings
    assert finding.source.startswith("the board's memory: edgesynth targets show board; ")
