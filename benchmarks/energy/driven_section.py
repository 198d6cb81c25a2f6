"""The page's part about synthesis driven by multiply-accumulates against synthesis driven by joules."""

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.energy.table import table

__all__ = ["driven_section"]


def driven_section(document: dict[str, Any]) -> Iterator[str]:
    """From the document of `driven.drive`."""
    yield "## Driven by multiply-accumulates, driven by joules\n"
    yield (
        "ResNet-20 on Fashion-MNIST, one recipe for both (that of benchmarks/classification, whose networks the former "
        f"are); the latter under `{document['requirement']}` alone. Kernels, latency and energy on tx2-sim are "
        "estimated; latency here is measured, ONNX Runtime on one thread, all networks of a seed in turns. Networks "
        "are compared at equal accuracy: with that one of least energy among the others of the seed, and the "
        "prototype, that is at least as accurate on validation images.\n"
    )
    head = ("seed", "network", "asked for", "validation", "test", "MMACs", "kernels", "tx2-sim, ms", "tx2-sim, mJ")
    yield from table(
        (*head, "here, ms", "joules of the best as accurate"),
        3,
        (
            (seed["seed"], network["name"], f"`{network['requirement']}`" if "requirement" in network else "",
             f"{network['val_accuracy']:.2%}", f"{network['test_accuracy']:.2%}", f"{network['macs'] / 1e6:.2f}",
             network["kernels"], network["ms"], network["mj"], network["host_ms"], _times(seed, network["name"]))
            for seed in document["seeds"]
            for network in seed["networks"]
        ),
    )  # fmt: skip
    known = [pair["times"] for seed in document["seeds"] for pair in seed["pairs"] if pair["times"] is not None]
    count = sum(len(seed["pairs"]) for seed in document["seeds"])
    if known:
        yield (
            f"At equal accuracy joules need {statistics.median(known):.2f}x as many when multiply-accumulates drive "
            f"(median of {len(known)} of {count} networks; {min(known):.2f} to {max(known):.2f}); wanted: 1.5x.\n"
        )


def _times(seed: dict[str, Any], name: str) -> str:
    found = {pair["joules"]: pair for pair in seed["pairs"]}.get(name)
    if found is None:
        return ""
    return "none is" if found["times"] is None else f"{found['times']:.2f}x, {found['macs']}"
