"""`edgesynth bench`: measure an ONNX file on a target."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from edgesynth.cli.progress import Stages
    from edgesynth.devices import AgentOracle

__all__ = ["bench"]


def bench(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    target: Annotated[str, typer.Option(help="Where to measure it: host, or tx2@ssh://user@board.")] = "host",
    batch: Annotated[int, typer.Option(min=1, help="Images in one inference.")] = 1,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None, typer.Option(help="What to compute in.", show_default="the file's")
    ] = None,
    engine: Annotated[
        Literal["onnxruntime", "tensorrt", "tensorrt_rtx"] | None,
        typer.Option(help="What runs it.", show_default="TensorRT where it works, else ONNX Runtime"),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Answers to compare with first.", show_default="MODEL.reference.npz, where it is of the model"
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Scales for TensorRT, with --precision int8.", show_default="MODEL.calibration")
    ] = None,
    tier: Annotated[
        Literal["quick", "reported"] | None,
        typer.Option(
            help="quick: 5 windows of 10 s, 1 to 3 minutes; reported: 5 of 60 s, 5 to 7 minutes. If not given, quick "
            "where there is a power sensor, else some seconds."
        ),
    ] = None,
    power_mode: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of the board's power mode, set for as long as this takes; as it is if not given."
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another ONNX file: measure both in turns, and say the ratio.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of --compare, four measurements each.")] = 3,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one edgesynth.measurement/1 document, or edgesynth.comparison/1.")
    ] = False,
) -> None:
    """Measure latency, and energy where there is a sensor, through the agent on the target.

    The times of a tier are those of one measurement. With --compare a round is four: the first network, the other
    twice, and the first again, so that a device that warms up favours neither. By their schedules three rounds take
    about 20 to 35 minutes in the quick tier, and 65 to 85 in the reported one.
    """
    if compare is not None and (reference, calibration) != (None, None):
        raise typer.BadParameter("--reference and --calibration are of one file: leave them out of --compare")
    from edgesynth.cli.progress import Stages
    from edgesynth.cli.tables import print_measurement
    from edgesynth.devices import beside, open_device

    found = beside(model, precision, engine) if compare is None else None
    if found is not None and found.note is not None and reference is None:
        typer.echo(found.note, err=True)
    with (
        Stages() as stages,
        open_device(
            target, engine=engine, precision=precision, tier=tier, power_mode=power_mode, on_progress=stages
        ) as oracle,
    ):
        # Figures are printed inside: were the board's power mode not put back, that would be an error after them.
        if compare is not None:
            _compare(oracle, stages, model, compare, batch, rounds, json_)
            return
        assert found is not None
        measurement = oracle.measure(
            model,
            batch=batch,
            reference=reference or found.reference,
            calibration=calibration or found.calibration,
        )
        stages.done()
        if json_:
            typer.echo(measurement.model_dump_json(indent=2))
        else:
            print_measurement(model.name, measurement)


def _compare(
    oracle: "AgentOracle", stages: "Stages", first: Path, second: Path, batch: int, rounds: int, json_: bool
) -> None:
    from edgesynth.cli.tables import print_comparison
    from edgesynth.devices.comparison import compare
    from edgesynth.errors import DeviceError

    found = compare(
        oracle,
        first,
        second,
        batch=batch,
        rounds=rounds,
        on_round=lambda done, total: typer.echo(f"round {done} of {total}", err=True),
    )
    stages.done()
    if json_:
        typer.echo(found.model_dump_json(indent=2, by_alias=True))
    else:
        print_comparison(found)
    if len(found.rounds) < rounds:
        raise DeviceError(found.warnings[0])
