"""An exported graph with everything folded that does not depend on the input."""

import logging

import onnx

from edgesynth_exporters.errors import ExportError, first_line

__all__ = ["simplify"]


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxslim makes of a static graph: constants folded, shapes inferred, identities and doubles gone.

    `model` stays as it was. Inputs, outputs and opset are those of `model`. Raises ExportError where onnxslim fails, or
    changes one of these.
    """
    # It would log to stderr by a handler of its own, and an error of ours is one line.
    logging.getLogger("onnxslim").addHandler(logging.NullHandler())
    import onnxslim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        slim: onnx.ModelProto = onnxslim.slim(copy)
        onnx.checker.check_model(slim, full_check=True)
    except Exception as error:
        raise ExportError(f"onnxslim {onnxslim.__version__} cannot simplify the graph: {first_line(error)}") from error
    for what, before, after in (
        ("inputs", model.graph.input, slim.graph.input),
        ("outputs", model.graph.output, slim.graph.output),
        ("opset", model.opset_import, slim.opset_import),
    ):
        if list(before) != list(after):
            raise ExportError(f"onnxslim {onnxslim.__version__} changed the {what} of the graph: refusing the file")
    return slim
