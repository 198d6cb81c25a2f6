"""Files of an export get to their places all or none, and never in the place of somebody else's."""

import fcntl
import os
import threading
from pathlib import Path

import pytest
from edgesynth_exporters import places, publish
from edgesynth_exporters.errors import EdgesynthError, ExportError
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.places import locked, move_together

from tests.exporters.exports import IMAGES, left, order, subject
from tests.networks import Dense

NAMES = ("m.onnx", "m.reference.npz", "m.calibration", "m.export.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_no_export_made_is_not_replaced(tmp_path, name, kind):
    place = tmp_path / name
    if kind == "file":
        place.write_text("{}")
    elif kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        os.mkfifo(place)
    mode = place.lstat().st_mode
    with pytest.raises(EdgesynthError, match=r"that is a folder|is there and .*; give another --out, or move") as error:
        export_network(subject(calibration=IMAGES[:8]), order(tmp_path, "xavier-nx", "int8"))
    assert error.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert place.lstat().st_mode == mode


def test_a_file_that_the_export_does_not_make_is_in_nobodys_way(tmp_path):
    (tmp_path / "m.calibration").write_text("mine")
    (tmp_path / "m.json").write_text("mine")
    export_network(subject(), order(tmp_path))
    assert (tmp_path / "m.calibration").read_text() == (tmp_path / "m.json").read_text() == "mine"


def test_the_model_beside_a_plan_is_not_replaced_either(tmp_path):
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(EdgesynthError, match=r"model\.onnx is there"):
        export_network(subject(), order(tmp_path, "host", format_="tensorrt", name="model.plan"))


def test_an_export_replaces_an_earlier_one(tmp_path):
    export_network(subject(), order(tmp_path))
    before = left(tmp_path)
    export_network(subject(Dense), order(tmp_path))
    after = left(tmp_path)
    assert after.keys() == before.keys()
    assert after["m.onnx"] != before["m.onnx"]


def test_a_manifest_cannot_name_what_is_to_be_deleted(tmp_path):
    record = export_network(subject(), order(tmp_path))
    (tmp_path / "precious").write_text("mine")
    more = {"calibration": record.files["onnx"].model_copy(update={"path": "precious"})}
    forged = record.model_copy(update={"files": record.files | more})
    (tmp_path / "m.export.json").write_text(forged.model_dump_json())
    export_network(subject(), order(tmp_path))
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("fails_at", range(4))
def test_a_failure_in_between_leaves_what_was_there(tmp_path, monkeypatch, older, fails_at):
    given = subject(calibration=IMAGES[:8])
    if older:
        export_network(given, order(tmp_path, "xavier-nx", "int8"))
    before = left(tmp_path)
    real, calls = Path.rename, []

    def rename(self, target):
        # Into their places, not aside and not back.
        if self.parent.name.startswith(".edgesynth-") and "older" not in self.parts:
            calls.append(self)
            if len(calls) > fails_at:
                raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ExportError, match=r"cannot write .*m\.onnx: No space left on device"):
        export_network(given, order(tmp_path, "xavier-nx", "int8", max_drop=1.0))
    assert len(calls) == fails_at + 1
    assert left(tmp_path) == before


def test_the_manifest_comes_last_and_obsolete_files_go(tmp_path):
    for name in ("new", "record", "a", "old", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "aside").mkdir()
    moves = {tmp_path / "new": tmp_path / "a", tmp_path / "record": tmp_path / "b"}
    move_together(moves, [tmp_path / "old"], tmp_path / "aside")
    assert left(tmp_path) == {"a": b"new", "b": b"record", "aside/a": b"a", "aside/old": b"old", "aside/b": b"b"}


def test_two_exports_to_one_name_do_not_mix(tmp_path, monkeypatch):
    """The second comes to its end while the first is moving its files."""
    real = publish.move_together
    inside, second = threading.Event(), []

    def slow(moves, obsolete, aside):
        if not second:
            second.append(threading.Thread(target=run_second))
            second[0].start()
            assert not inside.wait(0.3)
        else:
            inside.set()
        real(moves, obsolete, aside)

    def run_second():
        export_network(subject(Dense), order(tmp_path))

    # The other one starts at the lock, so that this is about that alone.
    monkeypatch.setattr(publish, "move_together", slow)
    export_network(subject(), order(tmp_path))
    second[0].join()
    assert inside.is_set()
    assert set(left(tmp_path)) == {"m.onnx", "m.reference.npz", "m.export.json"}


def test_a_lock_that_is_never_given_back_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "PATIENCE_S", 0.0)
    with locked(tmp_path), pytest.raises(ExportError, match="is locked by another program"), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["x" * 300 + ".onnx", "x" * 245 + ".onnx", "x" * 300 + "/m.onnx"])
def test_a_name_that_is_too_long_is_said_at_once(tmp_path, name):
    with pytest.raises(EdgesynthError, match=r"the name is too long|there is no folder") as error:
        order(tmp_path, name=name)
    assert error.value.exit_code == 2


def test_a_folder_that_may_not_be_written_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(EdgesynthError, match="may not be written; name another folder"):
        order(tmp_path)
