"""The fixtures of this folder."""

from tests.virtual_device.fixtures import make_virtual_device, virtual_device

__all__ = ["make_virtual_device", "virtual_device"]
