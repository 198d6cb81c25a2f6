"""What is measured about edgesynth, each by a command of its own."""
