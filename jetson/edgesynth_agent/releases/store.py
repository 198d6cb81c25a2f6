"""Releases of networks on the disk, and which one is current. Functions over a Layout; the caller holds the lock.

    models/NAME/current               a link to releases/ID, always a complete release
    models/NAME/releases/ID/          complete: its name lost `.partial` after all in it was checked and on the disk
    models/NAME/releases/ID.partial/  being made; a later deploy of the same goes on with it
    models/NAME/releases/ID.gone/     on its way out; back again if what was to replace it did not get its name
    models/NAME/deploy.json           a deploy that has not come to its end, and what was current before it
    models/NAME/history.json          the releases that were committed, oldest first; writing it is the commit
    models/NAME/measurements/ID.json  what a release was measured to need

Every function may be cut off anywhere: `recover` brings back what was current, or finds the commit done.
"""

import os
import time
from typing import Any, Dict, List, Optional

from edgesynth_agent.errors import NotFoundError, RefusedError, StorageError
from edgesynth_agent.releases import disk
from edgesynth_agent.releases.layout import Layout
from edgesynth_agent.releases.manifest import MANIFEST, problems_of, read_manifest

__all__ = [
    "activate",
    "begin",
    "commit",
    "current_id",
    "drop_partial",
    "history",
    "mark",
    "names",
    "pending",
    "recover",
    "remove",
    "rollback",
    "seal",
    "status",
    "undo",
]

_PARTIAL, _GONE, _BACK = ".partial", ".gone", "current.back"
_JOURNAL, _HISTORY, _MEASUREMENTS = "deploy.json", "history.json", "measurements"


def names(layout: Layout) -> List[str]:
    """The networks that have a folder, in order."""
    try:
        return sorted(name for name in os.listdir(layout.models) if os.path.isdir(layout.model(name)))
    except FileNotFoundError:
        return []


def current_id(layout: Layout, name: str) -> Optional[str]:
    """The release that applications find; None when there is none."""
    try:
        return os.path.basename(os.readlink(layout.current(name)))
    except OSError:
        return None


def history(layout: Layout, name: str) -> List[str]:
    """The releases that were committed and may be there still, the newest last."""
    document = disk.read_json(os.path.join(layout.model(name), _HISTORY))
    return [str(one) for one in document] if isinstance(document, list) else []


def pending(layout: Layout, name: str) -> Optional[Dict[str, Any]]:
    """{"id", "from", "state", "holder", "unix_s"} of a deploy that has not come to its end."""
    document = disk.read_json(os.path.join(layout.model(name), _JOURNAL))
    return document if isinstance(document, dict) and {"id", "from", "state"} <= set(document) else None


def begin(layout: Layout, name: str, release_id: str, holder: str) -> None:
    """A deploy of that release starts: what is left of others that were not finished goes."""
    disk.make_folder(layout.releases(name))
    _sweep(layout, name, keep=[release_id])
    document = {"id": release_id, "from": current_id(layout, name), "state": "begun", "holder": holder}
    disk.write_json(os.path.join(layout.model(name), _JOURNAL), dict(document, unix_s=time.time()))


def mark(layout: Layout, name: str, state: str) -> None:
    """Note how far the deploy has come."""
    document = pending(layout, name)
    if document is None:
        raise StorageError("there is no deploy under way", "network " + name, "deploy again")
    disk.write_json(os.path.join(layout.model(name), _JOURNAL), dict(document, state=state, unix_s=time.time()))


def seal(layout: Layout, name: str, release_id: str, manifest: Dict[str, Any]) -> None:
    """Make a release of what lies in its partial folder: all of it on the disk, then the manifest, then the name.

    One of that name that was damaged goes when this one is ready. Raises RefusedError where a file is not what the
    manifest says.
    """
    place = layout.release(name, release_id)
    partial = layout.partial(name, release_id)
    kept = {entry["path"] for entry in manifest["files"].values()}
    with disk.told(partial):
        for entry in sorted(os.listdir(partial)):
            path = os.path.join(partial, entry)
            if os.path.islink(path):
                disk.remove(path)
            elif entry in kept:
                os.chmod(path, 0o644)
                disk.sync(path)
            elif os.path.isdir(path):
                disk.remove_tree(path)
            else:
                disk.remove(path)
    disk.write_json(os.path.join(partial, MANIFEST), manifest)
    problems = [each for each in problems_of(partial) if not each.startswith(MANIFEST + " is of")]
    if problems:
        raise RefusedError(problems[0], "release {} of {}".format(release_id, name), "deploy again")
    if os.path.isdir(place):
        disk.rename(place, place + _GONE)  # `undo` brings it back where the next line was not reached
    disk.rename(partial, place)


def activate(layout: Layout, name: str, release_id: str) -> None:
    """Make a complete release the current one. Raises RefusedError when it is not complete."""
    problems = problems_of(layout.release(name, release_id))
    if problems:
        raise RefusedError(problems[0], "release {} of {}".format(release_id, name), "deploy it again")
    before = current_id(layout, name)
    if before == release_id:
        return
    back = os.path.join(layout.model(name), _BACK)
    if before is not None:
        # The way back is made first: to go it must not need room on the disk.
        disk.point(back, os.path.join("releases", before))
    mark(layout, name, "activated")
    disk.point(layout.current(name), os.path.join("releases", release_id))


