"""Targets: every fact of a built-in one has a source or a reason; a user's own file is taken or refused in a line."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from edgesynth_exporters import target_files
from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.rules import table_for
from edgesynth_exporters.suggest import nearest
from edgesynth_exporters.target_files import greatest_opset, read_targets
from edgesynth_exporters.targets import FACTS, TARGETS, all_targets, find_target, model_of, total_power_rule
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["tx1", "tx2", "nano", "xavier-nx", "agx-xavier", "orin-nano", "orin-nx", "agx-orin", "thor", "host", "tx2-sim"]
NAMES.append("nano-sim")
BOARDS = NAMES[:-3]
JETPACKS = tomllib.loads(Path(target_files.__file__).with_name("jetpacks.toml").read_text())["jetpack"]
# Of onnx-tensorrt's docs/operators.md, as rules/ cites it: written down twice, so that a slip shows.
OPSETS = {"8.2": 13, "8.5": 17, "8.6": 17, "10.3": 20, "10.16": 24}

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=NAMES)


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    """Where the user's file is looked for; there is none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGESYNTH_TARGETS", raising=False)
    (tmp_path / "edgesynth").mkdir()
    return tmp_path / "edgesynth" / "targets.toml"


def test_targets_are_found_by_their_names():
    assert list(TARGETS) == NAMES
    assert all(find_target(name) is TARGETS[name] for name in NAMES)


@every_target
def test_every_fact_has_a_value_and_a_source_or_a_reason(target):
    for fact in FACTS:
        empty = getattr(target, fact) in (None, ())
        assert (fact in target.reasons, fact in target.sources) == (empty, not empty), fact
    assert all(text.strip() for text in (*target.sources.values(), *target.reasons.values(), target.description))
    assert target.defined_in is None


@pytest.mark.parametrize("target", [TARGETS[name] for name in BOARDS], ids=BOARDS)
def test_a_board_s_facts_can_be_looked_up(target):
    published = {"memory_mib", "rails"}  # some tegrastats lines were printed in tests whose address is not recorded
    assert all("https://" in text for fact, text in target.sources.items() if fact not in published)
    assert (target.kind, target.source) == ("board", "measured")


@every_target
def test_the_total_is_of_rails_that_are_printed_and_counts_none_twice(target):
    for rails in target.total_power:
        assert set(rails) <= set(target.rails)
        assert len(set(rails)) == len(rails)
        # An input rail has all others within it.
        inputs = {rail for rail in rails if rail.endswith("_IN") or rail == "VIN"}
        assert not inputs or len(rails) == 1


@every_target
def test_the_opset_is_that_of_its_tensorrt(target):
    if target.tensorrt is None:
        assert target.kind == "host"
        return
    series = ".".join(target.tensorrt.split(".")[:2])
    assert target.opset == OPSETS[series]
    assert greatest_opset(series) == (target.opset, target.sources["opset"])


@pytest.mark.parametrize(
    ("tensorrt", "opset"),
    [*OPSETS.items(), ("8.4.1", 13), ("10.0.1", 17), ("10.14.99", 20), ("10.15", 20), ("11.1", 25), ("8.0.1", None)],
)
def test_the_opset_of_a_version_is_that_of_its_rules(tensorrt, opset):
    found = greatest_opset(tensorrt)
    assert (found and found[0]) == opset
    if found:
        assert found[0] == table_for(tensorrt)[0].opset[1]


def test_a_version_without_rules_of_its_own_says_whose_opset_it_has(own_file):
    own_file.write_text('[u84]\nbased_on = "xavier-nx"\ntensorrt = "8.4.1"\n')
    assert find_target("u84").opset == 13
    assert find_target("u84").sources["opset"].startswith("rules for 8.4.1 are those of TensorRT 8.2: https://")


def test_old_boards_have_no_int8_and_the_later_ones_have():
    without = [name for name in BOARDS if "int8" not in TARGETS[name].precisions]
    assert without == ["tx1", "tx2", "nano"]
    assert all({"fp32", "fp16"} <= set(TARGETS[name].precisions) for name in BOARDS)


def test_a_tx2_is_as_it_is_known():
    tx2 = TARGETS["tx2"]
    assert (tx2.jetpack, tx2.l4t, tx2.python, tx2.cuda) == ("4.6.6", "32.7.6", "3.6.9", "10.2")
    assert (tx2.tensorrt, tx2.opset, tx2.precisions, tx2.compute_capability) == ("8.2.1", 13, ("fp32", "fp16"), "6.2")
    assert total_power_rule(tx2) == "VDD_IN"
    clocks = [(mode.name, mode.cpu_mhz, mode.gpu_mhz, mode.memory_mhz) for mode in tx2.power_modes]
    assert clocks == [
        ("MAXN", 2035, 1300.5, 1866),
        ("MAXQ", 1200, 850, 1331.2),
        ("MAXP_CORE_ALL", 1400, 1120, 1600),
        ("MAXP_CORE_ARM", 2000, 1120, 1600),
        ("MAXP_CORE_DENVER", 2000, 1120, 1600),
    ]


