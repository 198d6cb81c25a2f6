"""The requests of the API: a JSON document in, a checked value out."""

import re
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

from edgesynth_agent.choose import BACKENDS
from edgesynth_agent.engines.tensorrt_builder import PRECISIONS
from edgesynth_agent.errors import RequestError
from edgesynth_agent.protocol import Schedule

__all__ = ["DEFAULT_BUILD_LIMIT_S", "JobRequest", "LeaseRequest", "parse_job_request", "parse_lease_request"]

_DIGEST = re.compile(r"[0-9a-f]{64}")

# Least and greatest value of each number. Two windows are the fewest that have a confidence interval.
_BATCH = (1, 1024)
_LIMIT_S = (1, 3600)
# TensorRT tries many kernels for every layer: minutes for a network of some size on a TX2, once for each network.
_BUILD_LIMIT_S = (1, 7200)
DEFAULT_BUILD_LIMIT_S = 1800.0
# Long enough for a heartbeat over a slow link, short enough that nobody waits long for the dead.
_TTL_S = (1, 600)
_MOST_HOLDER = 200
_SCHEDULE = {
    "warmup_min_s": (0, 600),
    "warmup_max_s": (0, 600),
    "windows": (2, 100),
    "window_s": (0.01, 600),
}


# Fields of a job that may be left out: with what they may say, with the digest of a file, the others.
_CHOICES = {"engine": BACKENDS, "precision": PRECISIONS}
_FILES = ("reference", "calibration")
_OPTIONAL = tuple(_CHOICES) + _FILES + ("build_limit_s",)


class JobRequest(NamedTuple):
    """Measure the stored `model` (SHA-256) as `target`; give up after `limit_s` of wall-clock time.

    Building an engine has a limit of its own, `build_limit_s`, and does not count for the other one. `engine` and
    `precision` may be left out: the agent then takes TensorRT where it works, and the file's precision. `reference`
    and `calibration` are stored files (SHA-256): what outputs are compared with, and the scales of int8.
    """

    model: str
    target: str
    batch: int
    limit_s: float
    schedule: Schedule
    engine: Optional[str] = None
    precision: Optional[str] = None
    reference: Optional[str] = None
    calibration: Optional[str] = None
    build_limit_s: Optional[float] = None

    @property
    def longest_build_s(self) -> float:
        return DEFAULT_BUILD_LIMIT_S if self.build_limit_s is None else self.build_limit_s

    def files(self) -> Dict[str, str]:
        """The digests of the stored files, by the name of their field."""
        asked = self._asdict()
        return {name: asked[name] for name in _FILES if asked[name] is not None}

    def document(self) -> Dict[str, Any]:
        """The request as it was asked."""
        fields = {name: value for name, value in self._asdict().items() if value is not None}
        return dict(fields, schedule=dict(self.schedule._asdict()))


def parse_job_request(document: Any) -> JobRequest:
    """Raises RequestError naming the first field that is missing, unknown, of another type or out of bounds."""
    fields = _object(document, "the job", JobRequest._fields, _OPTIONAL)
    schedule = _object(fields["schedule"], "schedule", Schedule._fields)
    for name in ("model",) + _FILES:
        if name in fields and not (isinstance(fields[name], str) and _DIGEST.fullmatch(fields[name])):
            raise _wrong(name, "it is no SHA-256", "give 64 lower-case hexadecimal digits")
    if not isinstance(fields["target"], str):
        raise _wrong("target", "it is no text", "give the name of a target")
    for name, known in _CHOICES.items():
        if fields.get(name, known[0]) not in known:
            raise _wrong(name, "it is no {} that the agent has".format(name), "give one of " + ", ".join(known))
    if "calibration" in fields and fields.get("precision") != "int8":
        raise _wrong("calibration", "only int8 is calibrated", "ask for the precision int8, or leave it out")
    if "build_limit_s" in fields:
        _number(fields["build_limit_s"], "build_limit_s", _BUILD_LIMIT_S, whole=False)
    for name, bounds in _SCHEDULE.items():
        _number(schedule[name], "schedule." + name, bounds, whole=name == "windows")
    request = JobRequest(
        model=fields["model"],
        target=fields["target"],
        batch=_number(fields["batch"], "batch", _BATCH, whole=True),
        limit_s=_number(fields["limit_s"], "limit_s", _LIMIT_S, whole=False),
        schedule=Schedule(**schedule),
        **{name: fields.get(name) for name in _OPTIONAL},
    )
    if request.schedule.warmup_max_s < request.schedule.warmup_min_s:
        raise _wrong("schedule.warmup_max_s", "it is less than warmup_min_s", "give at least warmup_min_s")
    longest_s = request.schedule.longest_s
    if request.limit_s < longest_s:
        raise _wrong("limit_s", "the schedule alone may take {:g} s".format(longest_s), "give more than that")
    return request


class LeaseRequest(NamedTuple):
    """Who wants the device, and how long after the last heartbeat it counts as gone."""

    holder: str
    ttl_s: float


def parse_lease_request(document: Any) -> LeaseRequest:
    """Raises RequestError naming the first field that is missing, unknown, of another type or out of bounds."""
    fields = _object(document, "the lease", LeaseRequest._fields)
    holder = fields["holder"]
    if not isinstance(holder, str) or not 1 <= len(holder) <= _MOST_HOLDER or not holder.isprintable():
        raise _wrong("holder", "it is no text of 1 to {} characters".format(_MOST_HOLDER), "say who asks: user@host")
    return LeaseRequest(holder, _number(fields["ttl_s"], "ttl_s", _TTL_S, whole=False))


def _wrong(field: str, what: str, next_step: str) -> RequestError:
    return RequestError(what, "field '{}'".format(field), next_step)


def _object(document: Any, where: str, names: Tuple[str, ...], optional: Iterable[str] = ()) -> Dict[str, Any]:
    wanted = [name for name in names if name not in optional]
    expected = "give an object of exactly " + ", ".join(wanted)
    if optional:
        expected += ", and perhaps " + ", ".join(optional)
    if not isinstance(document, dict):
        raise RequestError("it is no JSON object", where, expected)
    for name in sorted((document.keys() - set(optional)) ^ set(wanted)):
        raise _wrong(name, "it is " + ("unknown" if name in document else "missing"), expected)
    return document


def _number(value: Any, field: str, bounds: Tuple[float, float], whole: bool) -> Any:
    least, greatest = bounds
    # bool is an int in Python, and is none in JSON
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _wrong(field, "it is no {}number".format("whole " if whole else ""), "give one")
    if not least <= value <= greatest:
        what = "{:.20} is out of bounds".format(str(value))  # a whole number in JSON may have any number of digits
        raise _wrong(field, what, "give {:g} to {:g}".format(least, greatest))
    return value
