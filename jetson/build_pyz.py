"""Build `edgesynth-agent.pyz`: the agent as one file that any Python from 3.6 on runs.

    python jetson/build_pyz.py [--out dist/edgesynth-agent.pyz]

The same sources give the same bytes on every machine: files in order of name, one fixed date, and no compression,
whose output differs between versions of zlib.
"""

import argparse
import sys
import zipfile
from pathlib import Path

__all__ = ["build"]

_PACKAGE = Path(__file__).resolve().parent / "edgesynth_agent"
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b"import sys\n\nfrom edgesynth_agent.cli import main\n\nsys.exit(main())\n"
_SUFFIXES = {".json", ".py"}


def build(out: Path) -> None:
    """Write the archive, executable, in place of an earlier one."""
    files = sorted(path for path in _PACKAGE.rglob("*") if path.suffix in _SUFFIXES)
    contents = {path.relative_to(_PACKAGE.parent).as_posix(): path.read_bytes() for path in files}
    contents["__main__.py"] = _MAIN
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    with partial.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in contents.items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
    partial.chmod(0o755)
    partial.replace(out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the agent as one file.")
    parser.add_argument("--out", type=Path, default=Path("dist/edgesynth-agent.pyz"), metavar="FILE")
    out: Path = parser.parse_args().out
    build(out)
    sys.stdout.write(f"{out} ({out.stat().st_size} bytes)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
