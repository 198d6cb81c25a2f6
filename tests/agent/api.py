"""The API as its OpenAPI file has it, to hold every answer of the tests against."""

import json
import re

from tests.agent import schemas

__all__ = ["check", "openapi", "operations"]


def openapi():
    """The file, with what its references lead to in their place."""
    return schemas.schema("openapi.json")


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
    content = response.get("content", {})
    if method == "HEAD":
        assert not data
        return
    assert content_type.partition(";")[0] in {name.partition(";")[0] for name in content}, (method, path, content_type)
    schema = content[next(name for name in content if name.partition(";")[0] == content_type.partition(";")[0])]
    if content_type == "application/json":
        schemas.check(json.loads(data), schema["schema"])
    elif content_type == "application/x-ndjson":
        for line in data.splitlines():
            schemas.check(json.loads(line), schema["schema"])
