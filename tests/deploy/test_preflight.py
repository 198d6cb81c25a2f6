"""What the preflight finds, and the command that mends it."""

import pytest
from edgesynth_exporters.targets import find_target

from edgesynth.deploy.preflight import examine

MIB = 1024 * 1024
TX2 = find_target("tx2")


def facts(**changes):
    """A TX2 as it should be."""
    versions = {"numpy": "1.19.5", "onnxruntime": None, "tensorrt": "8.2.1.8", "pycuda": "2020.1"}
    runtimes = {name: {"version": version, "reason": None if version else "no"} for name, version in versions.items()}
    given = {
        "machine": "aarch64",
        "model": "NVIDIA Jetson TX2 Developer Kit",
        "targets": ["host", "tx2"],
        "simulated": None,
        "l4t": "32.7.1",
        "runtime": {"backend": "tensorrt", "version": "8.2.1.8", "reason": None, "runtimes": runtimes},
        "memory_available_bytes": 6000 * MIB,
        "disk_free_bytes": 9000 * MIB,
        "disk": "/var/lib",
        "unix_s": 1000.0,
        "power_mode": {"id": 0, "name": "MAXN"},
        "power_mode_reason": None,
        "service": "systemd",
        "linger": None,
    }
    return given | changes


def runtime(backend, reason, **versions):
    known = facts()["runtime"]["runtimes"]
    changed = {name: {"version": version, "reason": "ModuleNotFoundError"} for name, version in versions.items()}
    return {"backend": backend, "version": "1", "reason": reason, "runtimes": known | changed}


def found(allow_simulated=False, target=TX2, size=MIB, now_s=1000.0, **changes):
    return examine(facts(**changes), target, size, now_s, allow_simulated)


def test_a_board_as_it_should_be():
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "what", "severity", "words"),
    [
        ({"machine": "x86_64", "targets": ["host"]}, "architecture", "error", "its processor is x86_64"),
        ({"simulated": "a file says so"}, "simulated", "error", "--allow-simulated"),
        ({"targets": ["host", "orin-nx"]}, "board", "error", "--target orin-nx"),
        ({"targets": ["host"]}, "board", "warning", "does not say that it is a tx2"),
        ({"l4t": "36.4.3"}, "L4T", "warning", "it has 36.4.3"),
        (
            {"runtime": runtime("tensorrt", None, tensorrt="8.0.1.6")},
            "TensorRT",
            "warning",
            "it has 8.0.1.6, and the network was checked for",
        ),
        (
            {"runtime": runtime("onnxruntime", "cannot be imported", tensorrt=None, onnxruntime="1.10.0")},
            "TensorRT",
            "warning",
            "apt-get install python3-libnvinfer",
        ),
        ({"runtime": runtime(None, "no pycuda", pycuda=None)}, "TensorRT", "error", "pip3 install pycuda"),
        ({"disk_free_bytes": 60 * MIB}, "disk", "error", "60 MiB are free in /var/lib, and up to 67 are needed"),
        ({"memory_available_bytes": 300 * MIB}, "memory", "warning", "systemctl isolate multi-user.target"),
        ({"unix_s": 4600.0}, "clock", "warning", "it is 3600 s ahead of this machine's; sudo timedatectl"),
        ({"unix_s": 0.0}, "clock", "warning", "1000 s behind"),
        (
            {"power_mode": {"id": 3, "name": "MAXP_CORE_ARM"}},
            "power mode",
            "warning",
            "; sudo nvpmodel -m 0 && sudo jetson_clocks",
        ),
        ({"power_mode": None, "power_mode_reason": "no nvpmodel"}, "power mode", "warning", "not known (no nvpmodel)"),
        ({"service": "session", "linger": False}, "systemd", "warning", "loginctl enable-linger"),
        ({"service": "systemd --user", "linger": False}, "agent", "warning", "loginctl enable-linger"),
    ],
)
def test_what_speaks_against_it(changes, what, severity, words):
    (finding,) = found(**changes)
    assert (finding.what, finding.severity) == (what, severity)
    assert words in str(finding)


def test_what_is_allowed_is_a_warning():
    findings = found(allow_simulated=True, simulated="a file says so", machine="x86_64")
    assert [(each.what, each.severity) for each in findings] == [("simulated", "warning")]
    findings = found(allow_simulated=True, machine="x86_64", targets=["host"])
    assert [(each.what, each.severity) for each in findings] == [("architecture", "warning")]
