"""The JSON Schema of a recipe, for editors: pydantic's of the model, and the short forms that the model reads besides."""

from collections.abc import Iterator
from typing import Any

from ratchet.components.recipe import Recipe
from ratchet.components.scaffold.meanings import meanings, sections

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WAYS = ("auto", "text", "number", "date", "ordered", "unordered", "exact", "ignore")


def recipe_schema() -> Schema:
    """Draft 2020-12. What it accepts may still be refused: rules over several keys are the model's alone."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    _with_meanings(schema, definitions)
    for node in list(_nodes(schema)):
        if node.get("discriminator", {}).get("propertyName") == "kind":
            _or_text(node)
        elif "oneOf" in node and "discriminator" not in node:
            node["anyOf"] = node.pop("oneOf")  # a warm-up's keys are in part those of both kinds
    _with_task(schema, definitions)
    definitions["Reward"]["properties"]["formula"] = TEXT
    _short_graders(definitions)
    for name in ("Primary", "Guard"):
        _instead(definitions[name], "grader", "measure")
    definitions["AllOf"]["properties"]["all_of"]["items"] = {"anyOf": [TEXT, {"$ref": "#/$defs/Primary"}]}
    definitions["Compared"] = _compared(definitions["Compared"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_meanings(schema: Schema, definitions: Schema) -> None:
    """An editor shows a key's description where it is written."""
    known = sections()
    for name, definition in [(Recipe.__name__, schema), *definitions.items()]:
        for key, text in meanings(known[name]).items() if name in known else ():
            definition["properties"][key]["description"] = text


def _nodes(value: Any) -> Iterator[Schema]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _nodes(one)


def _or_text(node: Schema) -> None:
    """A source may be a path."""
    forms = {name: node.pop(name) for name in ("discriminator", "oneOf")}
    node["anyOf"] = [TEXT, forms]


def _with_task(schema: Schema, definitions: Schema) -> None:
    """``task`` stands beside ``data``, and has ``response``."""
    definitions["Task"]["properties"]["response"] = {"$ref": "#/$defs/Response"}
    schema["properties"]["task"] = {"anyOf": [{"$ref": "#/$defs/Task"}, {"type": "null"}], "default": None}


def _short_graders(definitions: Schema) -> None:
    """``{file: ...}``, ``{http: URL}`` and ``{openai: ...}`` need no type; a gold of labels may be balanced."""
    definitions["Label"]["properties"]["weights"]["anyOf"].append({"const": "balanced"})
    definitions["UserFunction"]["required"].remove("type")
    for name, short, key in (("Http", "http", "url"), ("OpenAI", "openai", "grader")):
        definitions[name]["required"].remove("type")
        _instead(definitions[name], short, key)


def _instead(definition: Schema, short: str, key: str) -> None:
    """``short`` may stand in place of ``key``."""
    properties, required = definition["properties"], definition.get("required", [])
    properties[short] = properties[key] if key != "measure" else TEXT
    if key in required:
        required.remove(key)
        definition["anyOf"] = [{"required": [key]}, {"required": [short]}]


def _compared(full: Schema) -> Schema:
    """``date``, ``{number: {abs: 0.01}}`` and ``{list: unordered}``."""
    options = {name: {"type": "object"} for name in ("text", "number", "ordered", "unordered", "auto")}
    pair: Schema = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    pair["properties"] = {"list": {"enum": ["ordered", "unordered"]}, **options}
    return {"anyOf": [{"enum": list(WAYS)}, full, pair]}
