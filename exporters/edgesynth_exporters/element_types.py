"""Names of element types as the public operator lists write them: FP32, FP16, INT8 …"""

from functools import cache

from onnx import TensorProto

__all__ = ["type_name"]

_SHORT = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "FLOAT8E4M3FN": "FP8", "FLOAT4E2M1": "FP4"}


@cache
def type_name(data_type: int | None) -> str:
    """The name of an ONNX element type; those that the lists do not know keep ONNX's own."""
    if data_type is None or data_type not in TensorProto.DataType.values():
        return "unknown" if data_type is None else f"type {data_type}"
    name = str(TensorProto.DataType.Name(data_type))
    return _SHORT.get(name, name)
