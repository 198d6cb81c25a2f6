"""The kinds of condition that the tables in rules/ are made of. Each looks at one node and says whether it holds.

A condition holds where it cannot be told (a type or rank that nobody states, an input that is left out): what is
unknown is not refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.onnx_file import inner_graphs
from edgesynth_exporters.onnx_scopes import NodeView
from edgesynth_exporters.rules import Rule, Table

__all__ = ["CONDITIONS", "violation"]

Parameters = Mapping[str, Any]


def violation(rule: Rule, view: NodeView, table: Table, opset: int) -> str | None:
    """The reason that `rule` is broken by a node, None where it holds or does not apply."""
    if not _applies(rule.parameters.get("when", {}), view, table, opset):
        return None
    if CONDITIONS[rule.check](rule.parameters, view, table):
        return None
    first = view.scope.value(view.input(0))
    value = _attribute(view, rule.parameters) if "attribute" in rule.parameters else None
    return rule.reason.format(
        value=value.decode(errors="replace") if isinstance(value, bytes) else value,
        rank="?" if first.shape is None else len(first.shape),
        type=type_name(first.type),
    )


def _applies(when: Parameters, view: NodeView, table: Table, opset: int) -> bool:
    first = view.scope.value(view.input(0))
    name = type_name(first.type)
    return (
        when.get("opset_from", 0) <= opset <= when.get("opset_to", opset)
        and ("rank" not in when or (first.shape is not None and len(first.shape) in when["rank"]))
        and ("type" not in when or table.casts.get(name, name) in when["type"])
        and ("attribute" not in when or _text(_attribute(view, when)) in when["values"])
    )


def _attribute(view: NodeView, parameters: Parameters) -> Any:
    """The value of the attribute that `parameters` name, or the default that they state; None for one of no type."""
    attribute = view.attribute(parameters["attribute"])
    if attribute is None:
        return parameters.get("default")
    if attribute.ref_attr_name or attribute.type == onnx.AttributeProto.UNDEFINED:
        return None
    return onnx.helper.get_attribute_value(attribute)


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _elements(value: Any) -> list[Any]:
    return (
        [] if value is None else [_text(item) for item in value] if isinstance(value, list | tuple) else [_text(value)]
    )


def _numbers(value: Any) -> list[Any]:
    """The elements, none where they are no numbers: ONNX forbids that, and says so where it knows the opset."""
    elements = _elements(value)
    return elements if all(isinstance(element, int | float) for element in elements) else []


def _inputs(parameters: Parameters, view: NodeView) -> list[str]:
    """The names of the inputs in question that are there."""
    return [name for name in (view.input(index) for index in parameters["inputs"]) if name]


def _attribute_in(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Every element of the attribute is one of `values`."""
    return all(value in parameters["values"] for value in _elements(_attribute(view, parameters)))


def _attribute_least(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Every element of the attribute is at least `value`."""
    return all(value >= parameters["value"] for value in _numbers(_attribute(view, parameters)))


def _attributes_absent(parameters: Parameters, view: NodeView, _: Table) -> bool:
    return not any(view.attribute(name) for name in parameters["attributes"])


def _attribute_halves(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """The second half of the attribute is the first, or greater by one of `differences` where these are given."""
    values = _elements(_attribute(view, parameters))
    pairs = list(zip(values[: len(values) // 2], values[len(values) // 2 :], strict=False))
    if "differences" in parameters:
        numbers = all(_numbers(list(pair)) for pair in pairs)
        return not numbers or all(second - first in parameters["differences"] for first, second in pairs)
    return all(first == second for first, second in pairs)


def _equation_plain(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """An equation of Einsum without an ellipsis, in which no term has an index twice."""
    equation = "".join(str(part) for part in _elements(_attribute(view, parameters))).replace(" ", "")
    terms = equation.replace("->", ",").split(",")
    return "." not in equation and all(len(set(term)) == len(term) for term in terms)


def _inputs_constant(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Each is an initializer or a constant, or one of those behind operators in `through`."""
    return all(_is_weight(view, name, frozenset(parameters.get("through", ()))) for name in _inputs(parameters, view))


def _is_weight(view: NodeView, name: str, through: frozenset[str]) -> bool:
    while not view.scope.is_weight(name):
        producer = view.scope.producer(name)
        if producer is None or producer.op_type not in through or not producer.input:
            return False
        name = producer.input[0]
    return True


def _inputs_fold(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Each follows from constants alone."""
    return all(view.scope.is_folded(name) for name in _inputs(parameters, view))


def _inputs_absent(parameters: Parameters, view: NodeView, _: Table) -> bool:
    return not _inputs(parameters, view)


def _inputs_static(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """No dimension of them is free."""
    shapes = [view.scope.value(name).shape for name in _inputs(parameters, view)]
    return not any(shape is not None and None in shape for shape in shapes)


def _inputs_rank(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Their number of dimensions is within `ranks`, the least and the greatest."""
    least, greatest = parameters["ranks"]
    shapes = [view.scope.value(name).shape for name in _inputs(parameters, view)]
    return all(shape is None or least <= len(shape) <= greatest for shape in shapes)


def _inputs_zero(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Where they are constants, all elements are zero."""
    arrays = [view.scope.array(name) for name in _inputs(parameters, view)]
    return not any(array is not None and np.any(array.astype(np.float64)) for array in arrays)


def _inputs_below(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Where they are constants, all elements are less than `value`."""
    arrays = [view.scope.array(name) for name in _inputs(parameters, view)]
    return all(array is None or not np.any(array >= parameters["value"]) for array in arrays)


def _inputs_typed(parameters: Parameters, view: NodeView, table: Table) -> bool:
    """Their type is one of `types`."""
    types = [view.scope.value(name).type for name in _inputs(parameters, view)]
    names = [type_name(kind) for kind in types if kind is not None]
    return all(table.casts.get(name, name) in parameters["types"] for name in names)


def _inputs_at_least(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """There are at least `count` inputs."""
    return bool(len(view.proto.input) >= parameters["count"])


def _outputs_unused(parameters: Parameters, view: NodeView, _: Table) -> bool:
    """Nobody reads these outputs; with `unnamed` they may not even have a name."""
    names = [view.proto.output[index] for index in parameters["outputs"] if index < len(view.proto.output)]
    return not any(name and (parameters.get("unnamed") or name in view.scope.used) for name in names)


def _branches_named_apart(_parameters: Parameters, view: NodeView, _: Table) -> bool:
    """The branches of an If with the same number of outputs, none of which have the same name."""
    graphs = [graph for _, graph in inner_graphs(view.proto)]
    names = [output.name for graph in graphs for output in graph.output]
    return len(set(names)) == len(names)


def _never(_parameters: Parameters, _view: NodeView, _: Table) -> bool:
    """For what is to be said about every such node."""
    return False


CONDITIONS: dict[str, Callable[[Parameters, NodeView, Table], bool]] = {
    "attribute-in": _attribute_in,
    "attribute-least": _attribute_least,
    "attributes-absent": _attributes_absent,
    "attribute-halves": _attribute_halves,
    "equation-plain": _equation_plain,
    "inputs-constant": _inputs_constant,
    "inputs-fold": _inputs_fold,
    "inputs-absent": _inputs_absent,
    "inputs-static": _inputs_static,
    "inputs-rank": _inputs_rank,
    "inputs-zero": _inputs_zero,
    "inputs-below": _inputs_below,
    "inputs-typed": _inputs_typed,
    "inputs-at-least": _inputs_at_least,
    "outputs-unused": _outputs_unused,
    "branches-named-apart": _branches_named_apart,
    "never": _never,
}
