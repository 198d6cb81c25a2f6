"""How fast the model answers: one file of 200 operators, and genomes inside the search."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgesynth.energy.constants import calibration_of
from edgesynth.energy.estimate import estimate
from edgesynth.prototypes.resnet import resnet20
from edgesynth.space.cost import CostModel
from edgesynth.space.target_cost import TargetCost
from edgesynth.space.trace import trace

__all__ = ["measure_speed"]

REPEATS, NODES, GENOMES, BATCH = 20, 200, 10_000, 64


def measure_speed() -> dict[str, Any]:
    """Wall times on this machine, one thread of torch."""
    torch.set_num_threads(1)
    return {"estimate": _estimate(), "search": _search()}


def _estimate() -> dict[str, Any]:
    """`edgesynth.energy.estimate.estimate` of a file, everything imported already: median and greatest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        _save(path)
        estimate(path, "tx2-sim")
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            estimate(path, "tx2-sim")
            times.append(1e3 * (time.perf_counter() - start))
    return {
        "nodes": NODES,
        "repeats": REPEATS,
        "median_ms": round(statistics.median(times), 2),
        "greatest_ms": round(max(times), 2),
    }


def _search() -> dict[str, Any]:
    """Genomes of ResNet-20 with gradients, in batches as the generator draws them."""
    space = trace(resnet20(1, 10).eval(), torch.zeros(1, 1, 28, 28))
    start = time.perf_counter()
    cost = TargetCost.from_space(space, CostModel.from_space(space), calibration_of("tx2-sim"))
    built_s = time.perf_counter() - start
    full = torch.tensor([float(group.channels) for group in space.groups], dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for _ in range(-(-GENOMES // BATCH)):
        shares = torch.rand(BATCH, len(full), generator=random, dtype=torch.float64, requires_grad=True)
        kept = torch.rand(BATCH, len(space.blocks), generator=random, dtype=torch.float64, requires_grad=True)
        latency, energy = cost(shares * full, kept, torch.ones(BATCH, 1, dtype=torch.float64))
        (latency.sum() if energy is None else energy.sum()).backward()  # type: ignore[no-untyped-call]
    elapsed_s = time.perf_counter() - start
    return {
        "genomes": GENOMES,
        "batch": BATCH,
        "kernels": int(cost.launch_ms.numel()),
        "built_once_s": round(built_s, 2),
        "elapsed_s": round(elapsed_s, 3),
        "genomes_per_minute": round(60 * GENOMES / elapsed_s),
    }


def _save(path: Path) -> None:
    """A residual network of NODES operators: convolution, ReLU, convolution, sum, ReLU, and so on."""
    nodes: list[onnx.NodeProto] = []
    x = "input"
    while len(nodes) < NODES:
        start, tag = x, len(nodes)
        nodes += [
            helper.make_node("Conv", [x, "w"], [f"a{tag}"], pads=[1] * 4),
            helper.make_node("Relu", [f"a{tag}"], [f"b{tag}"]),
            helper.make_node("Conv", [f"b{tag}", "w"], [f"c{tag}"], pads=[1] * 4),
            helper.make_node("Add", [f"c{tag}", start], [f"d{tag}"]),
            helper.make_node("Relu", [f"d{tag}"], [f"e{tag}"]),
        ]
        x = f"e{tag}"
    shape = [1, 16, 32, 32]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
