"""Reading an ONNX file of any size without loading its weights, and refusing one that is damaged or dangerous."""

import hashlib
import mmap
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan, prod
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_weights import Elements, check_form, element_bits, elements_within, examine_elements
from edgesynth_exporters.onnx_wire import Content, WireError, without_weights

__all__ = ["OnnxFile", "has_elements", "inner_graphs", "read_onnx_file", "tensors_of"]

LARGEST = (2 << 30) - 1  # bytes of one protobuf message
PIECE = 1 << 20  # bytes read at a time

_Form = tuple[str, int, tuple[int, ...]]
"""Name, type and dimensions of a tensor."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file. In `model` larger tensors have name, type and dimensions, and no elements.

    `elements` says what each tensor holds, by its doc_string in `model`, which is another at each place in the file:
    names need not be. `external` are the names of the tensors kept in other files.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    elements: Mapping[str, Elements] = field(default_factory=dict)
    external: tuple[str, ...] = ()


def read_onnx_file(path: Path) -> OnnxFile:
    """The file at `path`, all of it looked at: structure, sizes of tensors, files of external data, NaN.

    Memory grows with the number of nodes and tensors, not with the weights. Raises ModelFileError when the file is
    missing, damaged or no ONNX, has a NaN among its weights, or keeps weights in a file that is missing, too short or
    outside its own folder.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # asked first: opening a pipe would wait for its other end
            raise ModelFileError(f"{path}: no file but a folder or device; name an ONNX file")
        with path.open("rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(path: Path, file: BinaryIO) -> OnnxFile:
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(f"{path}: not an ONNX file (it is empty)")
    if size > LARGEST:
        raise ModelFileError(f"{path}: larger than 2 GiB, which no ONNX file can be; keep its weights in another file")
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            structure, dropped = without_weights(data)
        model = onnx.ModelProto.FromString(structure)
        tensors = [TensorProto.FromString(entry.tensor) for entry in dropped]
    except (WireError, DecodeError) as error:
        raise ModelFileError(f"{path}: not an ONNX file, or a damaged one ({error})") from error
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f"{path}: not an ONNX file, or one without any operator")
    if not all(isinstance(name, str) for name in _names(model)):  # protobuf hands over what is no text as bytes
        raise ModelFileError(f"{path}: not an ONNX file, or a damaged one (a name in it is no text)")
    seen = _Seen(path)
    for tensor, entry in zip(tensors, dropped, strict=True):
        elements = examine_elements(file, tensor, entry.contents, seen.name(tensor))
        seen.large[entry.mark] = _form(tensor), elements
    for tensor, is_weight in tensors_of(model):
        seen.look_at(tensor, is_weight)
    _refuse_nan_attributes(path, model)
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return OnnxFile(
        path,
        digest.hexdigest(),
        model,
        seen.elements,
        tuple(sorted(set(seen.external))),
    )


@dataclass
class _Seen:
    """What was found out about the tensors of one file so far."""

    path: Path
    large: dict[str, tuple[_Form, Elements]] = field(default_factory=dict)
    elements: dict[str, Elements] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)

    def name(self, tensor: TensorProto) -> str:
        return f"{self.path}: tensor '{tensor.name}'" if tensor.name else f"{self.path}: a constant without a name"

    def look_at(self, tensor: TensorProto, is_weight: bool) -> None:
        """A tensor of the parsed model: its elements are in it, in another file, or were examined before."""
        where = self.name(tensor)
        check_form(tensor, where)
        form, elements = self.large.pop(tensor.doc_string, (None, Elements()))  # a mark is one tensor's, not two's
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            self.external.append(tensor.name)
            elements = _external(self.path, tensor, where)
        elif has_elements(tensor):
            elements = elements_within(tensor, where)
        elif 0 in tensor.dims:
            elements = Elements()
        elif form != _form(tensor):
            raise ModelFileError(f"{where} holds no elements; is the file whole?")
        if is_weight and elements.nan:
            raise ModelFileError(f"{where} holds a NaN; train or export the network again")
        if form is None:
            tensor.doc_string = f"looked at {len(self.elements)}"
        self.elements[tensor.doc_string] = elements


