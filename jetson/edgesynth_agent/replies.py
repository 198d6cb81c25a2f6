"""What a handler of the API answers with."""

from typing import Any, Dict, Iterator, NamedTuple, Union

__all__ = ["FileReply", "JsonReply", "LinesReply", "Reply", "TextReply"]


class JsonReply(NamedTuple):
    """One JSON document, and headers beside the usual ones."""

    status: int
    document: Any
    headers: Dict[str, str] = {}


class TextReply(NamedTuple):
    """Text of a fixed length."""

    text: str
    content_type: str


class FileReply(NamedTuple):
    """The content of a file."""

    path: str
    content_type: str


class LinesReply(NamedTuple):
    """JSON documents, one a line, as they come: each is a chunk of its own (RFC 9112, section 7.1)."""

    documents: Iterator[Any]


Reply = Union[JsonReply, TextReply, FileReply, LinesReply]
