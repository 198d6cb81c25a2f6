"""Shared by the tests of the command line."""

from tests.home import no_traces_of_the_user

__all__ = ["no_traces_of_the_user"]