def commit(
    layout: Layout, name: str, release_id: str, keep: int, measurement: Optional[Dict[str, Any]] = None
) -> List[str]:
    """The deploy is good: it is in the history, and only the `keep` newest releases stay. Those that went."""
    if current_id(layout, name) != release_id:
        raise RefusedError("it is not the current one", "release {} of {}".format(release_id, name), "deploy again")
    problems = problems_of(layout.release(name, release_id))
    if problems:
        raise RefusedError(problems[0], "release {} of {}".format(release_id, name), "deploy again")
    if measurement is not None:
        folder = os.path.join(layout.model(name), _MEASUREMENTS)
        disk.make_folder(folder)
        disk.write_json(os.path.join(folder, release_id + ".json"), measurement)
    past = [one for one in history(layout, name) if one != release_id] + [release_id]
    disk.write_json(os.path.join(layout.model(name), _HISTORY), past)
    _end(layout, name)
    return _prune(layout, name, keep)


def undo(layout: Layout, name: str) -> Optional[str]:
    """End a deploy that was not committed: what was current before is so again. That release, None for none.

    Needs no room on the disk. Nothing happens when no deploy is under way.
    """
    document = pending(layout, name)
    if document is None:
        return current_id(layout, name)
    now, before = current_id(layout, name), document["from"]
    if now is not None:
        place = layout.release(name, now)
        if not os.path.isdir(place) and os.path.isdir(place + _GONE):
            disk.rename(place + _GONE, place)
    committed = history(layout, name)[-1:] == [document["id"]] and now == document["id"]
    if now != before and not committed:
        back = os.path.join(layout.model(name), _BACK)
        if before is None:
            disk.remove(layout.current(name))
        elif os.path.lexists(back):
            disk.rename(back, layout.current(name))
        else:
            disk.point(layout.current(name), os.path.join("releases", before))
    _end(layout, name)
    return current_id(layout, name)


def recover(layout: Layout) -> List[str]:
    """Undo what deploys left that were cut off; the networks that this was done for."""
    found = [name for name in names(layout) if pending(layout, name) is not None]
    for name in found:
        undo(layout, name)
    return found


def rollback(layout: Layout, name: str) -> str:
    """Make the release before the current one current, and forget those after it; its id.

    Raises NotFoundError when there is none that is complete.
    """
    past, now = history(layout, name), current_id(layout, name)
    before = past[: past.index(now)] if now in past else past
    for index in reversed(range(len(before))):
        if not problems_of(layout.release(name, before[index])):
            # In this order: cut off or refused by the disk in between, doing it again comes to the same release.
            disk.write_json(os.path.join(layout.model(name), _HISTORY), past[: index + 1])
            disk.point(layout.current(name), os.path.join("releases", before[index]))
            return before[index]
    raise NotFoundError("it has no earlier release that is complete", "network " + name, "deploy the one you want")


def drop_partial(layout: Layout, name: str, release_id: str) -> None:
    """Free the room that an unfinished release takes."""
    disk.remove_tree(layout.partial(name, release_id))


def remove(layout: Layout, name: str) -> None:
    """Take a network away with all its releases; `current` goes first. Raises NotFoundError."""
    if name not in names(layout):
        raise NotFoundError("it is not deployed here", "network " + name, "see edgesynth deploy --status")
    disk.remove(layout.current(name))
    disk.remove_tree(layout.model(name))


def status(layout: Layout, name: str) -> Dict[str, Any]:
    """JSON object: the current release, whether it is complete, its manifest and measurement; all that are kept."""
    now = current_id(layout, name)
    folder = None if now is None else layout.release(name, now)
    measured = os.path.join(layout.model(name), _MEASUREMENTS, "{}.json".format(now))
    return {
        "name": name,
        "current": now,
        "folder": None if now is None else layout.current(name),
        "problems": [] if folder is None else problems_of(folder),
        "manifest": None if folder is None else read_manifest(folder),
        "measurement": disk.read_json(measured),
        "history": history(layout, name),
        "releases": _complete(layout, name),
        "pending": pending(layout, name),
    }


def _end(layout: Layout, name: str) -> None:
    disk.remove(os.path.join(layout.model(name), _JOURNAL))
    disk.remove(os.path.join(layout.model(name), _BACK))


def _complete(layout: Layout, name: str) -> List[str]:
    """Names of releases, by their names alone."""
    try:
        entries = os.listdir(layout.releases(name))
    except FileNotFoundError:
        return []
    return sorted(each for each in entries if not each.endswith((_PARTIAL, _GONE)))


def _prune(layout: Layout, name: str, keep: int) -> List[str]:
    """Remove all but the newest `keep` of the history; the current one stays whatever the history says."""
    past, now = history(layout, name), current_id(layout, name)
    kept = [one for one in past[-keep:] if os.path.isdir(layout.release(name, one))]
    gone = [one for one in _complete(layout, name) if one not in kept and one != now]
    for one in gone:
        # Under a name that says so: a release that is half removed must not pass for one.
        disk.rename(layout.release(name, one), layout.release(name, one) + _GONE)
        disk.remove(os.path.join(layout.model(name), _MEASUREMENTS, one + ".json"))
    _sweep(layout, name, keep=[])
    if kept != past:
        disk.write_json(os.path.join(layout.model(name), _HISTORY), kept)
    return gone


def _sweep(layout: Layout, name: str, keep: List[str]) -> None:
    """Remove unfinished and half removed releases."""
    for entry in os.listdir(layout.releases(name)):
        if entry.endswith((_PARTIAL, _GONE)) and entry[: -len(_PARTIAL)] not in keep:
            disk.remove_tree(os.path.join(layout.releases(name), entry))