@every_target
def test_power_modes_are_numbered_and_one_is_the_default(target):
    assert [mode.id for mode in target.power_modes] == list(range(len(target.power_modes)))
    assert sum(mode.default for mode in target.power_modes) == bool(target.power_modes)


def test_rules_of_the_total_in_words():
    rules = {name: total_power_rule(TARGETS[name]) for name in NAMES}
    assert rules["nano"] == "POM_5V_IN"
    assert rules["agx-xavier"] == "GPU + CPU + SOC + CV + VDDRQ + SYS5V"
    assert rules["agx-orin"] == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"  # never VDDQ_VDD2_1V8AO, which is within
    assert rules["thor"] == "VIN, else VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0"
    assert rules["host"] == "none"


def test_the_model_has_the_facts_of_its_board_by_reference():
    tx2, model = TARGETS["tx2"], TARGETS["tx2-sim"]
    assert (model.kind, model.source, model.based_on) == ("model", "estimated", "tx2")
    assert all(getattr(model, fact) is getattr(tx2, fact) for fact in FACTS)
    assert (model.sources, model.reasons) == (tx2.sources, tx2.reasons)
    assert [model_of(TARGETS[name]) for name in ("tx2", "nano", "orin-nx", "host")] == [
        model,
        TARGETS["nano-sim"],
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("name", "meant"), [("", ""), ("TX2", "tx2"), ("host ", "host"), ("xaviernx", "xavier-nx"), ("coral", "")]
)
def test_an_unknown_target_is_answered_with_the_known_ones_and_the_nearest(name, meant):
    hint = f"; did you mean '{meant}'?" if meant else ""
    with pytest.raises(EdgesynthError) as error:
        find_target(name)
    assert str(error.value) == f"unknown target '{name}': known are {', '.join(NAMES)}{hint}"
    assert error.value.exit_code == 2


def test_the_nearest_of_none_is_none():
    assert nearest("tx2", []) == ""


def test_a_target_of_the_user_s_takes_the_rest_over(own_file):
    own_file.write_text('[drone]\nbased_on = "tx2"\ndescription = "TX2 in the drone"\nmemory_mib = 4096\n')
    drone, tx2 = find_target("drone"), TARGETS["tx2"]
    assert (drone.name, drone.description, drone.memory_mib, drone.kind) == ("drone", "TX2 in the drone", 4096, "board")
    assert (drone.based_on, drone.defined_in) == ("tx2", str(own_file))
    assert drone.sources["memory_mib"] == f"stated in {own_file}"
    assert all(getattr(drone, fact) is getattr(tx2, fact) for fact in FACTS if fact != "memory_mib")
    assert list(all_targets()) == [*NAMES, "drone"]
    assert model_of(drone) is TARGETS["tx2-sim"]


@pytest.mark.parametrize("jetpack", JETPACKS)
@pytest.mark.parametrize("board", BOARDS)
def test_another_jetpack_brings_its_tensorrt_and_opset(own_file, board, jetpack):
    own_file.write_text(f'[mine]\nbased_on = "{board}"\njetpack = "{jetpack}"\n')
    mine = find_target("mine")
    assert {fact: getattr(mine, fact) for fact in ("l4t", "python", "cuda", "tensorrt")} == {
        fact: JETPACKS[jetpack][fact] for fact in ("l4t", "python", "cuda", "tensorrt")
    }
    assert mine.opset == greatest_opset(mine.tensorrt)[0]
    assert mine.sources["jetpack"] == f"stated in {own_file}"
    assert mine.sources["tensorrt"] == JETPACKS[jetpack]["source"]


def test_a_target_may_stand_alone_and_what_it_leaves_out_has_a_reason(own_file):
    own_file.write_text(
        '[mine]\ndescription = "a board"\ntensorrt = "8.5.2"\nprecisions = ["fp16", "fp32", "fp16"]\nrails = []\n'
        '[mine.sources]\ntensorrt = "dpkg"\n[mine.reasons]\ncuda = "not looked"\nmodule = "home-made"\n'
    )
    mine = find_target("mine")
    assert (mine.tensorrt, mine.opset, mine.precisions, mine.based_on) == ("8.5.2", 17, ("fp16", "fp32"), None)
    assert mine.sources["tensorrt"] == "dpkg"
    assert (mine.reasons["cuda"], mine.reasons["module"]) == ("not looked", "home-made")
    assert mine.reasons["memory_mib"] == f"not stated in {own_file}"
    assert mine.reasons["rails"] == f"empty in {own_file}"
    assert all((fact in mine.reasons) != (fact in mine.sources) for fact in FACTS)


