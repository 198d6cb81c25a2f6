"""The edgesynth agent: runs on the device, measures networks there, and answers over a Unix socket.

Python 3.6 and the standard library; numpy and the runtimes are imported by the worker that uses them, never by the
server. It shares no code with the workstation: the contract is the API (`server`) and `schemas/measurement-1.json`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
