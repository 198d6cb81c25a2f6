"""`edgesynth check`: can this ONNX file run on this target? Which node cannot, why, and what to do."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["check"]


def check(
    model: Annotated[Path, typer.Argument(help="ONNX file, up to 2 GB.", show_default=False)],
    target: Annotated[str, typer.Option(help="Target; `edgesynth targets ls` names them.", show_default=False)],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.check/1 document.")] = False,
) -> int:
    """Say whether a target's runtime takes an ONNX file: which node not, why, and what to do. Exit code 1: it does not.

    Weights are not loaded, and no device is needed.
    """
    import json
    from typing import get_args

    from edgesynth_exporters.check import check_model
    from edgesynth_exporters.targets import Precision, find_target

    from edgesynth.errors import EdgesynthError

    known: dict[str, Precision] = {name: name for name in get_args(Precision)}
    if precision not in known:
        raise EdgesynthError(f"unknown precision '{precision}': use {', '.join(known)}")
    report = check_model(model, find_target(target), known[precision])
    typer.echo(json.dumps(report.document(), indent=2) if json_ else "\n".join(report.lines()))
    return 0 if report.ok else 1
