"""Tests of the agent that run under the current Python alone: what it shares with the workstation, and linters."""
