"""
Reads the OpenAPI document, writes it with the descriptions where the generator looks for them.

A field that may be null is `oneOf: [{$ref, description}, {type: null}]`, as OpenAPI 3.1 allows; the
generator reads no description beside a `$ref`.
"""

import json
import sys


def lift(schema: object) -> None:
    """Move them up, throughout."""
    if isinstance(schema, list):
        for one in schema:
            lift(one)
    elif isinstance(schema, dict):
        for one in schema.get("oneOf", ()):
            if "$ref" in one and "description" in one and {"type": "null"} in schema["oneOf"]:
                schema["description"] = one.pop("description")
        lift(list(schema.values()))


if __name__ == "__main__":
    document = json.load(sys.stdin)
    lift(document["components"]["schemas"])
    json.dump(document, sys.stdout)
