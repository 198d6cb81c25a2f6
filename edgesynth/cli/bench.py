"""`edgesynth bench`: measure an ONNX file on a target."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]


def bench(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    target: Annotated[str, typer.Option(help="Where to measure it.")] = "host",
    batch: Annotated[int, typer.Option(min=1, help="Images in one inference.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print one edgesynth.measurement/1 document.")] = False,
) -> None:
    """Measure latency, and energy where there is a sensor, through the agent on the target."""
    from edgesynth_exporters.targets import find_target

    from edgesynth.cli.tables import print_measurement
    from edgesynth.devices import open_oracle
    from edgesynth.errors import EdgesynthError

    if find_target(target).kind == "model":
        raise EdgesynthError(f"{target} is a model, not a device: ask edgesynth estimate {model} --target {target}")
    with open_oracle(target) as oracle:
        measurement = oracle.measure(model, batch=batch)
    if json_:
        typer.echo(measurement.model_dump_json(indent=2))
    else:
        print_measurement(model.name, measurement)
