"""JSON Schema of recipe files, for editors that check one while it is written."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from favonius.recipe.model import Recipe
from favonius.recipe.rounds import Rounds

PARAMETER = {"type": "string", "pattern": r"^\$", "description": "A parameter, or in rounds $round or $student."}


class _Schema(GenerateJsonSchema):
    """A number or a switch may also be written as `$name`."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return _or_parameter(super().int_schema(schema))

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return _or_parameter(super().float_schema(schema))

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return _or_parameter(super().bool_schema(schema))


def json_schema() -> dict[str, Any]:
    """Of what a recipe may look like in its file: a model may be its source alone, a step may be a block of rounds."""
    schema = Recipe.model_json_schema(schema_generator=_Schema)
    rounds = Rounds.model_json_schema(schema_generator=_Schema)
    schema["properties"]["models"]["additionalProperties"] = {
        "anyOf": [{"type": "string", "description": "The model's source."}, {"$ref": "#/$defs/ModelConfig"}]
    }
    named = schema["properties"]["steps"]["patternProperties"]
    for name, step in named.items():
        rounds["properties"]["steps"]["patternProperties"] = {name: step}
        named[name] = {"anyOf": [step, {"$ref": "#/$defs/Rounds"}]}
    schema["$defs"]["Rounds"] = rounds
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _or_parameter(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [schema, PARAMETER]}
