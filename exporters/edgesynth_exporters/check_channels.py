"""Layers whose numbers of channels do not fill the groups that a GPU computes them in."""

from collections.abc import Iterator

from edgesynth_exporters.findings import Finding
from edgesynth_exporters.onnx_scopes import NodeView
from edgesynth_exporters.rules import ChannelWidth, hardware
from edgesynth_exporters.targets import Precision, Target

__all__ = ["channel_findings", "channel_width"]

WORTH_SAYING = 0.05  # of a layer's arithmetic


def channel_width(target: Target, precision: Precision) -> ChannelWidth | None:
    """How `target` groups channels in `precision`; None where it does not, or is not known to."""
    if target.tensorrt is None or target.compute_capability is None:
        return None
    capability = tuple(int(part) for part in target.compute_capability.split("."))
    fitting = [w for w in hardware().channel_widths if w.precision == precision and w.since <= capability]
    return max(fitting, key=lambda width: width.since, default=None)


def channel_findings(view: NodeView, width: ChannelWidth) -> Iterator[Finding]:
    """A warning with the cost where padding adds arithmetic to a convolution or matrix product.

    What the task gives is not counted: channels of the network's inputs and of its outputs.
    """
    counts = _counts(view)
    if counts is None:
        return
    incoming, outgoing = counts
    graph = view.scope.graph
    if any(value.name == view.input(0) for value in graph.input):
        incoming = None
    if any(value.name in view.proto.output for value in graph.output):
        outgoing = None
    grown = [_padded(count, width.width) for count in (incoming, outgoing) if count is not None]
    exact = [count for count in (incoming, outgoing) if count is not None]
    cost = 1.0
    for padded, count in zip(grown, exact, strict=True):
        cost *= padded / count
    if cost - 1 < WORTH_SAYING:
        return
    names = [name for name, count in (("in", incoming), ("out", outgoing)) if count is not None]
    parts = [f"{count} {name} as {padded}" for name, count, padded in zip(names, exact, grown, strict=True)]
    yield Finding(
        "warning",
        "channels",
        f"channels are padded ({', '.join(parts)}): up to {cost - 1:.0%} more arithmetic; {width.reason}",
        f"keep channels in multiples of {width.width}",
        width.source,
        view.name,
        view.index,
        view.operator,
    )


def _counts(view: NodeView) -> tuple[int | None, int | None] | None:
    """Channels into and out of a layer, within one group; None for both where weights are unknown."""
    shape = view.scope.value(view.input(1)).shape
    if shape is None or None in shape or 0 in shape or not view.scope.is_folded(view.input(1)):
        return None
    sizes = [size for size in shape if size is not None]
    if view.operator in ("Conv", "ConvTranspose") and len(sizes) > 2:
        attribute = view.attribute("group")
        groups = max(attribute.i if attribute is not None else 1, 1)
        if view.operator == "ConvTranspose":  # weight: C_in, C_out / groups, kernel…
            return max(sizes[0] // groups, 1), sizes[1]
        if sizes[1] == 1 and groups > 1:  # depthwise: each channel on its own
            return None, sizes[0]
        return sizes[1], max(sizes[0] // groups, 1)  # weight: C_out, C_in / groups, kernel…
    if view.operator in ("Gemm", "MatMul") and len(sizes) == 2:
        attribute = view.attribute("transB")
        rows, columns = sizes
        return (columns, rows) if attribute is not None and attribute.i else (rows, columns)
    return None


def _padded(count: int, width: int) -> int:
    return -(-count // width) * width
