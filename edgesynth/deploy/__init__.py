"""From a network to a verified, running, measured device: the workstation's half. The device's is in the agent."""
