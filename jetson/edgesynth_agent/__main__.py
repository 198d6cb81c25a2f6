"""`python -m edgesynth_agent`."""

import sys

from edgesynth_agent.cli import main

sys.exit(main())
