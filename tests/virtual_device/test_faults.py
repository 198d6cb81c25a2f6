"""What can happen to a virtual TX2 does happen, and is mended."""

import socket
import subprocess

import pytest
from onnx import TensorProto, helper

from tests.virtual_device.places import VirtualDeviceError
from tests.virtual_device.test_device import wait_until

ASK = """
import numpy, onnxruntime, sys
session = onnxruntime.InferenceSession("/tmp/double.onnx", providers=["CPUExecutionProvider"])
print(session.run(None, {"x": numpy.array([1.0, 2.0], dtype="float32")})[0].tolist())
"""


def answers(device):
    try:
        socket.create_connection((device.address, 22), timeout=1.0).close()
    except OSError:
        return False
    return True


def test_a_cut_cable_lets_nothing_through(virtual_device):
    assert answers(virtual_device)
    virtual_device.cut_cable()
    try:
        assert not answers(virtual_device)
    finally:
        virtual_device.mend_cable()
    wait_until(lambda: answers(virtual_device))
    virtual_device.ssh("true")


def test_sshd_comes_back_after_it_was_killed(virtual_device):
    with subprocess.Popen(["ssh", "-F", virtual_device.ssh_config, virtual_device.name, "sleep 600"]) as session:
        wait_until(lambda: virtual_device.enter("ps", "-e", "-o", "args").count("sleep 600"))
        assert virtual_device.kill_sshd() >= 2
        assert session.wait(30) == 255
    virtual_device.wait_for_ssh()


def test_processes_are_killed_by_their_command_line(virtual_device):
    assert virtual_device.kill("sleep 4242") == 0
    virtual_device.ssh("systemd-run --quiet sleep 4242")
    wait_until(lambda: virtual_device.kill("sleep 4242"))
    wait_until(lambda: "sleep 4242" not in virtual_device.enter("ps", "-e", "-o", "args"))


def test_a_full_disk_is_full_for_root_too_and_for_this_device_alone(virtual_device):
    write = "dd if=/dev/zero of=/var/big bs=1M count=4 conv=fsync"
    virtual_device.fill_disk(leave_bytes=1 << 20)
    try:
        assert "No space left on device" in virtual_device.ssh(write, check=False).stderr
    finally:
        virtual_device.free_disk()
    virtual_device.ssh(write + " && rm /var/big")
    with pytest.raises(VirtualDeviceError, match="free already"):
        virtual_device.fill_disk(leave_bytes=1 << 50)


def test_a_reboot_keeps_the_disk(virtual_device):
    virtual_device.ssh("touch /run/of-this-boot /var/of-the-disk")
    virtual_device.reboot()
    assert virtual_device.ssh("ls /var/of-the-disk /run/of-this-boot; rm /var/of-the-disk", check=False).stdout == (
        "/var/of-the-disk\n"
    )


def test_a_device_may_reboot_itself(virtual_device):
    before = virtual_device.group.init()
    virtual_device.ssh("systemctl reboot", check=False)
    wait_until(lambda: virtual_device.group.init() not in (before, None))
    virtual_device.wait_for_ssh()


def test_a_power_cut_keeps_what_was_synchronised_and_nothing_else(virtual_device):
    virtual_device.ssh("echo kept >/var/synchronised && sync /var/synchronised && sync /var")
    virtual_device.ssh("echo lost >/var/not-synchronised")
    with subprocess.Popen(["ssh", "-F", virtual_device.ssh_config, virtual_device.name, "sleep 600"]) as session:
        try:
            wait_until(lambda: virtual_device.enter("ps", "-e", "-o", "args").count("sleep 600"))
            virtual_device.power_cut()
            with pytest.raises(subprocess.TimeoutExpired):  # it is not told
                session.wait(0.5)
        finally:
            session.kill()
    assert virtual_device.group.init() is None
    assert not answers(virtual_device)
    virtual_device.boot()
    assert virtual_device.ssh("cat /var/synchronised").stdout == "kept\n"
    assert virtual_device.ssh("cat /var/not-synchronised", check=False).stdout == ""
    assert virtual_device.ssh("systemctl is-system-running --wait").stdout == "running\n"


def test_the_engine_fails_as_asked(virtual_device):
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    virtual_device.path("/tmp/double.onnx").write_bytes(model.SerializeToString())
    assert virtual_device.ssh("python3 -", stdin=ASK).stdout == "[2.0, 4.0]\n"
    virtual_device.make_parity_fail()
    assert virtual_device.ssh("ls /etc/virtual-device/faults", user="nvidia").stdout == "parity\n"
    assert virtual_device.ssh("python3 -", stdin=ASK).stdout == "[3.0, 5.0]\n"
    virtual_device.make_parity_fail(False)
    virtual_device.make_engine_build_fail()
    assert "a test asked for" in virtual_device.ssh("python3 -", stdin=ASK, check=False).stderr
    virtual_device.make_engine_build_fail(False)
    assert virtual_device.ssh("python3 -", stdin=ASK).stdout == "[2.0, 4.0]\n"


def test_one_byte_of_an_upload_is_turned_over(virtual_device):
    virtual_device.ssh("mkdir -p /var/uploads && printf abc >/var/uploads/a.partial")
    assert virtual_device.corrupt("/var/uploads/none*") is None
    assert virtual_device.corrupt("/var/uploads/*.partial", at=1).name == "a.partial"
    assert virtual_device.path("/var/uploads/a.partial").read_bytes() == b"a\x9dc"
    with virtual_device.corrupting("/var/uploads/*.next") as corrupted:
        virtual_device.ssh("printf abc >/var/uploads/b.next")
        wait_until(lambda: corrupted)
    assert virtual_device.path("/var/uploads/b.next").read_bytes() == b"\x9ebc"
    virtual_device.ssh("rm -r /var/uploads")
