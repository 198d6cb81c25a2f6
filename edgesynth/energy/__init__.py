"""Analytical models of targets: from an ONNX graph to kernels, from kernels to latency and energy."""
