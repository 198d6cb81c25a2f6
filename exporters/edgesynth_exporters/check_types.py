"""Whether the element types of a node's inputs and outputs are those that ONNX allows, and agree with each other."""

from functools import cache

import onnx
from onnx import TensorProto

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.onnx_scopes import NodeView

__all__ = ["type_clash"]

Formal = onnx.defs.OpSchema.FormalParameter


def type_clash(view: NodeView, opset: int) -> str | None:
    """Why ONNX forbids the types of a node of its own at `opset`, None where it allows them or cannot tell."""
    schema = _schema(view.proto.op_type, opset) if "::" not in view.operator else None
    if schema is None:
        return None
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    bound: dict[str, tuple[str, int]] = {}  # by type parameter: the tensor that said first what it is
    for names, formals in ((view.proto.input, schema.inputs), (view.proto.output, schema.outputs)):
        for index, name in enumerate(names):
            kind = view.scope.value(name).type
            if not name or kind is None or not formals:
                continue
            formal = formals[min(index, len(formals) - 1)]
            written = formal.type_str
            if f"tensor({TensorProto.DataType.Name(kind).lower()})" not in allowed.get(written, (written,)):
                return f"'{name}' is of type {type_name(kind)}, which it does not take there"
            first, other = bound.setdefault(written, (name, kind))
            if other != kind and formal.is_homogeneous and written in allowed:
                return (
                    f"'{name}' is of type {type_name(kind)} and '{first}' of {type_name(other)}; they must be the same"
                )
    return None


@cache
def _schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    if not 1 <= opset <= onnx.defs.onnx_opset_version() or not onnx.defs.has(operator):
        return None
    try:
        return onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:  # ONNX has it in a later opset only
        return None
