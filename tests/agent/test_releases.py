"""Releases on the disk of a device: what holds whenever the power fails, and what is refused."""

import contextlib
import errno
import os
from pathlib import Path

import pytest
from edgesynth_agent.errors import NotFoundError, RefusedError, RequestError, StorageError
from edgesynth_agent.releases import disk, store
from edgesynth_agent.releases.layout import checked_name, make_layout
from edgesynth_agent.releases.manifest import problems_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.agent import release_rig
from tests.agent.release_rig import PowerCut, cut_before, deploy, id_of, stage, whole


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def layout(tmp_path):
    return make_layout({}, str(tmp_path))


class TestPowerCuts:
    @pytest.mark.parametrize("check", release_rig.CHECKS, ids=lambda check: check.__name__)
    def test_at_every_change(self, check, tmp_path):
        check(str(tmp_path))

    def test_the_rig_would_see_a_release_that_is_not_whole(self, layout):
        deploy(layout, "cam", b"old")
        (Path(layout.current("cam")) / "model.onnx").write_bytes(b"something else")
        with pytest.raises(AssertionError, match="SHA-256"):
            whole(layout, "cam")


def _store_machine(folder):
    class Machine(RuleBasedStateMachine):
        """Deploys, rollbacks and recoveries in any order, each cut off anywhere or not at all."""

        number = 0

        def __init__(self):
            super().__init__()
            Machine.number += 1
            self.layout = make_layout({}, str(folder / str(Machine.number)))
            self.good = None

        @rule(content=st.sampled_from([b"a", b"b", b"c"]), keep=st.integers(1, 2), cut=st.integers(0, 120))
        def deploy(self, content, keep, cut):
            store.recover(self.layout)
            with cut_before(cut):
                try:
                    self.good = deploy(self.layout, "cam", content, keep)
                except PowerCut:
                    if store.history(self.layout, "cam")[-1:] == [id_of(content)]:
                        self.good = store.current_id(self.layout, "cam")

        @rule(cut=st.integers(0, 20))
        def roll_back(self, cut):
            store.recover(self.layout)
            with cut_before(cut), contextlib.suppress(PowerCut, NotFoundError):
                store.rollback(self.layout, "cam")
            self.good = store.current_id(self.layout, "cam")

        @rule()
        def recover(self):
            store.recover(self.layout)
            assert store.current_id(self.layout, "cam") == self.good

        @invariant()
        def current_is_whole(self):
            whole(self.layout, "cam")

    return Machine


def test_any_order_of_deploys_and_rollbacks(tmp_path):
    few = settings(max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(_store_machine(tmp_path), settings=few)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "free space"), (errno.EROFS, "writable"), (errno.EACCES, "look at that place")]
)
def test_an_error_of_the_disk_says_what_helps(number, words):
    with pytest.raises(StorageError, match=words), disk.told("/var/lib"):
        raise OSError(number, os.strerror(number), "/var/lib/edgesynth")


class TestReleases:
    def test_deploy_rollback_deploy(self, layout):
        for content in (b"1", b"2", b"3"):
            deploy(layout, "cam", content, keep=3)
        assert store.rollback(layout, "cam") == id_of(b"2")
        assert store.rollback(layout, "cam") == id_of(b"1")
        with pytest.raises(NotFoundError, match="no earlier release"):
            store.rollback(layout, "cam")
        deploy(layout, "cam", b"3", keep=3)
        assert store.history(layout, "cam") == [id_of(b"1"), id_of(b"3")]

    def test_a_rollback_that_the_disk_refuses_changes_nothing(self, layout, monkeypatch):
        for content in (b"1", b"2", b"3"):
            deploy(layout, "cam", content, keep=3)

        def refused(path, document):
            raise StorageError("the disk is full", path, "free some space")

        with monkeypatch.context() as full:
            full.setattr(disk, "write_json", refused)
            with pytest.raises(StorageError):
                store.rollback(layout, "cam")
        assert store.current_id(layout, "cam") == id_of(b"3")
        assert store.rollback(layout, "cam") == id_of(b"2")

    def test_a_rollback_passes_over_what_is_damaged(self, layout):
        for content in (b"1", b"2", b"3"):
            deploy(layout, "cam", content, keep=3)
        (Path(layout.release("cam", id_of(b"2"))) / "model.onnx").unlink()
        assert store.rollback(layout, "cam") == id_of(b"1")

    def test_what_is_damaged_does_not_become_current(self, layout):
        deploy(layout, "cam", b"old")
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        (Path(layout.release("cam", id_of(b"new"))) / "model.onnx").write_bytes(b"no")
        with pytest.raises(RefusedError, match="SHA-256 differs"):
            store.activate(layout, "cam", id_of(b"new"))
        assert whole(layout, "cam") == id_of(b"old")

    def test_what_is_damaged_is_not_committed(self, layout):
        deploy(layout, "cam", b"old")
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))
        (Path(layout.current("cam")) / "model.onnx").write_bytes(b"no")
        with pytest.raises(RefusedError, match="SHA-256 differs"):
            store.commit(layout, "cam", id_of(b"new"), 2)
        assert store.undo(layout, "cam") == id_of(b"old") == whole(layout, "cam")

    def test_the_way_back_needs_no_room(self, layout, monkeypatch):
        deploy(layout, "cam", b"old")
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        for name in ("symlink", "mkdir"):
            monkeypatch.setattr(os, name, full)
        monkeypatch.setattr(disk, "write", full)
        assert store.undo(layout, "cam") == id_of(b"old")
        assert whole(layout, "cam") == id_of(b"old")

    def test_a_commit_that_finds_no_room_is_none(self, layout, monkeypatch):
        deploy(layout, "cam", b"old")
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StorageError):
            store.commit(layout, "cam", id_of(b"new"), 2)
        monkeypatch.undo()
        assert store.recover(layout) == ["cam"]
        assert whole(layout, "cam") == id_of(b"old")

    def test_status_says_what_is_wrong(self, layout):
        deploy(layout, "cam", b"old", measurement={"source": "simulated"})
        said = store.status(layout, "cam")
        assert (said["current"], said["problems"], said["pending"]) == (id_of(b"old"), [], None)
        assert said["measurement"] == {"source": "simulated"}
        (Path(layout.current("cam")) / "model.onnx").write_bytes(b"no")
        assert store.status(layout, "cam")["problems"] == ["model.onnx: the SHA-256 differs"]

    def test_networks_do_not_disturb_each_other(self, layout):
        deploy(layout, "cam", b"1")
        deploy(layout, "door", b"2")
        store.remove(layout, "cam")
        assert store.names(layout) == ["door"]
        assert whole(layout, "door") == id_of(b"2")

    def test_a_manifest_of_another_release_is_noticed(self, layout):
        deploy(layout, "cam", b"1")
        other = Path(layout.release("cam", "0" * 16))
        Path(layout.release("cam", id_of(b"1"))).rename(other)
        assert "is of the release" in problems_of(str(other))[0]

    @pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "x.new", "a" * 65, None, "a b", "x\n"])
    def test_names_that_are_no_folder(self, name):
        with pytest.raises(RequestError, match="no name of a deployed network"):
            checked_name(name)
