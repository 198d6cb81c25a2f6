"""Text of files and tools, made harmless for a terminal."""

__all__ = ["plain"]


def plain(text: str) -> str:
    """`text` on one line. Names in it come from a file: nothing in them may steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
