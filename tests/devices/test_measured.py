"""The database of what devices have measured."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgesynth.devices import FakeOracle
from edgesynth.devices.measured import FILE, MeasurementKey, Measurements, default_database, key_facts
from edgesynth.errors import StorageError
from edgesynth.records import Measurement

KEY = MeasurementKey(
    graph="0" * 64,
    target="tx2",
    device="cam NVIDIA Jetson TX2 aarch64",
    source="simulated",
    engine="tensorrt",
    precision="fp16",
    batch=1,
    power_mode=None,
    agent="0.1.0",
    runtime="tensorrt 8.2.1",
    schedule="quick",
)


def measurement(folder: Path, energy_mj: float = 10.0, target: str = "tx2") -> Measurement:
    model = folder / "any.onnx"
    model.touch()
    with FakeOracle(target, lambda _: (2.0, energy_mj)) as oracle:
        return oracle.measure(model)


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    first, again = measurement(tmp_path, 10.0), measurement(tmp_path, 11.0)
    Measurements(tmp_path / "new" / FILE).add(KEY, first)
    database = Measurements(tmp_path / "new" / FILE)
    assert database.latest(KEY) == first
    database.add(KEY, again)
    assert database.latest(KEY) == again
    assert database.all("tx2") == [(KEY, first), (KEY, again)]
    assert database.all("nano") == []


def test_anew_means_not_what_was_there_before(tmp_path: Path) -> None:
    old, new = measurement(tmp_path, 10.0), measurement(tmp_path, 11.0)
    Measurements(tmp_path / FILE).add(KEY, old)
    database = Measurements(tmp_path / FILE, anew=True)
    assert database.latest(KEY) is None
    database.add(KEY, new)
    assert database.latest(KEY) == new
    assert Measurements(tmp_path / FILE).latest(KEY) == new


@pytest.mark.parametrize(
    "other",
    [
        {"graph": "1" * 64},
        {"device": "another board"},
        {"precision": "fp32"},
        {"batch": 2},
        {"power_mode": '{"id": 0}'},
        {"agent": "0.2.0"},
        {"runtime": "tensorrt 8.2.2"},
        {"schedule": "reported"},
        {"source": "measured"},
    ],
)
def test_anything_that_a_figure_depends_on_is_in_the_key(tmp_path: Path, other: dict[str, object]) -> None:
    database = Measurements(tmp_path / FILE)
    database.add(KEY, measurement(tmp_path))
    assert database.latest(KEY.model_copy(update=other)) is None


def test_an_estimate_is_refused(tmp_path: Path) -> None:
    estimated = measurement(tmp_path).model_copy(update={"source": "estimated"})
    with pytest.raises(ValueError, match="an estimate is no measurement"):
        Measurements(tmp_path / FILE).add(KEY, estimated)


def test_a_figure_goes_under_its_own_source_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a simulated figure of tx2"):
        Measurements(tmp_path / FILE).add(KEY.model_copy(update={"source": "measured"}), measurement(tmp_path))


def test_many_may_write_at_the_same_time(tmp_path: Path) -> None:
    record = measurement(tmp_path)

    def write(index: int) -> None:
        Measurements(tmp_path / FILE).add(KEY.model_copy(update={"batch": index + 1}), record)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    found = {key.batch for key, _ in Measurements(tmp_path / FILE).all("tx2")}
    assert found == set(range(1, 41))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("no database " * 100)
    with pytest.raises(StorageError, match="move it away"):
        Measurements(path)
    assert path.read_text() == "no database " * 100
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = foreign.read_bytes()
    with pytest.raises(StorageError, match="is no database of edgesynth's measurements"):
        Measurements(foreign)
    assert foreign.read_bytes() == before
    Measurements(tmp_path / "later.sqlite")
    with sqlite3.connect(tmp_path / "later.sqlite") as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(StorageError, match=r"another version of edgesynth \(format 9, this one writes 1\)"):
        Measurements(tmp_path / "later.sqlite")


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot make"):
        Measurements(tmp_path / "file" / FILE)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    database = Measurements(tmp_path / FILE)
    database.add(KEY, measurement(tmp_path))
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE measurements SET record = '{}'")
    connection.close()
    with pytest.raises(StorageError, match=r"holds what is no Measurement, target: .*move the file away"):
        database.latest(KEY)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE measurements SET facts = 'nonsense'")
    connection.close()
    with pytest.raises(StorageError, match="holds what is no MeasurementKey: Invalid JSON"):
        database.all("tx2")


def test_what_a_device_tells_of_itself() -> None:
    facts = {
        "hostname": "cam",
        "model": None,
        "machine": "aarch64",
        "agent": "0.1.0",
        "power_mode": {"name": "MAXN", "id": 0},
        "runtimes": {
            "tensorrt": {"version": "8.2.1", "reason": None},
            "numpy": {"version": None, "reason": "no module"},
        },
    }
    assert key_facts("tx2@ssh://cam", facts) == {
        "device": "tx2@ssh://cam cam ? aarch64",
        "power_mode": '{"id": 0, "name": "MAXN"}',
        "agent": "0.1.0",
        "runtime": "numpy None, tensorrt 8.2.1",
    }
    assert key_facts("", {**facts, "power_mode": None})["power_mode"] is None


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_database() == tmp_path / "edgesynth" / FILE
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_database() == tmp_path / ".local" / "share" / "edgesynth" / FILE
