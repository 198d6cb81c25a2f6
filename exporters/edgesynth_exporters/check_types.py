"""Whether the element types of a node's inputs and outputs are those that ONNX allows, and agree with each other."""

from functools import cache
from typing import NamedTuple

import onnx
from onnx import TensorProto

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.onnx_scopes import NodeView

__all__ = ["type_clash"]

TENSORS = {number: f"tensor({name.lower()})" for name, number in TensorProto.DataType.items() if number}
"""Element types as the schemas of operators write them."""


def type_clash(view: NodeView, opset: int) -> str | None:
    """Why ONNX forbids the types of a node of its own at `opset`, None where it allows them or cannot tell."""
    signature = _signature(view.operator, opset)
    if signature is None:
        return None
    bound: dict[str, tuple[str, int]] = {}  # by type parameter: the tensor that said first what it is
    for names, formals in ((view.proto.input, signature.inputs), (view.proto.output, signature.outputs)):
        for index, name in enumerate(names):
            kind = view.scope.value(name).type
            if not name or kind is None or kind not in TENSORS or not formals:
                continue
            formal = formals[min(index, len(formals) - 1)]
            if TENSORS[kind] not in formal.allowed:
                return f"'{name}' is of type {type_name(kind)}, which it does not take there"
            first, other = bound.setdefault(formal.parameter, (name, kind))
            if other != kind and formal.alike:
                return (
                    f"'{name}' is of type {type_name(kind)} and '{first}' of {type_name(other)}; they must be the same"
                )
    return None


class _Formal(NamedTuple):
    """What may be given at one place: the types, by the name of their parameter; `alike`: all of that name the same."""

    parameter: str
    allowed: frozenset[str]
    alike: bool


class _Signature(NamedTuple):
    inputs: tuple[_Formal, ...]
    outputs: tuple[_Formal, ...]


@cache
def _signature(operator: str, opset: int) -> _Signature | None:
    """What ONNX says of an operator of its own at `opset`; None where it has none, or is of another opset itself."""
    if not 1 <= opset <= onnx.defs.onnx_opset_version() or not onnx.defs.has(operator):
        return None
    try:
        schema = onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:  # ONNX has it in a later opset only
        return None
    allowed = {each.type_param_str: frozenset(each.allowed_type_strs) for each in schema.type_constraints}

    def formal(each: onnx.defs.OpSchema.FormalParameter) -> _Formal:
        written = each.type_str
        return _Formal(written, allowed.get(written, frozenset({written})), written in allowed and each.is_homogeneous)

    return _Signature(tuple(map(formal, schema.inputs)), tuple(map(formal, schema.outputs)))
