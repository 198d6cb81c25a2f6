"""Tests of whole commands keep nothing among the user's own measurements."""

from collections.abc import Iterator

import pytest

__all__ = ["no_traces_of_the_user"]


@pytest.fixture(scope="package", autouse=True)
def no_traces_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What these tests measure on this machine is not kept among the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
