"""What `tegrastats`, NVIDIA's monitor of a Jetson, prints: every release's lines as one kind of record."""

from edgesynth_agent.tegrastats.parse import parse_line

__all__ = ["parse_line"]
