"""The OpenAPI file and the server, held together."""

import json
import re

import jsonschema
from edgesynth_agent.api import ApiHandler

from tests.agent import api
from tests.agent.schemas import SCHEMAS


def test_it_is_openapi():
    document = api.openapi()
    assert document["openapi"].startswith("3.1.")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for _, _, operation in api.operations()]
    assert len(ids) == len(set(ids))


def test_every_route_is_in_the_file_and_nothing_else():
    routes = {(route.method, route.path) for route in ApiHandler.routes}
    assert routes == {(method, path) for method, path, _ in api.operations()}


def test_so_are_the_parameters():
    queries = {(route.method, route.path): set(route.query) for route in ApiHandler.routes}
    for method, path, operation in api.operations():
        parameters = operation.get("parameters", [])
        assert {entry["name"] for entry in parameters if entry["in"] == "query"} == queries[method, path]
        named = {entry["name"] for entry in api.openapi()["paths"][path].get("parameters", [])}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_every_reference_leads_somewhere():
    text = (SCHEMAS / "openapi.json").read_text()
    assert '"$ref"' in text
    assert '"$ref"' not in json.dumps(api.openapi())
