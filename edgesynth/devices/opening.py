"""From addresses to who answers: models, this machine's agent, boards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgesynth_exporters.targets import Target, find_power_mode, model_of

from edgesynth.devices.address import Address, parse_address
from edgesynth.devices.agent_oracle import AgentOracle, HostOracle
from edgesynth.devices.client import AgentClient
from edgesynth.devices.jobs import EngineName, Precision, Tier
from edgesynth.devices.measured import Measurements, default_database
from edgesynth.devices.oracle import EstimateOracle, Oracle
from edgesynth.devices.patient import PatientOracle
from edgesynth.devices.pool import PoolOracle
from edgesynth.devices.power_mode import WantedMode
from edgesynth.devices.remote import RemoteAgent, agent_by_ssh
from edgesynth.devices.traces import default_traces
from edgesynth.errors import EdgesynthError

if TYPE_CHECKING:
    from edgesynth.devices.screen import Residual, ScreeningOracle

__all__ = ["Answering", "Patience", "open_answering", "open_device", "parse_addresses"]


@dataclass(frozen=True)
class Patience:
    """How boards are dealt with: measure at most so many candidates, wait at most so long for a board that is gone.
    With `anew` nothing is taken from what was measured before. `residuals` are what was learned of a target before;
    each further one goes to `on_residual`."""

    measure: int = 16
    anew: bool = False
    wait_s: float = 60.0
    residuals: "Mapping[str, Sequence[Residual]]" = field(default_factory=dict)
    on_residual: "Callable[[str, Residual], None]" = lambda _, __: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Answering:
    """Who answers, by the name of the target: `record` for the record, `screens` about candidates. All entered.

    For each board, `record` has its model too, so that what was estimated stands beside what was measured."""

    record: Mapping[str, Oracle]
    screens: Mapping[str, Oracle]


def parse_addresses(texts: Sequence[str], needed: Sequence[str]) -> dict[str, list[Address]]:
    """Addresses by target, in order; targets that are `needed` and have none may be models or this machine.

    Raises EdgesynthError for what is no address, for a board that is needed and has none, and for one without a model.
    """
    found: dict[str, list[Address]] = {}
    for text in dict.fromkeys(texts):
        address = parse_address(text)
        found.setdefault(address.target.name, []).append(address)
    for name in needed:
        if name not in found:
            found[name] = [parse_address(name)]
    for name, addresses in found.items():
        if addresses[0].target.kind == "board" and model_of(addresses[0].target) is None:
            raise EdgesynthError(
                f"{name} has no model to choose candidates with: fit one to what it measures, by edgesynth calibrate"
            )
    return found


@contextmanager
def open_answering(
    addresses: Mapping[str, Sequence[Address]], screened: Sequence[str], patience: Patience
) -> Iterator[Answering]:
    """Everybody, for the `with` block. `screened` are the targets that candidates are asked about.

    A board that cannot be reached is no error here: its records say that they are estimates. Raises DeviceError where
    this machine's own agent does not start.
    """
    from edgesynth.devices.screen import VerifyingOracle  # numpy and scipy take their time to import

    with ExitStack() as stack:
        record: dict[str, Oracle] = {}
        screens: dict[str, Oracle] = {}
        for name, places in addresses.items():
            if places[0].target.kind == "board":
                # One holder of the boards for both uses: each has one lease.
                screen = stack.enter_context(_screening(name, places, patience))
                screens[name], record[name] = screen, stack.enter_context(VerifyingOracle(screen))
                continue
            model = places[0].way == "model"
            record[name] = stack.enter_context(EstimateOracle(name) if model else HostOracle(traces=default_traces()))
            if name in screened:
                screens[name] = stack.enter_context(EstimateOracle(name) if model else HostOracle(screening=True))
        for model_name in _models_of_boards(addresses):
            if model_name not in record:
                record[model_name] = stack.enter_context(EstimateOracle(model_name))
        yield Answering(record, screens)


def open_device(
    text: str,
    *,
    engine: EngineName | None = None,
    precision: Precision | None = None,
    tier: Tier | None = None,
    power_mode: int | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> AgentOracle:
    """Who measures on the device at that address, in the `power_mode` of that number or as the device is.

    `on_progress(stage, share)` is called as a measurement goes on.

    Raises EdgesynthError for a target that is none, is unknown, or has no such power mode. Entering raises DeviceError
    where the board is in another mode and cannot be set to that one.
    """
    address = parse_address(text)
    if address.way == "model":
        raise EdgesynthError(f"{text} is a model, not a device: ask edgesynth estimate --target {text}")
    if power_mode is not None:
        _check_mode(address.target, power_mode)
    if address.way == "here":
        return HostOracle(None, on_progress, engine=engine, precision=precision, tier=tier, traces=default_traces())
    agent = _agent_at(address)
    hold = agent.hold_mode if isinstance(agent, RemoteAgent) else None
    mode = None if power_mode is None else WantedMode(power_mode, hold)
    name = address.target.name
    return AgentOracle(
        name,
        agent,
        None,
        on_progress,
        engine=engine,
        precision=precision,
        tier=tier,
        mode=mode,
        traces=default_traces(),
    )


def _check_mode(target: Target, power_mode: int) -> None:
    if target.kind == "host":
        raise EdgesynthError(f"{target.name} has no power modes: leave out --power-mode, or name a board")
    # Where no source tells the modes of a board, the board does.
    if target.power_modes:
        find_power_mode(target, power_mode)


def _models_of_boards(addresses: Mapping[str, Sequence[Address]]) -> list[str]:
    models = [model_of(places[0].target) for places in addresses.values() if places[0].target.kind == "board"]
    return [model.name for model in models if model is not None]


def _screening(name: str, places: Sequence[Address], patience: Patience) -> "ScreeningOracle":
    from edgesynth.devices.screen import ScreeningOracle

    model = model_of(places[0].target)
    assert model is not None, "parse_addresses lets no board without a model through"
    memory, traces = Measurements(default_database(), anew=patience.anew), default_traces()
    boards = [
        PatientOracle(AgentOracle(name, _agent_at(place), memory=memory, traces=traces), patience.wait_s, patience.say)
        for place in places
    ]
    return ScreeningOracle(
        EstimateOracle(model.name),
        PoolOracle(boards),
        patience.measure,
        patience.residuals.get(name, ()),
        lambda residual: patience.on_residual(name, residual),
    )


def _agent_at(address: Address) -> AbstractContextManager[AgentClient]:
    """The agent there, for a `with` block."""
    assert address.where is not None
    if address.way == "ssh":
        return agent_by_ssh(address.where, address.text)
    return _SocketAgent(Path(address.where), address.text)


class _SocketAgent(AbstractContextManager[AgentClient]):
    """An agent whose socket is on this machine."""

    def __init__(self, path: Path, device: str) -> None:
        self._path, self._device = path, device

    def __enter__(self) -> AgentClient:
        client = AgentClient(self._path, self._device)
        client.health()
        return client

    def __exit__(self, *_: object) -> None:
        """Nothing is held: each question is a connection of its own."""
