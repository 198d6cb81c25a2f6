"""Virtual Jetson TX2s: machines of their own for tests, and for people without a board. See README.md beside this file."""
