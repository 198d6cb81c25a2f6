"""`GET /metrics`: the text format of Prometheus, version 0.0.4."""

from typing import Any, Dict, List, Mapping, Optional

__all__ = ["CONTENT_TYPE", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(
    uptime_s: float,
    jobs: Mapping[str, int],
    busy: bool,
    leased: bool,
    damaged_job_stores: int,
    stored: Mapping[str, int],
    connections: int,
    now: Mapping[str, Any],
) -> str:
    """All metrics. `stored` is bytes by kind, `now` is `Device.now()`; what that does not know is left out, never 0."""
    lines: List[str] = []
    _family(lines, "uptime_seconds", "gauge", "Time since the agent started.", {"": uptime_s})
    by_status = {_labels(status=status): count for status, count in jobs.items()}
    _family(lines, "jobs", "gauge", "Jobs that are remembered, by status.", by_status)
    _family(lines, "busy", "gauge", "Whether a job runs.", {"": int(busy)})
    _family(lines, "leased", "gauge", "Whether somebody has the lease.", {"": int(leased)})
    about = "Files of jobs that were found damaged and moved aside."
    _family(lines, "damaged_job_stores", "gauge", about, {"": damaged_job_stores})
    by_kind = {_labels(kind=kind): size for kind, size in stored.items()}
    _family(lines, "store_bytes", "gauge", "Bytes that are kept.", by_kind)
    _family(lines, "connections", "gauge", "Connections that are open.", {"": connections})
    temperatures = {_labels(zone=zone): value for zone, value in (now["temperatures_c"] or {}).items()}
    _family(lines, "temperature_celsius", "gauge", "Temperatures of the device.", temperatures)
    clocks = {_labels(clock=name): 1e6 * mhz for name, mhz in (now["clocks_mhz"] or {}).items()}
    _family(lines, "clock_hertz", "gauge", "Clocks of the device, as they are now.", clocks)
    _family(lines, "power_watts", "gauge", "Input power of the device, one reading.", _known(now["power_w"]))
    _family(lines, "disk_free_bytes", "gauge", "Free space where models are kept.", _known(now["disk_free_bytes"]))
    free = _known(now["memory_available_bytes"])
    _family(lines, "memory_available_bytes", "gauge", "Memory that programs can have.", free)
    return "\n".join(lines) + "\n"


def _family(lines: List[str], name: str, kind: str, about: str, samples: Mapping[str, float]) -> None:
    if samples:
        full = "edgesynth_agent_" + name
        lines += ["# HELP {} {}".format(full, about), "# TYPE {} {}".format(full, kind)]
        lines += ["{}{} {:.12g}".format(full, labels, float(value)) for labels, value in samples.items()]


def _known(value: Optional[float]) -> Dict[str, float]:
    return {} if value is None else {"": value}


def _labels(**labels: str) -> str:
    pairs = ['{}="{}"'.format(name, _escaped(value)) for name, value in labels.items()]
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
