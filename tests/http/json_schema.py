"""A validator for the part of JSON Schema (2020-12) that our document uses; anything else in it is an error."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_ANNOTATIONS = {
    "title",
    "description",
    "default",
    "format",
    "contentMediaType",
    "contentEncoding",
    "example",
    "examples",
}


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follows a reference, if it is one."""
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str = "$") -> Iterator[str]:
    """Yields one sentence for each way in which `value` is not what `schema` says."""
    schema = resolve(document, schema)
    for keyword, given in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        check = _CHECKS.get(keyword)
        assert check is not None, f"The validator does not know {keyword!r}."
        for fault in check(document, schema, given, value):
            yield f"{where}: {fault}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in value.keys() & properties.keys():
            yield from faults(document, properties[name], value[name], f"{where}.{name}")
        if isinstance(others := schema.get("additionalProperties"), dict):
            for name in value.keys() - properties.keys():
                yield from faults(document, others, value[name], f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from faults(document, schema["items"], item, f"{where}[{number}]")


def _type(_: Any, __: Any, given: str, value: Any) -> Iterator[str]:
    is_bool = isinstance(value, bool) and given != "boolean"
    if is_bool or not isinstance(value, _TYPES[given]):
        yield f"{value!r} is no {given}"


def _required(_: Any, __: Any, given: list[str], value: Any) -> Iterator[str]:
    if isinstance(value, dict) and (missing := set(given) - value.keys()):
        yield f"lacks {sorted(missing)}"


def _additional(_: Any, schema: dict[str, Any], given: Any, value: Any) -> Iterator[str]:
    if given is False and isinstance(value, dict) and (extra := value.keys() - schema.get("properties", {}).keys()):
        yield f"has {sorted(extra)} beyond the schema"


def _any_of(document: Any, _: Any, given: list[Any], value: Any) -> Iterator[str]:
    if all(any(faults(document, option, value)) for option in given):
        yield f"{value!r} fits no option"


def _enum(_: Any, __: Any, given: list[Any], value: Any) -> Iterator[str]:
    if value not in given:
        yield f"{value!r} is none of {given}"


def _limit(_: Any, schema: dict[str, Any], __: Any, value: Any) -> Iterator[str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
        if not low <= value <= high or value <= schema.get("exclusiveMinimum", float("-inf")):
            yield f"{value} is out of range"


def _length(_: Any, schema: dict[str, Any], __: Any, value: Any) -> Iterator[str]:
    if isinstance(value, list) and not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
        yield f"{len(value)} items"
    if isinstance(value, dict) and len(value) < schema.get("minProperties", 0):
        yield f"{len(value)} properties"


def _pattern(_: Any, __: Any, given: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and not re.search(given, value):
        yield f"{value!r} does not match {given}"


def _elsewhere(*_: Any) -> Iterator[str]:
    yield from ()


_CHECKS: dict[str, Any] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _additional,
    "anyOf": _any_of,
    "enum": _enum,
    "const": lambda document, schema, given, value: _enum(document, schema, [given], value),
    "minimum": _limit,
    "maximum": _limit,
    "exclusiveMinimum": _limit,
    "minItems": _length,
    "maxItems": _length,
    "minProperties": _length,
    "pattern": _pattern,
    "properties": _elsewhere,
    "items": _elsewhere,
}
