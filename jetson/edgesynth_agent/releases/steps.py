"""The steps of a deploy on the device, one method each; `session` calls them by name."""

import os
import platform
import shutil
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from edgesynth_agent import __version__, board
from edgesynth_agent.errors import EngineError, RefusedError, RequestError, StorageError
from edgesynth_agent.files import sha256_of
from edgesynth_agent.plan import manifest_path
from edgesynth_agent.releases import disk, store
from edgesynth_agent.releases.handover import is_plain, own, taken
from edgesynth_agent.releases.layout import Layout
from edgesynth_agent.releases.manifest import SCHEMA, describe_files, problems_of
from edgesynth_agent.releases.order import ENGINE, FILES, EngineKey, ReleaseOrder, parse_order, release_id

__all__ = ["Steps", "Work"]

_BUILD = "build.json"
_OUT = "out"
# What uploads and engines leave free on the disk: the records of the agent must always find room.
_SPARE_BYTES = 64 * 1024 * 1024

Run = Callable[[Dict[str, Any]], Dict[str, Any]]


class Work(NamedTuple):
    """The release that a deploy makes."""

    order: ReleaseOrder
    id: str
    complete: bool


class Steps:
    """One deploy. `run` carries out an order in a worker; `owner` (uid, gid) may write uploads; `account` is who builds
    and tries engines, None for this process's user. The caller holds the lock."""

    def __init__(
        self,
        layout: Layout,
        run: Run,
        holder: str,
        owner: Optional[Tuple[int, int]],
        account: Callable[[], Optional[str]],
    ) -> None:
        self._layout = layout
        self._run = run
        self._holder = holder
        self._owner = owner
        self._account = account
        self._asking = threading.Lock()
        self._runtime: Optional[Dict[str, Any]] = None
        self._work: Optional[Work] = None
        self._results: Dict[str, Any] = {}
        self._built: Dict[str, Any] = {}

    def runtime(self) -> Dict[str, Any]:
        """What runs networks here; asked once. Safe for several threads."""
        with self._asking:
            if self._runtime is None:
                self._runtime = self._run({"do": "trial", "step": "look"})
            return self._runtime

    def foresee(self, document: Any) -> Dict[str, Any]:
        """What `stage` would find, {id, state}; nothing is changed."""
        order = parse_order(document)
        identity, state = self._state_of(order)
        return {"id": identity, "state": state}

    def stage(self, document: Any) -> Dict[str, Any]:
        """{id, state, folder, files}: `state` is "current" when there is nothing to do, "complete" when the release is
        there, else "partial": then `files` says what to write into `folder`, and how much of it is there."""
        order = parse_order(document)
        identity, state = self._state_of(order)
        folder = self._layout.release(order.name, identity)
        if state == "current":
            return {"id": identity, "state": state, "folder": folder, "files": {}}
        if state == "partial" and store.current_id(self._layout, order.name) != identity:
            disk.remove_tree(folder)  # damaged; the current one stays until another takes its place
        store.begin(self._layout, order.name, identity, self._holder)
        self._work = Work(order, identity, state == "complete")
        if state == "complete":
            return {"id": identity, "state": state, "folder": folder, "files": {}}
        return dict(self._open_partial(), id=identity, state=state)

    def _state_of(self, order: ReleaseOrder) -> Tuple[str, str]:
        runtime = self.runtime()
        if runtime["backend"] is None:
            raise EngineError(
                "neither TensorRT with pycuda nor ONNX Runtime can be imported ({})".format(runtime["reason"]),
                "the python3 of this device",
                "install one: sudo apt-get install python3-libnvinfer, and pip3 install pycuda",
            )
        identity = release_id(order, EngineKey(runtime["backend"], runtime["version"], runtime["device_model"]))
        folder = self._layout.release(order.name, identity)
        if not os.path.isdir(folder) or problems_of(folder):
            return identity, "partial"
        committed = store.history(self._layout, order.name)[-1:] == [identity]
        if committed and store.current_id(self._layout, order.name) == identity:
            return identity, "current"
        return identity, "complete"

    def _open_partial(self) -> Dict[str, Any]:
        work, partial = self._deploying(), self._partial
        disk.make_folder(partial)
        # An earlier deploy may have been another user's: no link of theirs is followed, and they write no more.
        os.chown(partial, os.geteuid(), os.getegid())
        files: Dict[str, Any] = {}
        missing = 0
        for role, file in work.order.files.items():
            path = os.path.join(partial, FILES[role])
            if not is_plain(path):
                disk.remove(path)
            have = os.path.getsize(path) if os.path.isfile(path) else 0
            if have > file.bytes:
                disk.remove(path)
                have = 0
            files[role] = {"name": FILES[role], "have": have}
            missing += file.bytes - have
        self._require_room(missing)
        if self._owner is not None:
            for path in [partial] + [os.path.join(partial, each["name"]) for each in files.values()]:
                if os.path.exists(path):
                    os.chown(path, *self._owner, follow_symlinks=False)
        return {"folder": partial, "files": files}

    def verify(self) -> Dict[str, Any]:
        """What was uploaded is what was ordered, and on the disk; a file that is not goes. Raises RefusedError."""
        work, partial = self._deploying(), self._partial
        os.chown(partial, os.geteuid(), os.getegid())
        for role, file in work.order.files.items():
            path = os.path.join(partial, FILES[role])
            try:
                own(path)
                digest = sha256_of(path)
            except OSError as error:
                raise RefusedError(
                    "it is not there ({})".format(error.strerror), FILES[role], "deploy again"
                ) from error
            if digest != file.sha256:
                disk.remove(path)
                raise RefusedError("the upload was corrupted: its SHA-256 is " + digest, FILES[role], "deploy again")
        disk.sync(partial)
        store.mark(self._layout, work.order.name, "uploaded")
        return {"files": len(work.order.files)}

    def build(self) -> Dict[str, Any]:
        """The engine; one that an earlier deploy of this release built is taken as it is."""
        work, partial = self._deploying(), self._partial
        built = disk.read_json(os.path.join(partial, _BUILD))
        if isinstance(built, dict) and self._is_whole(built):
            self._results["engine"], self._built = built["engine"], built["files"]
            return dict(built["engine"], kept=True)
        self._require_room(sum(file.bytes for file in work.order.files.values()))
        out = os.path.join(partial, _OUT)
        disk.remove_tree(out)
        disk.make_folder(out, 0o700)
        account = self._account()
        if account is not None:
            shutil.chown(out, account, account)
        engine = self._run(dict(self._trial("build"), out=out, timing=os.path.join(self._layout.store, "plans")))
        files = {}
        if engine["file"] is not None:
            for name in (ENGINE, manifest_path(ENGINE)):
                disk.write(os.path.join(partial, name), taken(os.path.join(out, name)))
            files = {"engine": ENGINE, "engine_record": manifest_path(ENGINE)}
        disk.remove_tree(out)
        described = describe_files(partial, files)
        disk.write_json(os.path.join(partial, _BUILD), {"engine": engine, "files": described})
        store.mark(self._layout, work.order.name, "built")
        self._results["engine"], self._built = engine, described
        return dict(engine, kept=False)

    def parity(self) -> Dict[str, Any]:
        return self._try("parity")

    def smoke(self) -> Dict[str, Any]:
        return self._try("smoke")

    def activate(self) -> Dict[str, Any]:
        """The release is complete and current afterwards. {id, from}."""
        work = self._deploying()
        name = work.order.name
        before = store.current_id(self._layout, name)
        if not work.complete:
            store.seal(self._layout, name, work.id, self._manifest(work))
            self._work = work._replace(complete=True)
        store.activate(self._layout, name, work.id)
        return {"id": work.id, "from": before, "folder": self._layout.current(name)}

    def commit(self, keep: int, measurement: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        work = self._deploying()
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise RequestError("{} is no number of releases".format(keep), "keep", "give 1 or more")
        gone = store.commit(self._layout, work.order.name, work.id, keep, measurement)
        self._work = None
        return {"id": work.id, "removed": gone}

    def abort(self, drop: bool) -> Dict[str, Any]:
        """Back to what was current before; `drop` frees the room that the unfinished release takes. {current}."""
        work, self._work = self._work, None
        if work is None:
            return {"current": None}
        now = store.undo(self._layout, work.order.name)
        if drop:
            store.drop_partial(self._layout, work.order.name, work.id)
        return {"current": now}

    @property
    def _partial(self) -> str:
        work = self._deploying()
        return self._layout.partial(work.order.name, work.id)

    def _deploying(self) -> Work:
        if self._work is None:
            raise RequestError("no release is being made", "this session", "stage one first")
        return self._work

    def _try(self, step: str) -> Dict[str, Any]:
        result = self._run(self._trial(step))
        store.mark(self._layout, self._deploying().order.name, step)
        self._results[step] = result
        return result

    def _trial(self, step: str) -> Dict[str, Any]:
        order = self._deploying().order
        return {
            "do": "trial",
            "step": step,
            "folder": self._partial,
            "name": order.name,
            "backend": self.runtime()["backend"],
            "precision": order.precision,
            "batch": order.batch,
            "user": self._account(),
        }

    def _is_whole(self, built: Dict[str, Any]) -> bool:
        try:
            files = {role: str(entry["path"]) for role, entry in built["files"].items()}
            return describe_files(self._partial, files) == built["files"] and isinstance(built["engine"], dict)
        except (AttributeError, KeyError, TypeError, OSError):
            return False

    def _require_room(self, size: int) -> None:
        found = os.statvfs(self._layout.state)
        if found.f_bavail * found.f_frsize < size + _SPARE_BYTES:
            what = "there is no room for {:.0f} MiB more".format((size + _SPARE_BYTES) / 1024.0**2)
            raise StorageError(what, self._layout.state, "free some space, or keep fewer releases (--keep)")

    def _manifest(self, work: Work) -> Dict[str, Any]:
        missing = {"engine", "parity", "smoke"} - set(self._results)
        if missing:
            raise RequestError("it has not been through " + ", ".join(sorted(missing)), "the release", "deploy again")
        engine = self._results["engine"]
        names = {role: FILES[role] for role in work.order.files}
        if engine["file"] is not None:
            names.update(engine=ENGINE, engine_record=manifest_path(ENGINE))
        files = describe_files(self._partial, names)
        tried = {role: file.sha256 for role, file in work.order.files.items()}
        tried.update((role, entry["sha256"]) for role, entry in self._built.items())
        changed = [names[role] for role in sorted(names) if files[role]["sha256"] != tried.get(role)]
        if changed:
            raise RefusedError("it was changed after it was compared and tried", changed[0], "deploy again")
        l4t, _ = board.l4t_version()
        return dict(
            work.order.facts,
            schema=SCHEMA,
            id=work.id,
            name=work.order.name,
            target=work.order.target,
            precision_asked=work.order.precision,
            batch=work.order.batch,
            engine=engine,
            files=files,
            parity=self._results["parity"],
            smoke=self._results["smoke"],
            versions={
                "agent": __version__,
                "python": platform.python_version(),
                "l4t": l4t,
                "jetpack": board.jetpack_of(l4t)[0],
                "cuda": board.cuda_version()[0],
            },
            machine=platform.machine(),
            created_unix_s=time.time(),
        )
