"""`python -m edgesynth` is the `edgesynth` command."""

from edgesynth.cli.main import main

if __name__ == "__main__":
    main()
