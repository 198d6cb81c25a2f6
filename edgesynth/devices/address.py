"""Where a target is: `host`, `tx2-sim`, `tx2@ssh://user@board`, `tx2@unix:///run/edgesynth/agent.sock`."""

import re
from dataclasses import dataclass
from typing import Literal

from edgesynth_exporters.targets import Target, find_target, model_of

from edgesynth.errors import EdgesynthError

__all__ = ["Address", "parse_address"]

Way = Literal["here", "model", "ssh", "unix"]

_EXAMPLE = "write it like tx2@ssh://user@board, or tx2@unix:///run/edgesynth/agent.sock"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Address:
    """A target, and how to get to something that answers for it. `where` is the host for ssh, the path of the socket
    for unix; None for this machine and for a model."""

    target: Target
    way: Way
    where: str | None

    @property
    def text(self) -> str:
        """As `parse_address` takes it."""
        if self.where is None:
            return self.target.name
        return f"{self.target.name}@{self.way}://{self.where}"


def parse_address(text: str) -> Address:
    """The address in a text. Raises EdgesynthError that says what is wrong with it, also for a board without one."""
    name, at, rest = text.partition("@")
    target = find_target(name)
    if not at:
        return _without_place(target)
    if target.kind != "board":
        kind = "this machine" if target.kind == "host" else "a model"
        raise EdgesynthError(f"{text}: {name} is {kind} and has no address; leave out @{rest}")
    way, mark, where = rest.partition("://")
    if way == "ssh" and mark and _HOST.fullmatch(where):
        return Address(target, "ssh", where)
    if way == "unix" and mark and where.startswith("/") and where.isprintable():
        return Address(target, "unix", where)
    raise EdgesynthError(f"{text} is no address of a device: {_EXAMPLE}")


def _without_place(target: Target) -> Address:
    if target.kind == "host":
        return Address(target, "here", None)
    if target.kind == "model":
        return Address(target, "model", None)
    model = model_of(target)
    instead = "" if model is None else f"; or use {model.name}, the model of a {model.based_on}"
    raise EdgesynthError(
        f"{target.name} is a board, say where it is: {_EXAMPLE.replace('tx2@', target.name + '@')}{instead}"
    )
