"""The digest of what an ONNX file computes, without what it has learned."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.graph_digest import graph_digest
from onnx import helper, numpy_helper

from tests.exporters.models import FLOAT, node, save, value, weight


def convolution(path: Path, *, channels: int = 4, fill: float = 0.5, pad: int = 1, prefix: str = "") -> Path:
    """Convolution, batch norm, and a reshape by a constant."""
    names = {name: prefix + name for name in ("w", "scale", "bias", "mean", "var", "c", "n", "shape")}
    return save(
        path,
        [
            node("Conv", ["x", names["w"]], [names["c"]], pads=[pad] * 4, kernel_shape=[3, 3], name=prefix + "conv"),
            node(
                "BatchNormalization",
                [names["c"], *(names[part] for part in ("scale", "bias", "mean", "var"))],
                [names["n"]],
            ),
            node("Reshape", [names["n"], names["shape"]], ["y"]),
        ],
        weights=[
            weight(names["w"], [channels, 8, 3, 3], fill),
            *(weight(names[part], [channels], fill) for part in ("scale", "bias", "mean", "var")),
            numpy_helper.from_array(np.array([1, -1]), names["shape"]),
        ],
        outputs=[value("y", FLOAT, [1, None])],
    )


@pytest.fixture
def first(tmp_path: Path) -> str:
    return graph_digest(convolution(tmp_path / "first.onnx"))


def test_names_and_weights_do_not_count(tmp_path: Path, first: str) -> None:
    assert graph_digest(convolution(tmp_path / "named.onnx", prefix="other/")) == first
    assert graph_digest(convolution(tmp_path / "trained.onnx", fill=-3.0)) == first


def test_the_size_of_a_weight_does_not_matter(tmp_path: Path) -> None:
    """Large weights are not even read."""
    digests = {graph_digest(convolution(tmp_path / "large.onnx", channels=2000, fill=fill)) for fill in (1.0, 2.0)}
    assert len(digests) == 1


def test_order_of_weights_and_of_attributes_does_not_count(tmp_path: Path, first: str) -> None:
    model = onnx.load(convolution(tmp_path / "a.onnx"))
    weights = list(model.graph.initializer)[::-1]
    attributes = list(model.graph.node[0].attribute)[::-1]
    del model.graph.initializer[:], model.graph.node[0].attribute[:]
    model.graph.initializer.extend(weights)
    model.graph.node[0].attribute.extend(attributes)
    model.graph.doc_string = model.producer_name = "made by another program"
    onnx.save(model, tmp_path / "b.onnx")
    assert graph_digest(tmp_path / "b.onnx") == first


def test_shapes_attributes_and_constants_that_are_no_weights_count(tmp_path: Path, first: str) -> None:
    model = onnx.load(convolution(tmp_path / "a.onnx"))
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([-1, 1]), "shape"))
    onnx.save(model, tmp_path / "reshaped.onnx")
    model.opset_import[0].version = 14
    onnx.save(model, tmp_path / "opset.onnx")
    others = [
        graph_digest(convolution(tmp_path / "wide.onnx", channels=5)),
        graph_digest(convolution(tmp_path / "padded.onnx", pad=0)),
        graph_digest(tmp_path / "reshaped.onnx"),
        graph_digest(tmp_path / "opset.onnx"),
    ]
    assert len({first, *others}) == 5


def test_connections_count(tmp_path: Path) -> None:
    def chain(path: Path, second: str) -> str:
        nodes = [node("Relu", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["b", second], ["y"])]
        return graph_digest(save(path, nodes))

    assert chain(tmp_path / "near.onnx", "a") != chain(tmp_path / "far.onnx", "x")


def test_a_weight_that_is_also_handed_out_counts_with_its_values(tmp_path: Path) -> None:
    def model(path: Path, fill: float) -> str:
        outputs = [value("y", FLOAT, None), value("w", FLOAT, [8, 1, 1])]
        return graph_digest(
            save(path, [node("Add", ["x", "w"], ["y"])], weights=[weight("w", [8, 1, 1], fill)], outputs=outputs)
        )

    assert model(tmp_path / "one.onnx", 1.0) != model(tmp_path / "two.onnx", 2.0)


def test_constant_nodes_and_graphs_within_nodes(tmp_path: Path) -> None:
    def model(path: Path, fill: float, shift: int, inner: str) -> str:
        branch = helper.make_graph(
            [
                node("Constant", [], [inner + "w"], value=weight("any", [8, 1, 1], fill)),
                node("Constant", [], [inner + "s"], value=numpy_helper.from_array(np.array([1, shift]), "any")),
                node("Add", ["x", inner + "w"], [inner + "a"]),
                node("Reshape", [inner + "a", inner + "s"], [inner + "out"]),
            ],
            "branch",
            [],
            [value(inner + "out", FLOAT, None)],
        )
        condition = numpy_helper.from_array(np.array(True), "c")
        nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        return graph_digest(save(path, nodes, weights=[condition]))

    first = model(tmp_path / "a.onnx", 1.0, -1, "in")
    assert model(tmp_path / "b.onnx", 2.0, -1, "other") == first
    assert model(tmp_path / "c.onnx", 1.0, 128, "in") != first


def test_a_large_table_of_indices_is_known_by_its_size(tmp_path: Path) -> None:
    nodes = [node("Gather", ["x", "table"], ["y"], axis=1)]
    tables = [numpy_helper.from_array(np.zeros(length, np.int64), "table") for length in (2000, 2001)]
    first, second = (graph_digest(save(tmp_path / f"{len(t.raw_data)}.onnx", nodes, weights=[t])) for t in tables)
    assert first != second


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"\xff\xff no protobuf")
    with pytest.raises(ModelFileError, match=r"no\.onnx: not an ONNX file"):
        graph_digest(tmp_path / "no.onnx")
    with pytest.raises(ModelFileError, match="no such file"):
        graph_digest(tmp_path / "absent.onnx")
