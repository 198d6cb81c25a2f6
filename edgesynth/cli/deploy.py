"""`edgesynth deploy`: a network onto a device, verified, running and measured; or back to where it was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from edgesynth.deploy.record import DeployRecord
    from edgesynth.devices.transport import Transport

__all__ = ["deploy", "open_transport"]


def deploy(
    network: Annotated[
        str | None, typer.Argument(help="RUN/NAME, or MODEL.onnx of edgesynth export.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="As ssh takes it: user@board, or a host of your ssh config.", show_default=False)
    ] = "",
    target: Annotated[
        str | None, typer.Option(help="What the device is; see edgesynth targets ls.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What it is called on the device.", show_default="the network's name")
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None,
        typer.Option(
            help="What to compute in.",
            show_default="the export's; for RUN/NAME fp16 where the target has it; else fp32",
        ),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Releases of it that stay on the device.")] = 3,
    measure: Annotated[
        Literal["auto", "quick", "none"],
        typer.Option(help="auto: the quick tier, or a short one where the device is simulated."),
    ] = "auto",
    user: Annotated[bool, typer.Option("--user", help="Without root: into the home of the user who logs in.")] = False,
    allow_simulated: Annotated[
        bool, typer.Option("--allow-simulated", help="Also onto what only plays the target.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the release before this one.")] = False,
    status: Annotated[bool, typer.Option("--status", help="What is deployed there, and is it whole?")] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Take away --name, or everything with the agent.")
    ] = False,
    ssh_config: Annotated[
        Path | None, typer.Option(help="For ssh -F; also $EDGESYNTH_SSH_CONFIG.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Bring a network onto a device: agent, upload, engine, comparison, trial, switch-over, measurement.

    Whatever fails before the end leaves the device as it was, and says why. Deploying again what is there changes
    nothing. docs/deploy.md tells which rights it needs.

    Exit code 0: done, or nothing to do. 1: the target does not take the network, or the device is another one.
    3: a step failed, or the device is busy or out of reach.
    """
    from edgesynth.errors import EdgesynthError

    if not host:
        raise EdgesynthError("which device? give --host user@board")
    if rollback + status + uninstall > 1:
        raise EdgesynthError("--rollback, --status and --uninstall are three things: give one of them")
    if dry_run and (rollback or status or uninstall):
        raise EdgesynthError("--dry-run is for deploying a network: --rollback and --uninstall would really be done")
    if name == "":
        raise EdgesynthError("--name is empty: give the name of a network on the device, or leave --name out")
    transport = open_transport(host, ssh_config)
    if rollback or status or uninstall:
        if network is not None:
            raise EdgesynthError(f"{network}: with --rollback, --status and --uninstall give --name, not a network")
        action = _status if status else _rollback if rollback else _uninstall
        return action(transport, name, user, json_)
    if network is None or target is None:
        raise EdgesynthError(
            "what is to be deployed, and what is the device? give RUN/NAME or MODEL.onnx, and --target"
        )
    return _deploy(transport, network, target, name, precision, keep, measure, user, allow_simulated, dry_run, json_)


def open_transport(host: str, ssh_config: Path | None) -> "Transport":
    """How the device of that name is reached."""
    from edgesynth.devices.ssh import SshTransport

    return SshTransport(host, ssh_config)


def _deploy(
    transport: "Transport",
    network: str,
    target: str,
    name: str | None,
    precision: Literal["fp32", "fp16", "int8"] | None,
    keep: int,
    measure: Literal["auto", "quick", "none"],
    user: bool,
    allow_simulated: bool,
    dry_run: bool,
    json_: bool,
) -> int:
    from edgesynth_exporters.targets import find_target

    from edgesynth.cli.export import stdout_to_stderr
    from edgesynth.deploy.deploy import Deployment
    from edgesynth.deploy.package import default_name, open_package
    from edgesynth.deploy.plan import plan
    from edgesynth.deploy.request import DeployFailedError, Request

    with stdout_to_stderr():  # an export runs code of the user's, which may print
        package = open_package(network, find_target(target), precision, _tell)
    request = Request(
        package=package,
        name=name or default_name(package),
        holder=_holder(),
        keep=keep,
        user=user,
        allow_simulated=allow_simulated,
        tier=measure,
    )
    try:
        record = plan(request, transport, _tell) if dry_run else Deployment(request, transport, _tell).run()
    except DeployFailedError as failure:
        if json_:
            typer.echo(failure.record.model_dump_json(indent=2))
        raise
    if json_:
        typer.echo(record.model_dump_json(indent=2))
    else:
        _print(record)
    return 0


