"""Whether this device is a make-believe one: then nothing that is timed or metered on it may be called measured."""

import os
from typing import Mapping, Optional

from edgesynth_agent.board import first_text

__all__ = ["FILE", "VARIABLE", "simulation"]

VARIABLE = "EDGESYNTH_SIMULATED"
FILE = "etc/edgesynth-simulated"

_MOST_TEXT = 200


def simulation(root: str = "/", environment: Mapping[str, str] = os.environ) -> Optional[str]:
    """Why figures that are taken here are simulated, as a phrase; None on a real device.

    The variable or the file says so, by any text, such as the name of what is played; so does any `root` but the
    machine's own: the sensors there are files that somebody wrote.
    """
    said = environment.get(VARIABLE)
    if said:
        return "${} says so: {}".format(VARIABLE, _plain(said))
    path = os.path.join(root, FILE)
    if os.path.lexists(path):
        return "{} says so: {}".format(path, _plain(first_text(path) or "nothing more"))
    if os.path.realpath(root) != "/":
        return "its sensors and facts are the files under {}".format(root)
    return None


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MOST_TEXT]
