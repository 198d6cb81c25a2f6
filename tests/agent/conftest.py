"""What holds for all tests of the agent."""

import os

# Tests that run an engine in this process, without a worker, must not start ONNX Runtime's uploader of usage data.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
