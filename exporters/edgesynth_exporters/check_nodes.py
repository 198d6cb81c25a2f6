"""What the rules say about one node: is its operator supported, with these types, attributes and inputs?"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto, checker

from edgesynth_exporters.conditions import violation
from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.findings import Finding
from edgesynth_exporters.onnx_file import has_elements, inner_graphs
from edgesynth_exporters.onnx_scopes import NodeView
from edgesynth_exporters.onnx_weights import Elements, beyond_int32
from edgesynth_exporters.rules import Table, remedy

__all__ = ["NodeChecker"]

FORMAT = "https://github.com/onnx/onnx/blob/v1.17.0/docs/Operators.md"
GREATEST = 2**31 - 1  # version that ONNX's checker can hold


class NodeChecker:
    """Looks at the nodes of one model."""

    def __init__(self, model: onnx.ModelProto, table: Table, opset: int, elements: Mapping[str, Elements]) -> None:
        self._table = table
        self._opset = opset
        self._elements = elements
        self._known_opset = 1 <= opset <= onnx.defs.onnx_opset_version()
        self._context = checker.C.CheckerContext()
        self._context.ir_version = min(max(model.ir_version, 3), GREATEST)
        domains = {
            "" if entry.domain == "ai.onnx" else entry.domain: min(max(entry.version, 1), GREATEST)
            for entry in model.opset_import
        }
        self._context.opset_imports = {"": 1, **domains}

    def invalid(self, view: NodeView) -> str | None:
        """Why ONNX itself forbids the node, None where it does not or cannot tell."""
        node = view.proto
        borrowed = next((each for each in node.attribute if each.ref_attr_name), None)
        if borrowed is not None:
            return f"attribute '{borrowed.name}' is that of a function ('{borrowed.ref_attr_name}'), and this is none"
        stripped = any(
            attribute.HasField("t") and not has_elements(attribute.t) and 0 not in attribute.t.dims
            for attribute in node.attribute
        )
        known = self._known_opset and _is_defined(node)
        if stripped or not known or any(inner_graphs(node)):
            return None
        try:
            checker.check_node(node, self._context)
        except Exception as error:  # ValidationError, or what a damaged node makes the checker raise
            return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return None

    def findings(self, view: NodeView) -> Iterator[Finding]:
        """What the table says about a node that ONNX allows."""
        operator, table = view.operator, self._table
        if "::" in operator or (table.plugin_suffix and operator.endswith(table.plugin_suffix)):
            yield from self._foreign(view)
            return
        if table.operators is None:
            if not _is_defined(view.proto):
                yield self._refusal(view, "operator", "is no operator of ONNX", "export it again", FORMAT)
            return
        if operator not in table.operators:
            yield from self.unsupported(view)
            return
        yield from self._constants(view)
        yield from self._types(view, table.operators[operator])
        yield from self._clamped(view)
        for rule in table.rules.get(operator, ()):
            broken = violation(rule, view, table, self._opset)
            if broken is not None:
                yield Finding(rule.severity, rule.id, broken, rule.remedy, rule.source, view.name, view.index, operator)

    def unsupported(self, view: NodeView) -> Iterator[Finding]:
        """That the table does not have an operator of ONNX, whatever the node is like."""
        operator, table = view.operator, self._table
        if table.operators is None or operator in table.operators or "::" in operator:
            return
        listed = operator in table.unsupported
        reason = f"is not supported by {table.title}" if listed else f"is not among the operators of {table.title}"
        advice = remedy(operator) or "replace it by supported operators, or write a plugin"
        yield self._refusal(view, "operator", reason, advice, table.source)

    def _refusal(self, view: NodeView, rule: str, reason: str, advice: str, source: str) -> Finding:
        return Finding("error", rule, reason, advice, source, view.name, view.index, view.operator)

    def _foreign(self, view: NodeView) -> Iterator[Finding]:
        """An operator that ONNX does not define: a plugin of the runtime, one of the user's, or unknown."""
        table = self._table
        if view.proto.domain in table.domains and view.proto.domain:
            return
        if table.plugin_suffix and view.proto.op_type.endswith(table.plugin_suffix):
            yield Finding(
                "warning",
                "plugin",
                "is a plugin; whether the board's TensorRT has it is not known here",
                "register TensorRT's plugins (init_libnvinfer_plugins) before parsing, and build on the board",
                "https://github.com/NVIDIA/TensorRT/tree/8.2.1/plugin",
                view.name,
                view.index,
                view.operator,
            )
            return
        advice = "replace it by operators of ONNX" + (", or write a plugin for it" if table.plugin_suffix else "")
        yield self._refusal(
            view, "custom-domain", f"is of a domain that {table.title} does not know", advice, table.source
        )

    def _constants(self, view: NodeView) -> Iterator[Finding]:
        """Weights of a type that the runtime does not have."""
        table = self._table
        for name in view.proto.input:
            kind = type_name(view.scope.value(name).type)
            if (
                name
                and kind != "unknown"
                and table.casts.get(kind, kind) not in table.types
                and view.scope.is_weight(name)
            ):
                reason = f"'{name}' is of type {kind}, which {table.title} does not have"
                yield self._refusal(view, "weight-type", reason, "store it in a type that is listed", table.source)

    def _types(self, view: NodeView, types: frozenset[str]) -> Iterator[Finding]:
        """The types of the node's data that the table does not name for its operator."""
        table, operator = self._table, view.operator
        index = table.typed_inputs.get(operator, 0)
        names = [view.input(index)] if index >= 0 else []
        if operator in table.typed_outputs:
            names += view.proto.output[:1]
        kinds = [type_name(kind) for name in names if (kind := view.scope.value(name).type) is not None]
        wrong = [kind for kind in kinds if table.casts.get(kind, kind) not in types]
        results = [type_name(kind) for name in view.proto.output if (kind := view.scope.value(name).type) is not None]
        if wrong:
            unsure = table.casts.get(wrong[0], wrong[0]) in table.unsure.get(operator, ())
            listed = ", ".join(sorted(types))
            yield Finding(
                "warning" if unsure else "error",
                "type",
                f"on {wrong[0]}; the list of {table.title} names {listed}{', though others may do' if unsure else ''}",
                "cast to a type that is listed",
                table.source,
                view.name,
                view.index,
                operator,
            )
        elif any(table.casts.get(kind, kind) not in (table.types - table.io_types) | types for kind in results):
            reason = f"makes {results[0]}, a type that {table.title} does not have"
            yield self._refusal(view, "type", reason, "cast to a type that is listed", table.source)

    def _clamped(self, view: NodeView) -> Iterator[Finding]:
        """Integers that mean something else once they are 32 bits wide."""
        if "INT64" not in self._table.casts:
            return
        for index, name in enumerate(view.proto.input):
            at_will = self._table.clamped_at_will.get(view.operator, frozenset())
            if index in at_will or view.scope.value(name).type != TensorProto.INT64:
                continue
            tensor, array = view.scope.tensor(name), view.scope.array(name)
            if self._elements[tensor.doc_string].beyond_int32 if tensor else array is not None and beyond_int32(array):
                reason = f"'{name}' holds integers that INT32 cannot: TensorRT clamps them"
                yield self._refusal(view, "int64-range", reason, "use numbers within 32 bits", self._table.source)


def _is_defined(node: onnx.NodeProto) -> bool:
    """Whether the standard has this operator."""
    return onnx.defs.has(node.op_type, "" if node.domain == "ai.onnx" else node.domain)
