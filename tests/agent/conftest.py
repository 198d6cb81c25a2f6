"""What holds for all tests of the agent, under each Python that it speaks: nothing here needs the workstation."""

import os
import signal

from hypothesis import HealthCheck, settings

# How long an example takes says nothing about the agent: on a busy machine any may take long.
settings.register_profile("agent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("agent")

# Tests that run an engine in this process, without a worker, must not start ONNX Runtime's uploader of usage data.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
