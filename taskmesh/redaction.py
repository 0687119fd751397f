"""Takes secrets out of text that people or log files will see."""

from __future__ import annotations

import re

MASK = "***"

# Greedy up to the last "@" of the word: a password may itself hold one, or a slash that nobody escaped.
_CREDENTIALS = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:@/'"<>]*):[^\s'"<>]*@""")
_PARAMETERS = re.compile(r"""([?&](?:sentinel_)?(?:password|passwd|token|secret)=)[^\s&'"<>]+""", re.IGNORECASE)


def redact_url(url: str) -> str:
    """The URL with its password masked: ``amqp://me:secret@host`` becomes ``amqp://me:***@host``."""
    return redact(url)


def redact(text: str) -> str:
    """The text with the password of every URL in it masked."""
    if "://" not in text:
        return text
    return _PARAMETERS.sub(rf"\1{MASK}", _CREDENTIALS.sub(rf"\1:{MASK}@", text))
