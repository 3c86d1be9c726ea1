"""The OpenAPI document shows an example of everything, and none that the service would not say or take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app import schemas
from app.main import create_app
from app.settings import Settings


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(home=tmp_path_factory.mktemp("home"))).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_answer_in_words_has_an_example(document: dict[str, Any]) -> None:
    missing = [
        f"{name}: {status} {media_type}"
        for name, operation in operations(document).items()
        for status, response in operation["responses"].items()
        for media_type, content in response.get("content", {}).items()
        if not media_type.startswith(("image/", "application/openmetrics"))
        and not {"example", "examples"} & content.keys()
    ]
    assert missing == []


def test_every_parameter_and_body_has_an_example(document: dict[str, Any]) -> None:
    found = operations(document).items()
    missing = [
        f"{name}: {parameter['name']}"
        for name, operation in found
        for parameter in operation.get("parameters", ())
        if "example" not in parameter
    ]
    assert missing == []
    assert [name for name, operation in found if "requestBody" in operation] == ["post /generate"]
    assert document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["examples"]


def test_the_examples_are_what_the_schemas_say(document: dict[str, Any]) -> None:
    models: dict[str, type[BaseModel]] = {
        kind.__name__: kind
        for kind in (schemas.Job, schemas.JobPage, schemas.ModelDescription, schemas.Health, schemas.Problem)
    }
    checked = 0
    for operation in operations(document).values():
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                reference = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                values = [content["example"]] if "example" in content else []
                values += [example["value"] for example in content.get("examples", {}).values() if reference]
                for value in values if reference else ():
                    models[reference].model_validate(value)
                    checked += 1
    assert checked > 40
    bodies = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for body in bodies.values():
        schemas.GenerateBody.model_validate(body["value"])


def test_every_answer_is_described_with_its_codes(document: dict[str, Any], tmp_path: Path) -> None:
    for name, operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if int(status) >= 400:
                examples = response["content"]["application/problem+json"]["examples"]
                assert all(example["value"]["status"] == int(status) for example in examples.values())
                assert all(code in response["description"] for code in examples)
    limited = document["paths"]["/generate"]["post"]["responses"]["429"]
    assert limited["headers"]["Retry-After"]["schema"] == {"type": "integer"}
