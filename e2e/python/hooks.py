"""How schemathesis looks at a group that has to go on, and what JSON Schema cannot say of the contract."""

import json

import schemathesis

# Operations that would change the membership or let go of what others look at: they only tell what they would do.
PLANNED = {"beginChange", "cancelChange", "releaseSnapshot"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            if operation["operationId"] in PLANNED:
                kept = [one for one in operation["parameters"] if one.get("name") != "dry_run"]
                operation["parameters"] = kept
            # A body of many items is made of them.
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "itemSchema" in content:
                    content["schema"] = {"type": "array", "minItems": 1, "items": content["itemSchema"]}


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.definition.raw["operationId"] in PLANNED:
        case.query = {**(case.query or {}), "dry_run": "true"}
    # A follow by events goes on for a minute.
    if (case.query or {}).get("live") == "sse":
        case.query["live"] = "long-poll"
    if not is_positive(case):
        return
    headers = case.headers or {}
    # A live read says from where; an append of nothing closes; a stream has one end at most.
    if (case.query or {}).get("live"):
        case.query.setdefault("offset", "-1")
    if case.operation.definition.raw["operationId"] == "appendToStream" and not kwargs.get("data"):
        case.headers = headers = {**headers, "stream-closed": "true"}
    if "stream-ttl" in headers:
        headers.pop("stream-expires-at", None)
    # Headers that contradict each other, or come together.
    if case.method not in ("GET", "HEAD") and "if-match" in headers:
        headers.pop("if-none-match", None)
    # What covers all forms of a text forgets that quotes belong to this one.
    if headers.get("if-match", "").isdecimal():
        headers["if-match"] = f'"{headers["if-match"]}"'
    # A tag says which log is meant.
    if headers.get("if-match", "").startswith('"AQ'):
        headers.pop("quorate-log-id", None)
    producer = ("producer-id", "producer-epoch", "producer-seq")
    if any(name not in headers for name in producer):
        for name in producer:
            headers.pop(name, None)
    # Whole numbers are written as such.
    if isinstance(case.body, (dict, list)):
        case.body = whole(case.body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole(member) for member in value]
    return value


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    if isinstance(value, (bytes, str)):
        return value
    return "".join(json.dumps(one) + "\n" for one in (value if isinstance(value, list) else [value]))
