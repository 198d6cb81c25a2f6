"""Build `edgesynth-agent.pyz`: the agent as one file that any Python from 3.6 on runs; see `edgesynth_agent/pack.py`.

python jetson/build_pyz.py [--out dist/edgesynth-agent.pyz]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from edgesynth_agent.pack import pack  # found only now


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the agent as one file.")
    parser.add_argument("--out", type=Path, default=Path("dist/edgesynth-agent.pyz"), metavar="FILE")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{out} ({pack(str(out))} bytes)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
