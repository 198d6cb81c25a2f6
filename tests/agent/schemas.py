"""The JSON Schemas that come with the agent, to hold against them what it says."""

import functools
import json
from pathlib import Path

import edgesynth_agent
import jsonschema

__all__ = ["SCHEMAS", "Record", "check", "schema"]

SCHEMAS = Path(edgesynth_agent.__file__).parent / "schemas"


class Record(dict):
    """A measurement; what it has is there as attributes too, at every depth."""

    __getattr__ = dict.__getitem__

    @classmethod
    def of(cls, document):
        """Raises ValidationError for what does not keep to its schema."""
        text = json.dumps(document, allow_nan=False)
        check(json.loads(text), schema("measurement-1.json"))
        return json.loads(text, object_hook=cls)


def check(document, schema_):
    """Raises ValidationError."""
    jsonschema.Draft202012Validator(schema_).validate(document)


@functools.lru_cache(maxsize=None)
def schema(name):
    """The content of a file with what each reference leads to in its place: old releases of jsonschema look references
    up in one way, and new ones in another."""
    return _whole(_content(name), name)


@functools.lru_cache(maxsize=None)
def _content(name):
    return json.loads((SCHEMAS / name).read_text())


def _whole(part, name):
    if isinstance(part, list):
        return [_whole(each, name) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" not in part:
        return {key: _whole(value, name) for key, value in part.items()}
    file, _, pointer = part["$ref"].partition("#")
    target = _content(file or name)
    for key in pointer.split("/")[1:]:
        target = target[key]
    return _whole({**target, **{key: value for key, value in part.items() if key != "$ref"}}, file or name)
