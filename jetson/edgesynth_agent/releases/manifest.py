"""The manifest of a release: what is in its folder, and that all of it is there."""

import os
from typing import Any, Dict, List, Optional

from edgesynth_agent.files import sha256_of
from edgesynth_agent.releases.disk import read_json

__all__ = ["MANIFEST", "SCHEMA", "describe_files", "problems_of", "read_manifest"]

MANIFEST = "manifest.json"
SCHEMA = "edgesynth.release/1"


def describe_files(folder: str, names: Dict[str, str]) -> Dict[str, Dict[str, Any]]:
    """{path, sha256, bytes} of files in a folder, by what they are. Raises OSError."""
    return {
        role: {
            "path": name,
            "sha256": sha256_of(os.path.join(folder, name)),
            "bytes": os.path.getsize(os.path.join(folder, name)),
        }
        for role, name in names.items()
    }


def read_manifest(folder: str) -> Optional[Dict[str, Any]]:
    """The manifest of a release; None when there is none that can be read."""
    document = read_json(os.path.join(folder, MANIFEST))
    whole = isinstance(document, dict) and document.get("schema") == SCHEMA and isinstance(document.get("files"), dict)
    return document if whole else None


def problems_of(folder: str) -> List[str]:
    """Why a folder is no complete release, in words; nothing for one that is. Every file is read."""
    document = read_manifest(folder)
    if document is None:
        return ["{} is missing or malformed".format(MANIFEST)]
    problems = []
    if document.get("id") != os.path.basename(folder):
        problems.append("{} is of the release {}".format(MANIFEST, document.get("id")))
    for role, entry in sorted(document["files"].items()):
        try:
            path, digest = os.path.join(folder, os.path.basename(entry["path"])), entry["sha256"]
            if sha256_of(path) != digest:
                problems.append("{}: the SHA-256 differs".format(os.path.basename(path)))
        except (KeyError, TypeError):
            problems.append("{}: {} does not describe it".format(role, MANIFEST))
        except OSError as error:
            problems.append("{}: {}".format(os.path.basename(path), error.strerror))
    return problems
