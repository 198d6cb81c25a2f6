"""Virtual devices for tests: import `virtual_device` or `make_virtual_device` into the conftest.py that needs them."""

import itertools
import os

import pytest

from tests.needs import need
from tests.virtual_device.device import VirtualDevice, all_devices
from tests.virtual_device.places import what_is_missing
from tests.virtual_device.recipe import find_python36

__all__ = ["make_virtual_device", "virtual_device"]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def make_virtual_device():
    """`make_virtual_device(sudo=True, ...)` boots another one; all that are left go when the tests end."""
    missing = what_is_missing()
    need(missing is None, str(missing))
    need(find_python36(), "Python 3.6: on PATH, in pyenv, or named by EDGESYNTH_PYTHON36")
    for device in all_devices():
        if device.is_left_behind:
            device.down()
    made = []

    def make(**options) -> VirtualDevice:
        device = VirtualDevice.create(f"t{os.getpid()}-{next(_numbers)}", owner=os.getpid(), **options)
        made.append(device)
        return device

    yield make
    for device in made:
        if device.folder.exists():
            device.down()


@pytest.fixture(scope="session")
def virtual_device(make_virtual_device):
    """A booted virtual TX2. A test that breaks something mends it."""
    return make_virtual_device()
