"""What a node of type http can be told."""

from __future__ import annotations

from typing import Any

CONNECTION_HEADERS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how a request is sent; another value than the true one would mean another request to somebody."""

# \A and \Z rather than ^ and $: that last one would let a line feed at the end through.
HTTP_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "minLength": 1, "description": "Whom to ask for what: http://... or https://..."},
        "method": {
            "enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
            "default": "GET",
            "description": "The method of the request.",
        },
        "headers": {
            "type": "object",
            "maxProperties": 100,
            "propertyNames": {"pattern": r"\A[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}\Z"},
            "additionalProperties": {"type": "string", "maxLength": 8192, "pattern": r"\A[ -~]*\Z"},
            "description": "Headers by name; visible ASCII on one line each.",
        },
        "json": {"description": "The body, sent as JSON."},
        "body": {"type": "string", "description": "The body as text, sent in UTF-8."},
        "expect": {
            "type": "array",
            "items": {"type": "integer", "minimum": 200, "maximum": 599},
            "minItems": 1,
            "description": "With any other status the node fails; default: any from 200 to 299.",
        },
        "follow_redirects": {
            "type": "integer",
            "minimum": 0,
            "maximum": 10,
            "default": 0,
            "description": "How many redirects are followed, one after another; each is checked like a URL of its own.",
        },
        "seconds": {"type": "number", "exclusiveMinimum": 0, "description": "Less time than the settings allow."},
        "max_bytes": {"type": "integer", "minimum": 1, "description": "Fewer bytes than the settings allow."},
    },
    "required": ["url"],
    "additionalProperties": False,
}
