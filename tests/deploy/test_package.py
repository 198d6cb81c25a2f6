"""What is deployed: an export, a bare ONNX file, a network of a run; and what is refused before a device is asked."""

import json

import numpy as np
import onnx
import pytest
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.reference import read_reference
from edgesynth_exporters.targets import find_target
from onnx import TensorProto, helper

from edgesynth.deploy.package import default_name, open_package
from edgesynth.errors import EdgesynthError, IncompatibleError, ModelFileError, RunError
from tests.deploy.conftest import save_network
from tests.exporters.exports import order, subject

TX2 = find_target("tx2")


class TestExport:
    @pytest.fixture
    def exported(self, tmp_path):
        export_network(subject(), order(tmp_path, precision="fp16"))
        return tmp_path / "m.onnx"

    def test_the_facts_come_from_the_record(self, exported):
        package = open_package(str(exported), TX2, None)
        assert (package.network, package.precision, package.batch) == ("net", "fp16", 1)
        assert set(package.files) == {"onnx", "reference"}
        assert package.facts["inputs"][0]["mean"] == [0.5]
        assert package.facts["outputs"][0]["classes"] == ["a", "b", "c", "d"]
        assert package.order("cam")["files"]["onnx"]["bytes"] == exported.stat().st_size

    def test_places_on_this_machine_are_not_told(self, exported):
        manifest = exported.with_suffix(".export.json")
        record = json.loads(manifest.read_text())
        record["source"] = {"kind": "run", "run": "/home/ann/runs/1", "data": "/home/ann/photos@32x32"}
        manifest.write_text(json.dumps(record))
        assert open_package(str(exported), TX2, None).facts["source"] == {"kind": "run", "data": "photos@32x32"}

    def test_the_same_export_is_the_same_order(self, exported):
        first = open_package(str(exported), TX2, None).order("cam")
        export_network(subject(), order(exported.parent, precision="fp16"))
        assert open_package(str(exported), TX2, None).order("cam") == first

    def test_another_target_or_precision_is_refused(self, exported):
        with pytest.raises(EdgesynthError, match="was exported for tx2: export it for nano"):
            open_package(str(exported), find_target("nano"), None)
        with pytest.raises(EdgesynthError, match="was exported in fp16: export it in fp32"):
            open_package(str(exported), TX2, "fp32")

    def test_a_file_that_was_changed_is_refused(self, exported):
        save_network(exported)
        with pytest.raises(ModelFileError, match="is not the one that"):
            open_package(str(exported), TX2, None)

    def test_a_record_that_is_none_is_refused(self, exported):
        exported.with_suffix(".export.json").write_text("{}")
        with pytest.raises(ModelFileError, match="export it again"):
            open_package(str(exported), TX2, None)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda record: record["files"]["onnx"].update(path="other.onnx"), "does not describe m.onnx"),
            (lambda record: record["files"].pop("onnx"), "does not describe m.onnx"),
            (lambda record: record["files"].pop("reference"), "does not describe m.onnx"),
            (lambda record: record.update(inputs=[]), "does not describe m.onnx"),
            (lambda record: record["files"]["reference"].update(path="../x.npz"), "do not lie beside it"),
            (lambda record: record["files"]["reference"].update(path=""), "do not lie beside it"),
        ],
    )
    def test_a_record_of_other_files_is_refused(self, exported, change, words):
        manifest = exported.with_suffix(".export.json")
        record = json.loads(manifest.read_text())
        change(record)
        manifest.write_text(json.dumps(record))
        with pytest.raises(ModelFileError, match=words):
            open_package(str(exported), TX2, None)


class TestBareFile:
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_its_reference_is_made_here(self, tmp_path, precision):
        model = save_network(tmp_path / "Net v2.onnx")
        package = open_package(str(model), TX2, precision)
        reference = read_reference(package.files["reference"])
        assert reference.inputs["image"].shape == (16, 3, 8, 8)
        assert reference.outputs["y"].shape == (16, 4, 8, 8)
        assert 0 < reference.tolerance["y"] < 1
        assert default_name(package) == "net-v2"
        assert "compared on noise" in package.warnings[0]

    def test_it_is_kept(self, tmp_path):
        model = save_network(tmp_path / "net.onnx")
        notes = []
        first = open_package(str(model), TX2, None, notes.append).files["reference"]
        assert len(notes) == 1
        assert open_package(str(model), TX2, None, notes.append).files["reference"] == first
        assert len(notes) == 1

    def test_int8_needs_an_export(self, tmp_path):
        model = save_network(tmp_path / "net.onnx")
        with pytest.raises(EdgesynthError, match="export the network with --precision int8"):
            open_package(str(model), find_target("orin-nx"), "int8")

    def test_inputs_that_noise_cannot_be_fed_to(self, tmp_path):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
            "net",
            [value("x", TensorProto.INT32, [1, 4])],
            [value("y", TensorProto.FLOAT, [1, 4])],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "n.onnx"
        )
        with pytest.raises(EdgesynthError, match="float32 can be fed noise alone"):
            open_package(str(tmp_path / "n.onnx"), TX2, None)

    def test_answers_that_are_no_numbers(self, tmp_path):
        model = save_network(tmp_path / "net.onnx", np.float32(3e38))
        with pytest.raises(ModelFileError, match="no finite number"):
            open_package(str(model), TX2, None)


class TestRefused:
    def test_a_network_that_the_target_does_not_take(self, tmp_path):
        model = save_network(tmp_path / "net.onnx", opset=18)
        with pytest.raises(IncompatibleError, match="tx2 does not take"):
            open_package(str(model), TX2, None)

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(ModelFileError, match="there is no such file"):
            open_package(str(tmp_path / "net.onnx"), TX2, None)
        with pytest.raises(RunError, match="there is no network"):
            open_package("pkg.module:function", TX2, None)

    def test_a_target_that_is_no_board(self, tmp_path):
        with pytest.raises(EdgesynthError, match="is no board"):
            open_package(str(save_network(tmp_path / "net.onnx")), find_target("tx2-sim"), None)


def test_a_network_of_a_run(finished_run, tmp_path):
    run, results = finished_run[0], json.loads((finished_run[0] / "results.json").read_text())
    name = results["networks"][0]["name"]
    notes = []
    first = open_package(str(run / name), TX2, None, notes.append)
    assert (first.network, first.precision) == (name, "fp16")
    assert any(note.startswith("parity") for note in notes)
    assert not set(first.facts["source"]) & {"run", "weights"}  # places on this machine
    notes.clear()
    assert open_package(str(run / "networks" / name), TX2, None, notes.append).order("x") == first.order("x")
    again = open_package(str(run / name), TX2, None, notes.append)
    assert again.order("x") == first.order("x")
