"""The subset of JSON Schema that answers are compared with."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.gateway.chat.json_schema import TooComplex, fits

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}}, "required": ["value"]}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, -3, 2.0], [1.5, True, "1", None]),
        ({"type": "number"}, [1, 1.5], [False, "1"]),
        ({"type": ["string", "null"]}, ["", None], [0, []]),
        ({"type": "boolean"}, [True, False], [1, 0]),
        ({"enum": ["a", 1]}, ["a", 1], ["b", True]),
        ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": [2]}]),
        ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9, "any"], [0, 3]),
        ({"exclusiveMinimum": 1, "maximum": 3}, [1.1, 3], [1, 4]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "abc", 7], ["a", "abcd"]),
        ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "any"], [[], [1, 2, 3]]),
        ({"items": {"type": "string"}}, [[], ["a"], "any"], [["a", 1]]),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, [["a", 1]], [[1, 1], ["a", "b"]]),
        ({"properties": {"a": {"type": "string"}}}, [{}, {"a": ""}, {"b": 1}, "any"], [{"a": 1}]),
        ({"additionalProperties": {"type": "string"}}, [{"a": ""}], [{"a": 1}]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}], [{"a": 1, "b": 1}]),
        ({"required": ["a"]}, [{"a": None}, "any"], [{}]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["", None], [1]),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, ["", None], [1]),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, ["a"], ["", 1]),
        (TREE, [{"value": 1, "left": {"value": 2}}], [{"value": 1, "left": {}}, {}]),
        (True, [1, None], []),
        (False, [], [1, None]),
    ],
)
def test_a_value_fits_as_json_schema_has_it(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert [fits(value, schema) for value in good] == [True] * len(good)
    assert [fits(value, schema) for value in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a+)+$"},
        {"format": "date"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"type": "decimal"},
        {"patternProperties": {"a": {}}, "additionalProperties": False},
        {"properties": 7, "required": "a", "items": None, "enum": "x", "anyOf": {}, "minimum": "1"},
        "no schema",
    ],
)
def test_what_is_not_understood_allows_everything(schema: Any) -> None:
    """No address is fetched and no expression of a client runs."""
    for value in ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", {"a": [1]}, 5):
        assert fits(value, schema)


DOUBLING = {"$defs": {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(40)}}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"$ref": "#"}),
        (1, DOUBLING | {"$ref": "#/$defs/d0"}),
        (list(range(10_000)), {"items": {"enum": ["x"] * 100, "type": "string"}, "allOf": [{"items": {}}]}),
        ([{}] * 3_000, {"items": {"required": [1] * 1000}}),
    ],
    ids=["endless reference", "doubling references", "many values", "long lists"],
)
def test_a_comparison_without_an_end_is_given_up(value: Any, schema: Any) -> None:
    """The schema is the client's, and all other requests wait meanwhile."""
    began = time.process_time()
    with pytest.raises(TooComplex):
        fits(value, schema)
    assert time.process_time() - began < 0.2
