"""torch -> ONNX -> checked for a target. Knows nothing of synthesis, devices or the agent."""

__all__: list[str] = []
