"""edgesynth: generative synthesis of small networks that meet stated requirements on edge devices.

Importing this package is instant: torch, ONNX and the rest are imported by the modules that use them.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
