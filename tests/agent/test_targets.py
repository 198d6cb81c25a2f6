"""Which targets a board is, and whether it is a real one."""

import pytest
from edgesynth_agent import targets
from edgesynth_agent.simulation import FILE, VARIABLE, simulation
from edgesynth_agent.targets import compute_capability, targets_of

from tests.agent.fake_sysfs import FakeSysfs


@pytest.fixture
def tree(tmp_path):
    return FakeSysfs(tmp_path)


def device_tree(tree, compatible=(), model=None, source=None):
    for name, text in (("compatible", "\0".join([*compatible, ""])), ("model", model), ("nvidia,dtsfilename", source)):
        if text:
            tree.write(f"proc/device-tree/{name}", text)
    return str(tree.root)


# As published of real boards: docs and logs of others, and the device trees of Linux.
BOARDS = [
    ("tx2", "6.2", "nvidia,quill nvidia,p2597-0000+p3310-1000 nvidia,tegra186"),
    ("tx2", "6.2", "nvidia,p2771-0000 nvidia,tegra186"),
    ("tx1", "5.3", "nvidia,p2371-2180 nvidia,tegra210"),
    ("nano", "5.3", "nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210"),
    ("xavier-nx", "7.2", "nvidia,p3449-0000+p3668-0000 nvidia,p3509-0000+p3668-0001 nvidia,tegra194"),
    ("agx-xavier", "7.2", "nvidia,galen nvidia,jetson-xavier nvidia,p2822-0000+p2888-0001 nvidia,tegra194"),
    ("orin-nx", "8.7", "nvidia,p3768-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234"),
    ("orin-nano", "8.7", "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234"),
    ("agx-orin", "8.7", "nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234"),
    ("thor", "11.0", "nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264"),
]


@pytest.mark.parametrize(("target", "capability", "compatible"), BOARDS)
def test_a_board_is_known_by_its_module(tree, target, capability, compatible):
    root = device_tree(tree, compatible.split())
    assert targets_of(root) == ["host", target]
    assert compute_capability(root) == (capability, None)


@pytest.mark.parametrize(
    "compatible",
    [
        "nvidia,p3509-0000+p3636-0001 nvidia,tegra186",  # TX2 NX
        "nvidia,quill nvidia,p2597-0000+p3489-0888 nvidia,tegra186",  # TX2 4GB
        "nvidia,p3768-0000+p3767-0004 nvidia,tegra234",  # Orin Nano 4GB
        "nvidia,p2597-0000+p3310-1000 nvidia,tegra234",  # a module on another chip
        "nvidia,p2597-0000+p3310-1000",
        "nvidia,p3767-0000 nvidia,p3701-0005 nvidia,tegra234",  # two boards at once
        "raspberrypi,4-model-b brcm,bcm2711",
        "",
    ],
)
def test_what_is_none_of_them_is_a_host_alone(tree, compatible):
    assert targets_of(device_tree(tree, compatible.split(), model="quill\0")) == ["host"]


def test_an_old_release_names_the_module_elsewhere_or_only_its_code_name(tree):
    old = ("nvidia,quill", "nvidia,tegra186")
    source = "/dvs/git/quill/kernel-dts/tegra186-quill-p3310-1000-c03-00-base.dts\0"
    assert targets_of(device_tree(tree, old, source=source)) == ["host", "tx2"]
    source = source.replace("p3310-1000", "p3489-0888")
    assert targets_of(device_tree(tree, old, model="quill\0", source=source)) == ["host"]
    (tree.root / "proc/device-tree/nvidia,dtsfilename").unlink()
    assert targets_of(str(tree.root)) == ["host", "tx2"]


def test_every_target_has_a_board_here():
    assert {name for name, _, _ in BOARDS} == set(targets._MODULES)


class TestSimulation:
    def test_this_machine_is_real(self):
        assert simulation("/", {}) is None
        assert simulation("/", {VARIABLE: ""}) is None

    def test_the_environment_says_otherwise(self):
        assert simulation("/", {VARIABLE: "virtual\nTX2"}) == f"${VARIABLE} says so: virtual TX2"

    @pytest.mark.parametrize(("text", "said"), [("virtual TX2\n", "virtual TX2"), ("", "nothing more")])
    def test_a_file_in_the_tree_says_otherwise(self, tree, text, said):
        path = tree.root / FILE
        path.parent.mkdir()
        path.write_text(text)
        assert simulation(str(tree.root), {}) == f"{path} says so: {said}"

    def test_a_tree_of_files_is_no_device(self, tree):
        assert str(tree.root) in simulation(str(tree.root), {})
        (tree.root / "root").symlink_to("/")
        assert simulation(str(tree.root / "root"), {}) is None
