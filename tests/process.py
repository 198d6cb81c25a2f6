"""What holds for a process that runs tests, the agent's under each of its Pythons as well as the workstation's."""

import atexit
import os
import shutil
import signal
import tempfile

from hypothesis import HealthCheck, settings

__all__ = ["prepare"]


def prepare():
    """Once for a process; again it does nothing."""
    # How long an example takes, or to think of one, says nothing about the product: on a busy machine any may take
    # long. All other health checks, and what a test says of its own settings, hold.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
    # Tests that run an engine in this process, without a worker, must not start ONNX Runtime's uploader of usage data.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # What a shell starts in the background ignores Ctrl-C, and so would what a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Agents of this machine measure one at a time: those of other tests, and real ones, are not to be waited for.
    if "EDGESYNTH_RUNTIME" not in os.environ:
        os.environ["EDGESYNTH_RUNTIME"] = tempfile.mkdtemp(prefix="edgesynth-tests-")
        atexit.register(shutil.rmtree, os.environ["EDGESYNTH_RUNTIME"], ignore_errors=True)
