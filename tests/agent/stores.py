"""Stores of uploads under a folder of a test."""

from edgesynth_agent.room import MAX_STORE_BYTES, Room
from edgesynth_agent.store import FILE, MODEL, UploadStore

__all__ = ["file_store", "model_store"]

LARGE = 2 * 1024**3


def model_store(root, max_bytes=LARGE, max_store=MAX_STORE_BYTES):
    return UploadStore(Room(str(root), max_store), MODEL, max_bytes)


def file_store(root, max_bytes=LARGE, max_store=MAX_STORE_BYTES):
    return UploadStore(Room(str(root), max_store), FILE, max_bytes)
