"""The part of SARIF 2.1.0 that is written here, as a JSON Schema of our own wording.

From the OASIS standard, section by section; stricter than it: what is not used is not allowed, and
what the prose demands of ``kind`` and ``level`` (3.27.9, 3.27.10) is demanded.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _closed(required: Schema, **optional: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


TEXT: Schema = {"type": "string", "minLength": 1}
BAG: Schema = {"type": "object"}
MESSAGE = _closed({"text": TEXT})  # 3.11, 3.12
LEVEL: Schema = {"enum": ["none", "note", "warning", "error"]}
RULE = _closed(  # 3.49
    {"id": {"type": "string", "pattern": r"^[a-z]+\.[a-z-]+$"}, "shortDescription": MESSAGE, "help": MESSAGE},
    fullDescription=MESSAGE,
    defaultConfiguration=_closed({"level": LEVEL}),  # 3.50
    properties=_closed({"tags": _list(TEXT, 1)}),
)
DRIVER = _closed({"name": TEXT, "version": TEXT, "rules": _list(RULE, 1)})  # 3.19
NOTIFICATION = _closed(  # 3.58
    {"level": LEVEL, "message": MESSAGE, "associatedRule": _closed({"id": TEXT})}
)
INVOCATION = _closed(  # 3.20
    {"executionSuccessful": {"type": "boolean"}, "toolExecutionNotifications": _list(NOTIFICATION)}
)
ARTIFACT = _closed(  # 3.24
    {
        "location": _closed({"uri": TEXT}),
        "length": {"type": "integer", "minimum": 0},
        "roles": {"const": ["analysisTarget"]},
        "mimeType": {"type": "string", "pattern": "^[^/]+/.+$"},
        "hashes": _closed({"sha-256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}),
    }
)
PLACE = _closed(  # 3.28, 3.29, 3.33
    {
        "physicalLocation": _closed(
            {
                "artifactLocation": _closed({"uri": TEXT, "index": {"const": 0}}),
                "region": _closed({"startLine": {"type": "integer", "minimum": 1}}),
            }
        ),
        "logicalLocations": _list(_closed({"fullyQualifiedName": TEXT, "kind": TEXT}), 1),
    }
)
MARKS: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
RESULT: Schema = {  # 3.27
    **_closed(
        {
            "ruleId": TEXT,
            "kind": {"enum": ["pass", "fail", "open", "notApplicable"]},
            "level": LEVEL,
            "message": MESSAGE,
            "locations": _list(PLACE, 1),
            "fingerprints": MARKS,
            "partialFingerprints": MARKS,
        },
        properties=BAG,
    ),
    "if": {"properties": {"kind": {"const": "fail"}}},
    "then": {"properties": {"level": {"enum": ["note", "warning", "error"]}}},
    "else": {"properties": {"level": {"const": "none"}}},
}
RUN = _closed(  # 3.14
    {
        "tool": _closed({"driver": DRIVER}),  # 3.18
        "automationDetails": _closed({"id": TEXT}),  # 3.17
        "invocations": _list(INVOCATION, 1),
        "artifacts": _list(ARTIFACT, 1),
        "results": _list(RESULT),
    },
    properties=BAG,
)
SARIF = _closed(  # 3.13
    {"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": _list(RUN, 1)},
)
