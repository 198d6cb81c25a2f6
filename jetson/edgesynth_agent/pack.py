"""Write this package as `edgesynth-agent.pyz`, one file that any Python from 3.6 on runs.

    python -m edgesynth_agent.pack edgesynth-agent.pyz

The same sources give the same bytes on every machine: files in order of name, one fixed date, and no compression,
whose output differs between versions of zlib.
"""

import os
import sys
import zipfile
from typing import BinaryIO, Dict, Iterator

__all__ = ["main", "pack"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b"import sys\n\nfrom edgesynth_agent.cli import main\n\nsys.exit(main())\n"
_SUFFIXES = (".conf", ".json", ".py", ".service", "edgesynth-power")


def pack(out: str) -> int:
    """Write the archive, executable, in place of an earlier one; its size in bytes. Raises OSError."""
    contents = {os.path.relpath(path, os.path.dirname(_PACKAGE)): _content(path) for path in _files()}
    contents["__main__.py"] = _MAIN
    partial = out + ".partial"
    with open(partial, "wb") as file:
        file.write(_SHEBANG)
        _write_archive(file, contents)
    os.chmod(partial, 0o755)
    os.replace(partial, out)
    return os.path.getsize(out)


def main() -> int:
    (out,) = sys.argv[1:]
    sys.stdout.write("{} ({} bytes)\n".format(out, pack(out)))
    return 0


def _files() -> Iterator[str]:
    for folder, folders, names in os.walk(_PACKAGE):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(_SUFFIXES):
                yield os.path.join(folder, name)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write_archive(file: BinaryIO, contents: Dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[name])


if __name__ == "__main__":
    sys.exit(main())
