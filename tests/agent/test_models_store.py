"""Files from outside: what is stored, what is refused, and that nothing half-written is ever a model."""

import errno
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgesynth_agent.errors import AgentError, NotFoundError, RefusedError, RequestError, StorageError, TooLargeError
from edgesynth_agent.onnx_file import read_summary
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.agent.models import save_conv
from tests.agent.stores import model_store


@pytest.fixture
def model(tmp_path):
    return save_conv(tmp_path / "conv.onnx").read_bytes()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return model_store(root, max_bytes=100_000)


def put(store, data, digest=None, length=None):
    digest = digest or hashlib.sha256(data).hexdigest()
    store.put(digest, io.BytesIO(data), len(data) if length is None else length)
    return digest


class TestStore:
    def test_holds_what_was_put(self, store, model):
        digest = put(store, model)
        assert digest in store
        assert Path(store.path(digest)).read_bytes() == model

    def test_put_again_is_the_same(self, store, root, model):
        assert put(store, model) == put(store, model)
        assert len(list(root.iterdir())) == 1

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (lambda data: {"digest": "0" * 64}, RefusedError),
            (lambda data: {"length": len(data) + 1}, RequestError),
            (lambda data: {"length": 100_001}, TooLargeError),
        ],
    )
    def test_a_wrong_upload_leaves_nothing(self, store, root, model, change, error):
        with pytest.raises(error):
            put(store, model, **change(model))
        assert not list(root.iterdir())

    def test_what_is_no_onnx_leaves_nothing(self, store, root):
        for data in (b"", b"garbage", b"\x08\x07"):
            with pytest.raises(RefusedError, match="no ONNX"):
                put(store, data)
        assert not list(root.iterdir())

    def test_a_full_disk_is_named(self, store, root, model, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            put(store, model)
        assert not list(root.iterdir())

    def test_an_unknown_model_is_not_found(self, store):
        with pytest.raises(NotFoundError):
            store.path("0" * 64)

    def test_what_a_killed_agent_left_is_removed(self, store, root, model):
        digest = put(store, model)
        (root / "abc.partial").write_bytes(b"half")
        again = model_store(root)
        assert [path.name for path in root.iterdir()] == [digest + ".onnx"]
        assert digest in again

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="file"):
            model_store(tmp_path / "file" / "store")


class TestSummary:
    def save(self, tmp_path, model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return str(path)

    def graph(self, nodes, initializers):
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        return helper.make_graph(nodes, "g", [value], [value], initializers)

    def test_plain_floats(self, tmp_path):
        summary = read_summary(str(save_conv(tmp_path / "conv.onnx")))
        assert (summary.nodes, summary.precision) == (2, "fp32")

    def test_halves(self, tmp_path):
        weights = numpy_helper.from_array(np.zeros(100, np.float16), "w")
        model = helper.make_model(self.graph([helper.make_node("Add", ["x", "w"], ["y"])], [weights]))
        assert read_summary(self.save(tmp_path, model)).precision == "fp16"

    def test_quantised(self, tmp_path):
        nodes = [helper.make_node("QuantizeLinear", ["x", "s"], ["q"]), helper.make_node("Relu", ["q"], ["y"])]
        model = helper.make_model(self.graph(nodes, []))
        assert read_summary(self.save(tmp_path, model)).precision == "int8"

    @pytest.mark.parametrize("inside", ["graph", "attribute", "subgraph", "sparse", "training", "function"])
    def test_weights_in_other_files_are_refused_wherever_they_hide(self, tmp_path, inside):
        outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
        outside.data_location = TensorProto.EXTERNAL
        outside.external_data.add(key="location", value="../../etc/passwd")
        plain = helper.make_node("Relu", ["x"], ["y"])
        graph = self.graph([plain], [])
        if inside == "graph":
            graph.initializer.append(outside)
        elif inside == "attribute":
            graph.node[0].attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(outside)
        elif inside == "subgraph":
            inner = self.graph([plain], [outside])
            graph.node[0].attribute.add(name="then", type=onnx.AttributeProto.GRAPH).g.CopyFrom(inner)
        elif inside == "sparse":
            graph.sparse_initializer.add().values.CopyFrom(outside)
        model = helper.make_model(graph)
        if inside == "training":
            model.training_info.add().algorithm.CopyFrom(self.graph([plain], [outside]))
        elif inside == "function":
            default = onnx.AttributeProto(name="a", t=outside).SerializeToString()
            # Its attribute_proto, field 11, which ONNX before 1.13 does not know.
            model.functions.add(node=[plain]).MergeFromString(b"\x5a" + bytes([len(default)]) + default)
        with pytest.raises(RefusedError, match="another file"):
            read_summary(self.save(tmp_path, model))

    def test_endless_nesting_is_refused(self, tmp_path):
        data = b""
        for _ in range(5000):  # graph > node > attribute > graph …
            for key in (0x32, 0x2A, 0x0A):
                length, size = len(data), b""
                while length > 0x7F:
                    size += bytes([length & 0x7F | 0x80])
                    length >>= 7
                data = bytes([key]) + size + bytes([length]) + data
        (tmp_path / "deep.onnx").write_bytes(b"\x3a" + data[1:])
        with pytest.raises(RefusedError):
            read_summary(str(tmp_path / "deep.onnx"))

    @given(st.binary(max_size=200))
    def test_garbage_is_refused_and_nothing_else(self, tmp_path_factory, data):
        path = tmp_path_factory.getbasetemp() / "garbage.onnx"
        path.write_bytes(data)
        try:
            read_summary(str(path))
        except AgentError as error:
            assert isinstance(error, RefusedError)

    @given(st.data())
    def test_a_damaged_model_is_refused_or_read_and_nothing_else(self, tmp_path_factory, data):
        path = save_conv(tmp_path_factory.getbasetemp() / "damaged.onnx")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            read_summary(str(path))
        except AgentError as error:
            assert isinstance(error, RefusedError)
