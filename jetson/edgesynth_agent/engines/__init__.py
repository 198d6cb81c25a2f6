"""What runs a network. Importing this imports no runtime; constructing an engine does."""

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.engines.fake import FakeEngine
from edgesynth_agent.engines.onnxruntime_engine import OnnxRuntimeEngine
from edgesynth_agent.engines.tensorrt_engine import TensorRtEngine

__all__ = ["Engine", "FakeEngine", "OnnxRuntimeEngine", "TensorRtEngine"]