def _print(record: "DeployRecord") -> None:
    if record.outcome == "planned":
        for state in record.states:
            _say(f"{state.name:10} {'' if state.outcome == 'planned' else state.outcome + ': '}{state.detail}")
        _say(f"would make {record.name} on {record.host} release {record.release}, is {record.current or 'nothing'}")
        return
    if record.outcome == "unchanged":
        _say(f"no change: {record.name} on {record.host} is release {record.release} already ({record.seconds:.1f} s)")
        return
    _say(f"{record.name} on {record.host} is release {record.release} in {record.folder} ({record.seconds:.1f} s)")
    if record.measurement is not None:
        from edgesynth.cli.tables import print_measurement

        print_measurement(record.name, record.measurement)


def _status(transport: "Transport", name: str | None, user: bool, json_: bool) -> int:
    """Exit code 1 where something is not whole, or the network of that name is not there."""
    import json

    from edgesynth.deploy.manage import status

    networks = [each for each in status(transport, user=user) if name in (None, each["name"])]
    if json_:
        document = {"schema": "edgesynth.deployed/1", "host": transport.host, "networks": networks}
        typer.echo(json.dumps(document, indent=2))
    elif not networks:
        _say(f"{transport.host}: {name or 'nothing'} is {'not ' if name else ''}deployed")
    else:
        for each in networks:
            _say(_line(each))
    whole = all(each["current"] is not None and not each["problems"] for each in networks)
    return 0 if whole and (networks or name is None) else 1


def _line(each: dict[str, Any]) -> str:
    if each["current"] is None:
        return f"{each['name']}: not deployed, a deploy of it did not come to its end"
    manifest, measurement = each["manifest"] or {}, each["measurement"]
    engine = manifest.get("engine") or {}
    text = f"{each['name']}: release {each['current']}, {manifest.get('target')}, {engine.get('backend')} "
    text += f"{engine.get('version')}, {engine.get('precision')}"
    if measurement and measurement.get("latency_ms"):
        text += f", {measurement['latency_ms']['mean']:.3g} ms"
        per_joule = measurement.get("inferences_per_joule")
        text += f", {per_joule:.3g} inferences/J" if per_joule else ""
        text += f" ({measurement['source']})"
    if each["problems"]:
        text += f"; damaged: {'; '.join(each['problems'])}: deploy it again"
    earlier = [one for one in each["history"] if one != each["current"]]
    return text + (f"; earlier: {', '.join(reversed(earlier))}" if earlier else "")


def _rollback(transport: "Transport", name: str | None, user: bool, json_: bool) -> int:
    import json

    from edgesynth.deploy.manage import rollback

    network, release = rollback(transport, name, _holder(), user=user)
    if json_:
        document = {"schema": "edgesynth.rollback/1", "host": transport.host, "name": network, "release": release}
        typer.echo(json.dumps(document, indent=2))
    else:
        _say(f"{network} on {transport.host} is release {release} again")
    return 0


def _uninstall(transport: "Transport", name: str | None, user: bool, json_: bool) -> int:
    import json

    from edgesynth.deploy.manage import uninstall

    gone = uninstall(transport, name, _holder(), user=user)
    if json_:
        document = {"schema": "edgesynth.uninstall/1", "host": transport.host, "networks": gone, "agent": name is None}
        typer.echo(json.dumps(document, indent=2))
    else:
        what = ", ".join(gone) or "no network"
        _say(f"{transport.host}: removed {what}{'' if name else ', and the agent with all that is its'}")
    return 0


def _holder() -> str:
    """Who deploys, for those who find the device busy."""
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def _tell(text: str) -> None:
    _say(text, err=True)


def _say(text: str, err: bool = False) -> None:
    """One line. Words in it come from a device: nothing in them may steer a terminal."""
    from edgesynth_exporters.plain import plain

    typer.echo(plain(text), err=err)