def _external(path: Path, tensor: TensorProto, where: str) -> Elements:
    """The elements of a tensor in another file, which must lie in the model's own folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location or "\0" in location:
        raise ModelFileError(f"{where} is kept in another file without saying in which")
    try:
        folder = path.parent.resolve()
        target = (folder / location).resolve()
        if Path(location).is_absolute() or not target.is_relative_to(folder):
            raise ModelFileError(f"{where} is kept in '{location}', outside the model's own folder; it is not opened")
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{where} is kept in '{location}', which is no file")
        content = _span(tensor, entries, status.st_size, where)
        with target.open("rb") as file:
            return examine_elements(file, tensor, [content], where)
    except FileNotFoundError:
        raise ModelFileError(f"{where} is kept in '{location}', which is missing; put it beside the model") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        raise ModelFileError(f"{where} is kept in '{location}', which cannot be read ({error})") from error


def _span(tensor: TensorProto, entries: dict[str, str], size: int, where: str) -> Content:
    bits = element_bits(tensor.data_type)
    if bits is None:
        raise ModelFileError(f"{where} is of type {tensor.data_type}, which is no type of weights")
    try:
        start = int(entries.get("offset") or 0)
        length = int(entries.get("length") or (prod(tensor.dims) * bits + 7) // 8)
    except ValueError as error:
        raise ModelFileError(f"{where} is kept in another file at a place that is no number") from error
    if start < 0 or length < 0 or start + length > size:
        raise ModelFileError(
            f"{where} is kept at bytes {start:,} to {start + length:,} of '{entries['location']}', "
            f"which has {size:,}; is that file whole?"
        )
    return Content("raw", start, length)


def has_elements(tensor: TensorProto) -> bool:
    """Whether a parsed tensor has its elements with it."""
    return bool(
        tensor.raw_data
        or tensor.float_data
        or tensor.int32_data
        or tensor.int64_data
        or tensor.double_data
        or tensor.uint64_data
        or tensor.string_data
    )


def inner_graphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The graphs within a node, with the names of their attributes: branches of an If, bodies of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for graph in attribute.graphs:
            yield attribute.name, graph


def _form(tensor: TensorProto) -> _Form:
    return tensor.name, tensor.data_type, tuple(tensor.dims)


def _refuse_nan_attributes(path: Path, model: onnx.ModelProto) -> None:
    """Constants may be numbers in place of tensors."""
    for node in _parts(model)[1]:
        if node.op_type == "Constant" and any(
            isnan(number)
            for attribute in node.attribute
            if attribute.name in ("value_float", "value_floats")
            for number in (attribute.f, *attribute.floats)
        ):
            raise ModelFileError(f"{path}: constant '{node.output[0] if node.output else node.name}' holds a NaN")


def tensors_of(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """Every tensor of a model, in graphs within nodes and in functions too; whether it is an initializer or a constant.

    Others are attributes, where a NaN may have a meaning of its own.
    """
    graphs, nodes = _parts(model)
    for graph in graphs:
        yield from ((tensor, True) for tensor in graph.initializer)
        for sparse in graph.sparse_initializer:
            yield from ((tensor, True) for tensor in (sparse.values, sparse.indices))
    for node in nodes:
        for attribute in node.attribute:
            yield from ((tensor, node.op_type == "Constant") for tensor in _attached(attribute))


def _parts(model: onnx.ModelProto) -> tuple[list[onnx.GraphProto], list[onnx.NodeProto]]:
    """All graphs and nodes of a model, those within nodes and functions too."""
    graphs, nodes, seen = [model.graph], [node for function in model.functions for node in function.node], 0
    for graph in graphs:  # the lists grow while they are read
        nodes.extend(graph.node)
        while seen < len(nodes):
            graphs.extend(inner for _, inner in inner_graphs(nodes[seen]))
            seen += 1
    return graphs, nodes


def _names(model: onnx.ModelProto) -> Iterator[str]:
    """Every text of a model that anything here reads."""
    graphs, nodes = _parts(model)
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from (function.domain, function.name, *function.input, *function.output, *function.attribute)
    for graph in graphs:
        yield graph.name
        for values in (graph.input, graph.output, graph.value_info, graph.initializer):
            yield from (value.name for value in values)
        yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor, _ in tensors_of(model):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _attached(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    for sparse in attribute.sparse_tensors:
        yield from (sparse.values, sparse.indices)
