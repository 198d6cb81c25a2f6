"""Virtual Jetson TX2s: machines of their own for tests, and for people without a board (README.md beside this)."""
