"""Deploys of made-up releases that are cut off at every change of the disk. Python 3.6: run there as a script.

python3 tests/agent/release_rig.py FOLDER      (edgesynth_agent must be importable)
"""

import contextlib
import hashlib
import os
import shutil

from edgesynth_agent.errors import NotFoundError
from edgesynth_agent.releases import disk, store
from edgesynth_agent.releases.layout import make_layout
from edgesynth_agent.releases.manifest import SCHEMA, describe_files, problems_of

# Whatever changes names or makes them durable; shutil.rmtree goes through these too.
CHANGES = ("chmod", "fsync", "mkdir", "rename", "replace", "rmdir", "symlink", "unlink")
MOST = 500


class PowerCut(BaseException):
    """The power fails: nothing after this happens."""


@contextlib.contextmanager
def cut_before(number):
    """The power fails before the change of that number, from 0; the list counts those that were made."""
    made, kept = [], {name: getattr(os, name) for name in CHANGES}

    def replacement(name):
        def change(*arguments, **options):
            if len(made) == number:
                raise PowerCut(name)
            made.append(name)
            # What is to be on the disk counts; a test need not wait until it is.
            return None if name == "fsync" else kept[name](*arguments, **options)

        return change

    for name in CHANGES:
        setattr(os, name, replacement(name))
    try:
        yield made
    finally:
        for name, function in kept.items():
            setattr(os, name, function)


def id_of(content):
    return hashlib.sha256(content).hexdigest()[:16]


def deploy(layout, name, content, keep=2, measurement=None):
    """All that a deploy does to the disk."""
    release_id = id_of(content)
    store.begin(layout, name, release_id, "tests")
    if not os.path.isdir(layout.release(name, release_id)):
        stage(layout, name, content)
    store.activate(layout, name, release_id)
    store.commit(layout, name, release_id, keep, measurement)
    return release_id


def stage(layout, name, content):
    """An upload, and the release that is made of it."""
    release_id = id_of(content)
    partial = layout.partial(name, release_id)
    disk.make_folder(partial)
    with open(os.path.join(partial, "model.onnx"), "wb") as file:
        file.write(content)
    with open(os.path.join(partial, "left.over"), "wb") as file:
        file.write(b"of no use")
    files = describe_files(partial, {"onnx": "model.onnx"})
    store.seal(layout, name, release_id, {"schema": SCHEMA, "id": release_id, "files": files})


def whole(layout, name):
    """The current release; fails when that is none that is complete."""
    now = store.current_id(layout, name)
    if now is not None:
        problems = problems_of(layout.release(name, now))
        assert not problems, (now, problems)
    return now


def each_cut(folder, prepare, act):
    """Do `act(layout)` after `prepare(layout)`, cut off at each change in turn: (layout, number, what came of it)."""
    for number in range(MOST):
        root = os.path.join(folder, "root")
        shutil.rmtree(root, ignore_errors=True)
        layout = make_layout({}, root)
        prepare(layout)
        with cut_before(number) as made:
            try:
                act(layout)
            except PowerCut:
                pass
        yield layout, number
        if len(made) < number:
            return
    raise AssertionError("it does not come to an end")


def check_deploy(folder):
    """The old release or the new one, at every cut, before and after the recovery; then the deploy succeeds."""
    old, new = id_of(b"old"), id_of(b"new")
    seen = set()
    for layout, _ in each_cut(folder, lambda it: deploy(it, "cam", b"old"), lambda it: deploy(it, "cam", b"new")):
        seen.add((whole(layout, "cam"), store.pending(layout, "cam") is None))
        committed = store.history(layout, "cam")[-1:] == [new]
        store.recover(layout)
        assert whole(layout, "cam") == (new if committed else old)
        assert store.pending(layout, "cam") is None
        assert deploy(layout, "cam", b"new") == new == whole(layout, "cam")
        assert store.history(layout, "cam") == [old, new]
        assert sorted(os.listdir(layout.releases("cam"))) == sorted([old, new])
        assert not os.path.lexists(layout.current("cam") + ".back")
    assert seen == {(old, True), (old, False), (new, False), (new, True)}, seen


def check_first_deploy(folder):
    new = id_of(b"new")
    for layout, _ in each_cut(folder, lambda it: None, lambda it: deploy(it, "cam", b"new")):
        committed = store.history(layout, "cam") == [new]
        store.recover(layout)
        assert whole(layout, "cam") == (new if committed else None)
        assert deploy(layout, "cam", b"new") == whole(layout, "cam")


def check_undo(folder):
    """Cut off while undoing, the next recovery goes on."""

    def prepare(layout):
        deploy(layout, "cam", b"old")
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))

    for layout, _ in each_cut(folder, prepare, store.recover):
        whole(layout, "cam")
        store.recover(layout)
        assert whole(layout, "cam") == id_of(b"old")


def check_rollback(folder):
    def prepare(layout):
        for content in (b"old", b"new"):
            deploy(layout, "cam", content)

    for layout, _ in each_cut(folder, prepare, lambda it: store.rollback(it, "cam")):
        assert whole(layout, "cam") in (id_of(b"old"), id_of(b"new"))
        assert deploy(layout, "cam", b"new") == whole(layout, "cam")


def check_prune(folder):
    def prepare(layout):
        for content in (b"1", b"2", b"3"):
            deploy(layout, "cam", content, keep=3, measurement={"latency_ms": 1})

    for layout, _ in each_cut(folder, prepare, lambda it: deploy(it, "cam", b"4", keep=1)):
        store.recover(layout)
        whole(layout, "cam")
        assert deploy(layout, "cam", b"5", keep=1) == whole(layout, "cam")
        assert os.listdir(layout.releases("cam")) == [id_of(b"5")]
        assert store.history(layout, "cam") == [id_of(b"5")]


def check_repair(folder):
    """A current release that was damaged is there until a whole one takes its place."""

    def prepare(layout):
        deploy(layout, "cam", b"old")
        with open(os.path.join(layout.current("cam"), "model.onnx"), "wb") as file:
            file.write(b"damaged")

    def repair(layout):
        store.begin(layout, "cam", id_of(b"old"), "tests")
        stage(layout, "cam", b"old")
        store.activate(layout, "cam", id_of(b"old"))
        store.commit(layout, "cam", id_of(b"old"), keep=2)

    for layout, _ in each_cut(folder, prepare, repair):
        store.recover(layout)
        assert os.path.isfile(os.path.join(layout.current("cam"), "model.onnx"))
        repair(layout)
        assert whole(layout, "cam") == id_of(b"old")
        assert os.listdir(layout.releases("cam")) == [id_of(b"old")]


def check_remove(folder):
    for layout, _ in each_cut(folder, lambda it: deploy(it, "cam", b"old"), lambda it: store.remove(it, "cam")):
        whole(layout, "cam")
        try:
            store.remove(layout, "cam")
        except NotFoundError:
            pass
        assert store.names(layout) == []


CHECKS = (check_deploy, check_first_deploy, check_undo, check_rollback, check_prune, check_repair, check_remove)