def test_a_lesser_opset_may_be_stated(own_file):
    own_file.write_text('[mine]\nbased_on = "orin-nx"\nopset = 17\n')
    assert find_target("mine").opset == 17


def test_a_second_file_may_be_named(own_file, tmp_path, monkeypatch):
    other = tmp_path / "lab.toml"
    own_file.write_text('[mine]\nbased_on = "tx2"\n')
    other.write_text('[lab]\nbased_on = "mine"\n')
    monkeypatch.setenv("EDGESYNTH_TARGETS", str(other))
    assert (find_target("mine").defined_in, find_target("lab").defined_in) == (str(own_file), str(other))
    assert find_target("lab").tensorrt == "8.2.1"
    other.write_text('[mine]\nbased_on = "tx1"\n')
    with pytest.raises(EdgesynthError, match=rf"{other}: \[mine\]: this name is taken by {own_file}; choose another"):
        find_target("mine")


def test_a_file_that_is_named_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESYNTH_TARGETS", str(tmp_path / "absent.toml"))
    with pytest.raises(EdgesynthError, match=r"absent\.toml: there is no such file"):
        all_targets()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".", "that is a folder; name a file of targets"),
        ("pipe", "that is a pipe or device; name a file of targets"),
        ("a\udcff\0b", "cannot be read"),
        ("~nosuchuser/targets.toml", "$EDGESYNTH_TARGETS names a home that is not there"),
    ],
)
def test_what_is_no_file_of_targets_is_called_what_it_is(tmp_path, monkeypatch, name, says):
    os.mkfifo(tmp_path / "pipe")
    named = name if name.startswith("~") else f"{tmp_path}/{name}"
    if "\0" in named:  # the environment cannot hold it
        with pytest.raises(EdgesynthError, match=says):
            read_targets(Path(named), TARGETS)
        return
    monkeypatch.setenv("EDGESYNTH_TARGETS", named)
    with pytest.raises(EdgesynthError) as error:
        all_targets()
    assert says in str(error.value)


def test_many_targets_are_looked_up_and_not_copied(own_file):
    """None of the known ones is copied or listed for each that is read."""
    own_file.write_text("\n".join(f'[b{number}]\nbased_on = "tx2"' for number in range(300)))

    class Counted(dict):
        copies = 0

        def __iter__(self):  # without one of its own, copying it would not ask for its keys
            return super().__iter__()

        def keys(self):
            Counted.copies += 1
            return super().keys()

        def values(self):
            Counted.copies += 1
            return super().values()

    assert len(read_targets(own_file, Counted(TARGETS))) == 300
    assert Counted.copies <= 2


