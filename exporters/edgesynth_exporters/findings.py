"""What `check` answers with: findings, and the report that holds them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import log10
from pathlib import Path
from typing import Any, Literal

from edgesynth_exporters.plain import plain

__all__ = ["Finding", "MemoryEstimate", "Report", "mebibytes", "plain"]

ABSURD = 1e9  # MiB
SHOWN = 4  # nodes of one finding that are named to a person; the document has all


@dataclass(frozen=True)
class Finding:
    """One thing that the target does not take, or takes at a cost. `node` is None for what concerns the whole file."""

    severity: Literal["error", "warning"]
    rule: str
    reason: str
    remedy: str
    source: str
    node: str | None = None
    index: int | None = None
    operator: str | None = None


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of an engine in MiB at batch 1. None where it is unknown, and then `reason` says why.

    `activations_mib` is the most that is alive at once, `workspace_mib` what the builder and its kernels are given.
    The runtime's own memory is not in it.
    """

    weights_mib: float | None
    activations_mib: float | None
    workspace_mib: float
    available_mib: int | None
    reason: str | None = None

    @property
    def total_mib(self) -> float | None:
        if self.weights_mib is None or self.activations_mib is None:
            return None
        return self.weights_mib + self.activations_mib + self.workspace_mib


@dataclass(frozen=True)
class Report:
    """The answer to "can this file run on this target?": yes, where no finding is an error."""

    file: Path
    sha256: str
    target: str
    runtime: str
    tensorrt: str | None
    opset: int
    precision: str
    findings: tuple[Finding, ...]
    memory: MemoryEstimate

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        return "acceptable" if self.ok else "refused"

    def document(self) -> dict[str, Any]:
        """The report as one JSON document."""
        return {
            "schema": "edgesynth.check/1",
            "file": str(self.file),
            "sha256": self.sha256,
            "target": self.target,
            "runtime": self.runtime,
            "tensorrt": self.tensorrt,
            "opset": self.opset,
            "precision": self.precision,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "memory": {**asdict(self.memory), "total_mib": self.memory.total_mib},
        }

    def lines(self) -> Iterator[str]:
        """The report for a person: the verdict, then each kind of finding once with the nodes it concerns."""
        counts = [sum(finding.severity == kind for finding in self.findings) for kind in ("error", "warning")]
        numbers = ", ".join(_counted(n, kind) for n, kind in zip(counts, ("error", "warning"), strict=True) if n)
        yield plain(
            f"{self.file.name} on {self.target} ({self.runtime}, opset {self.opset}, {self.precision}): "
            f"{self.verdict}{', ' if numbers else ''}{numbers}"
        )
        groups: dict[tuple[str, str, str | None, str], list[Finding]] = {}
        for finding in sorted(self.findings, key=lambda finding: finding.severity):  # errors first
            key = (finding.severity, finding.rule, finding.operator, finding.reason)
            groups.setdefault(key, []).append(finding)
        for (severity, rule, operator, reason), found in groups.items():
            yield ""
            yield plain(f"{severity:7}  {f'{operator}: ' if operator else ''}{reason}  [{rule}]")
            nodes = [finding.node for finding in found if finding.node is not None]
            if nodes:
                more = f", and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
                yield plain(f"  {'nodes' if len(nodes) > 1 else 'node':5}  {', '.join(nodes[:SHOWN])}{more}")
            yield plain(f"  {'do':5}  {found[0].remedy}")
            yield plain(f"  {'see':5}  {found[0].source}")
        yield ""
        yield plain(f"memory   {_memory(self.memory)}")


def _memory(memory: MemoryEstimate) -> str:
    total = memory.total_mib
    if memory.weights_mib is None or memory.activations_mib is None or total is None:
        return f"unknown: {memory.reason}"
    available = "" if memory.available_mib is None else f" of {mebibytes(memory.available_mib)} MiB"
    return (
        f"about {mebibytes(total)}{available or ' MiB'}: weights {mebibytes(memory.weights_mib, 1)}, "
        f"activations {mebibytes(memory.activations_mib, 1)}, workspace {mebibytes(memory.workspace_mib)}"
    )


def mebibytes(size: float, digits: int = 0) -> str:
    """A size in MiB for a person; one beyond any machine, as damaged files state them, as a power of ten."""
    return f"10^{log10(size):.0f}" if size >= ABSURD else f"{size:,.{digits}f}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
