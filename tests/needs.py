"""What some tests need and not every machine has."""

import os

import pytest

__all__ = ["need"]


def need(condition: object, what: str) -> None:
    """Skip the running test, naming what it needs, unless the condition holds. In CI everything must be there."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}", pytrace=False)
    pytest.skip(f"needs {what}")