def test_a_relative_xdg_folder_is_ignored(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".config" / "edgesynth").mkdir(parents=True)
    (home / ".config" / "edgesynth" / "targets.toml").write_text('[mine]\nbased_on = "tx2"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert find_target("mine").based_on == "tx2"


def test_a_broken_file_does_not_stand_in_the_way_of_a_known_target(own_file):
    own_file.write_text("broken [")
    assert find_target("tx2").name == "tx2"


MODES, MODE = '[mine]\nbased_on = "tx2"\npower_modes = ', 'name = "A", cpus = "1"'
BEST = f"{MODE}, default = true"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("broken [", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        ("a = " + "9" * 5000, "not TOML"),
        ("\xff", "not TOML"),
        ("opset = 13", "'opset' is a key outside of a target"),
        ('[mine]\nbased_on = "tx2"\nmemroy_mib = 5', "[mine]: unknown key 'memroy_mib'; did you mean 'memory_mib'?"),
        ('[mine]\nbased_on = "tx2"\nmemory_mib = "8 GB"', "[mine]: memory_mib: Input should be a valid integer"),
        ('[mine]\nbased_on = "tx2"\nmemory_mib = -1', "[mine]: memory_mib: "),
        ('[mine]\nbased_on = "tx2"\nprecisions = ["fp8"]', "[mine]: precisions.0: Input should be 'fp32', 'fp16' or"),
        ('[mine]\nbased_on = "tx2"\nprecisions = []', "[mine]: precisions: "),
        ('[mine]\nbased_on = "tx2"\ntensorrt = "new"', "[mine]: tensorrt: "),
        ('[mine]\nbased_on = "tx2"\nkind = "model"', "[mine]: kind 'model' cannot be defined in a file"),
        ('[mine]\nbased_on = "tx3"', "[mine]: based_on: 'tx3' is none of tx1, tx2, nano,"),
        ('[mine]\nbased_on = "tx2-sim"', "[mine]: based_on: 'tx2-sim' is none of"),
        ('[mine]\nbased_on = "host"', "[mine]: based_on: 'host' is none of"),
        ('[mine]\nbased_on = "tx2"\nopset = 17', "[mine]: opset: TensorRT 8.2.1 takes 13 at most"),
        ('[mine]\nbased_on = "tx2"\ntensorrt = "7.1.3"', "[mine]: opset is missing"),
        ('[mine]\nbased_on = "tx2"\njetpack = "5.0"', "not in '5.0'; state l4t, python, cuda, tensorrt too"),
        ('[mine]\nbased_on = "nano"\nrails = []', "[mine]: total_power: 'POM_5V_IN' is none of the rails"),
        ('[mine]\nbased_on = "tx2"\ntotal_power = [["VDD_in"]]', "is none of the rails; did you mean 'VDD_IN'?"),
        ('[mine]\nbased_on = "tx2"\ntotal_power = [["VDD_IN", "VDD_IN"]]', "counts a rail twice"),
        ('[mine]\nbased_on = "tx2"\ntotal_power = ["VDD_IN"]', "[mine]: total_power.0: "),
        ('[mine]\nbased_on = "tx2"\npower_modes = [{ id = 0, name = "A", cpus = "1", mhz = 2 }]', "unknown key"),
        ('[mine]\nbased_on = "tx2"\nsources = { opsets = "me" }', "[mine]: sources.opsets is about no fact; did you"),
        ('[mine]\ndescription = "a board"\nopset = 13', "[mine]: precisions is missing"),
        ('[mine]\ndescription = "a board"\nprecisions = ["fp32"]', "[mine]: opset is missing"),
        ('[mine]\nopset = 13\nprecisions = ["fp32"]', "[mine]: description is missing"),
        (
            '[mine]\nbased_on = "tx2"\nprecisions = ["fp32", "int8"]',
            "[mine]: precisions: int8: a GPU of compute",
        ),
        ('[mine]\nbased_on = "orin-nx"\ncompute_capability = "5.3"', "capability 5.3 has no INT8 arithmetic (https://"),
        ('[mine]\nbased_on = "tx2"\nmemory_mib = 99999999999999', "[mine]: memory_mib: "),
        (f"{MODES}[{{ id = 0, {MODE} }}, {{ id = 0, {MODE} }}]", "[mine]: power_modes: two have the id 0"),
        (f"{MODES}[{{ id = 0, {BEST} }}, {{ id = 1, {BEST} }}]", "[mine]: power_modes: 2 are the default, and one can"),
        ('[mine]\nbased_on = "tx2"\nsources = { opset = "me" }', "[mine]: sources.opset: opset itself is not stated"),
        ('[tx2]\nbased_on = "tx1"', "[tx2]: this name is taken by edgesynth itself; choose another"),
        ('["a b"]\nbased_on = "tx1"', "'a b' is no name: use letters, digits"),
        ('["x\\n\\u001b[1m"]\nbased_on = "tx1"', "is no name"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(own_file, text, says):
    own_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgesynthError) as error:
        find_target("mine")
    message = str(error.value)
    assert message.startswith(f"{own_file}: ")
    assert says in message
    assert error.value.exit_code == 2
    assert message.isprintable()


def test_a_file_of_any_size_is_no_file_of_targets(own_file):
    own_file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(EdgesynthError, match="over 1 MiB"):
        all_targets()


@given(st.binary(max_size=200))
def test_no_content_is_a_traceback(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        assert isinstance(read_targets(path, TARGETS), dict)
    except EdgesynthError as error:
        assert str(error).startswith(f"{path}: ")


VALUES = st.recursive(
    st.booleans()
    | st.integers(-3, 20)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "tx2", "8.2.1", "6.2.3", "fp16"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from(["kind", "based_on", "description", "opset", "tensorrt", *FACTS, "x"])


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_keys_and_values_make_a_whole_target_or_one_error(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "keys.toml"
    lines = (
        f"{key} = {json.dumps(value)}" for key, value in table.items() if value not in (float("inf"), -float("inf"))
    )
    path.write_text("[mine]\n" + "\n".join(lines))
    try:
        mine = read_targets(path, TARGETS)["mine"]
    except EdgesynthError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert all((fact in mine.reasons) != (fact in mine.sources) for fact in FACTS)
    assert mine.opset and mine.precisions
