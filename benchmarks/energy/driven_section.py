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
        "ResNet-20 on Fashion-MNIST, one recipe for both: that of benchmarks/classification, whose networks the former "
        f"are. The latter's generator was learned for `{document['requirements'][0]}` and asked for "
        f"`{document['requirements'][-1]}` besides. Kernels, latency and energy on tx2-sim are estimated; latency here "
        "is measured, ONNX Runtime on one thread, all networks of a seed in turns. Networks are compared at equal "
        "accuracy: with that one of least energy among the others of the seed, and the prototype, that is at least as "
        "accurate on validation images.\n"
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
    for asked in document["requirements"]:
        yield from _summary(document, asked)


def _summary(document: dict[str, Any], asked: str) -> Iterator[str]:
    """What multiply-accumulates cost at equal accuracy, over the networks that were asked for by that requirement."""
    networks = {(seed["seed"], n["name"]): n for seed in document["seeds"] for n in seed["networks"]}
    pairs = [
        (networks[seed["seed"], pair["joules"]], networks[seed["seed"], pair["macs"]], pair)
        for seed in document["seeds"]
        for pair in seed["pairs"]
        if pair["macs"] is not None and networks[seed["seed"], pair["joules"]]["requirement"] == asked
    ]
    if pairs:
        times = [pair["times"] for _, _, pair in pairs]
        here = statistics.median(other["host_ms"] / network["host_ms"] for network, other, _ in pairs)
        usual = statistics.median(pair["median_times"] for _, _, pair in pairs)
        middle, least, most = statistics.median(times), min(times), max(times)
        yield (
            f"- `{asked}`: the best network of equal accuracy that multiply-accumulates drove needs {middle:.2f}x the "
            f"joules on tx2-sim (median of {len(pairs)} networks; {least:.2f} to {most:.2f}; wanted: 1.5), the median "
            f"of all such {usual:.2f}x; it takes {here:.2f}x the time here."
        )
    yield ""


def _times(seed: dict[str, Any], name: str) -> str:
    found = {pair["joules"]: pair for pair in seed["pairs"]}.get(name)
    if found is None:
        return ""
    return "none is" if found["times"] is None else f"{found['times']:.2f}x, {found['macs']}"
