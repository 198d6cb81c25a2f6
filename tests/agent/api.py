"""The API as its OpenAPI file has it, to hold every answer of the tests against."""

import functools
import json
import re
from pathlib import Path

import edgesynth_agent
import jsonschema
from referencing import Registry, Resource

__all__ = ["check", "openapi", "operations", "validator"]

SCHEMAS = Path(edgesynth_agent.__file__).parent / "schemas"
BASE = "https://edgesynth.invalid/schemas/"


@functools.cache
def openapi():
    return json.loads((SCHEMAS / "openapi.json").read_text())


@functools.cache
def _registry():
    registry = Registry()
    for name in ("openapi.json", "measurement-1.json"):
        content = json.loads((SCHEMAS / name).read_text())
        draft = jsonschema.Draft202012Validator.META_SCHEMA["$schema"]
        registry = registry.with_resource(BASE + name, Resource.from_contents({"$schema": draft, **content}))
    return registry


def validator(schema):
    """A validator of a schema of the file; its references are looked up there."""
    return jsonschema.Draft202012Validator(_absolute(schema), registry=_registry())


def _absolute(schema):
    if isinstance(schema, dict):
        changed = {key: _absolute(value) for key, value in schema.items()}
        if "$ref" in changed:
            ref = changed["$ref"]
            changed["$ref"] = BASE + ("openapi.json" + ref if ref.startswith("#") else ref)
        return changed
    return [_absolute(value) for value in schema] if isinstance(schema, list) else schema


def operations():
    """(method, path of the file, operation) of each."""
    for path, item in openapi()["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def check(method, path, status, content_type, data):
    """That an answer is one that the file tells of."""
    for known, template, operation in operations():
        pattern = re.sub(r"\{(\w+)\}", "[0-9a-f]+", template)
        if known == method and re.fullmatch(pattern, path.partition("?")[0]):
            responses = operation["responses"]
            response = responses.get(str(status)) or responses.get(f"{status // 100}XX")
            assert response, f"{method} {template} answered {status}, which the file does not tell"
            break
    else:
        response = openapi()["components"]["responses"]["Error"]
        assert 400 <= status < 500, f"{method} {path} answered {status}, and the file does not know it"
    if "$ref" in response:
        response = openapi()["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    content = response.get("content", {})
    if method == "HEAD":
        assert not data
        return
    assert content_type.partition(";")[0] in {name.partition(";")[0] for name in content}, (method, path, content_type)
    schema = content[next(name for name in content if name.partition(";")[0] == content_type.partition(";")[0])]
    if content_type == "application/json":
        validator(schema["schema"]).validate(json.loads(data))
    elif content_type == "application/x-ndjson":
        for line in data.splitlines():
            validator(schema["schema"]).validate(json.loads(line))
