"""`edgesynth targets`, and what the other commands say to a target that is a board."""

import json

import pytest
from edgesynth_exporters.targets import FACTS, TARGETS

from edgesynth.cli.main import run
from edgesynth.devices import HostAgent


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGESYNTH_TARGETS", raising=False)
    (tmp_path / "edgesynth").mkdir()
    return tmp_path / "edgesynth" / "targets.toml"


@pytest.fixture
def no_agent(monkeypatch):
    def refuse(_):
        raise AssertionError("an agent was started")

    monkeypatch.setattr(HostAgent, "__enter__", refuse)


def one_line(capsys):
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_ls_has_a_line_for_each(capsys, own_file):
    own_file.write_text('[drone]\nbased_on = "tx2"\ndescription = "[bold]TX2[/bold] in the drone"\n')
    assert run(["targets", "ls"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "what", "JetPack", "TensorRT", "opset", "precisions", "total", "power"]
    assert [line.split()[0] for line in lines] == [*TARGETS, "drone"]
    assert lines[1].split() == ["tx2", "Jetson", "TX2", "4.6.6", "8.2.1", "13", "fp32", "fp16", "VDD_IN"]
    assert "[bold]TX2[/bold] in the drone" in lines[-1]


def test_ls_as_json_is_one_document(capsys):
    assert run(["targets", "ls", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgesynth.targets/1"
    by_name = {each["name"]: each for each in document["targets"]}
    assert list(by_name) == list(TARGETS)
    assert by_name["tx2-sim"] == {
        "name": "tx2-sim",
        "description": "analytical model of a Jetson TX2 under TensorRT 8.2",
        "kind": "model",
        "source": "estimated",
        "based_on": "tx2",
        "jetpack": "4.6.6",
        "tensorrt": "8.2.1",
        "opset": 13,
        "precisions": ["fp32", "fp16"],
        "total_power": [["VDD_IN"]],
        "defined_in": None,
    }


def test_show_tells_every_fact_and_the_power_modes(capsys):
    assert run(["targets", "show", "tx2"]) == 0
    out = capsys.readouterr().out
    for text in ("Jetson TX2 (P3310-1000)", "13 at most", "fp32, fp16", "7,852 MiB", "cuda-legacy-gpus"):
        assert text in out
    assert ["0", "MAXN", "2", "Denver", "2", "+", "4", "A57", "2035", "1300.5", "1866"] in [
        line.split() for line in out.splitlines()
    ]
    assert "MAXP_CORE_ARM (default)" in out


def test_show_tells_why_something_is_unknown(capsys):
    assert run(["targets", "show", "thor"]) == 0
    assert "no source with their clocks was found" in " ".join(capsys.readouterr().out.split())
    assert run(["targets", "show", "orin-nx"]) == 0
    assert "not capped" in capsys.readouterr().out


@pytest.mark.parametrize("name", TARGETS)
def test_show_as_json_is_the_whole_target(name, capsys):
    assert run(["targets", "show", name, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["name"], document["opset"]) == (
        "edgesynth.target/1",
        name,
        TARGETS[name].opset,
    )
    assert all(fact in document and fact in document["sources"] | document["reasons"] for fact in FACTS)
    assert run(["targets", "show", name]) == 0


def test_show_of_a_user_s_target_says_where_it_is_defined(capsys, own_file):
    own_file.write_text('[drone]\nbased_on = "tx2"\nmemory_mib = 4096\n')
    assert run(["targets", "show", "drone"]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "basedontx2" in out
    assert f"statedin{own_file}" in out


@pytest.mark.parametrize("command", [["ls"], ["show", "drone"]])
def test_nothing_in_a_user_s_file_steers_the_terminal(command, capsys, own_file):
    own_file.write_text(
        '[drone]\nbased_on = "tx2"\ndescription = "a\\u001b[31mRED"\nmodule = "\\u009b2J"\nrails = ["\\u001b[2J"]\n'
        'total_power = [["\\u001b[2J"]]\npower_modes = [{ id = 0, name = "\\u001b[1m", cpus = "\\u202e1" }]\n'
        'jetpack = "\\u001bj"\nl4t = "1.1"\npython = "3.6"\ncuda = "10.2"\ntensorrt = "8.2.1"\n'
        '[drone.sources]\nmodule = "\\u001b]0;title\\u0007"\n[drone.reasons]\nmemory_mib = "\\u001b[2J"\n'
    )
    assert run(["targets", *command]) == 0
    out = capsys.readouterr().out
    assert "a?[31mRED" in out
    assert all(letter.isprintable() or letter == "\n" for letter in out)


def test_an_unknown_name_is_2_and_suggests_the_nearest(capsys):
    assert run(["targets", "show", "tx22"]) == 2
    assert one_line(capsys).endswith("did you mean 'tx2'?\n")


def test_a_mistake_in_the_user_s_file_is_2_and_one_line(capsys, own_file):
    own_file.write_text('[drone]\nbased_on = "tx2"\nmemroy_mib = 4096\n')
    assert run(["targets", "ls"]) == 2
    assert one_line(capsys) == f"edgesynth: {own_file}: [drone]: unknown key 'memroy_mib'; did you mean 'memory_mib'?\n"


SYNTH = ["synth", "--data", "digits", "--prototype", "resnet8"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "any.onnx"],
        [*SYNTH, "--require", "macs<=prototype/4"],
    ],
)
@pytest.mark.parametrize(
    ("target", "instead"),
    [("tx2", "; or use tx2-sim, the model of a tx2"), ("orin-nano", "write it like orin-nano@ssh://user@board")],
)
def test_a_board_without_an_address(arguments, target, instead, no_agent, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--target", target]) == 2
    said = one_line(capsys)
    assert f"{target} is a board, say where it is" in said
    assert instead in said
    assert not (tmp_path / "runs").exists()


def test_nor_can_a_requirement_name_one(no_agent, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*SYNTH, "--require", "latency_ms@tx2<=2"]) == 2
    assert "use tx2-sim" in one_line(capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("target", ["tx2", "orin-nano"])
def test_an_estimate_for_a_board_points_to_the_model(target, capsys):
    assert run(["estimate", "any.onnx", "--target", target]) == 2
    assert "estimate for tx2-sim" in one_line(capsys)
