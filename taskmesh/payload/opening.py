"""From the settings to a place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taskmesh.config.settings import Settings
from taskmesh.errors import PayloadUnavailableError, UsageError
from taskmesh.payload.directory import DirectoryPayloads
from taskmesh.payload.payloads import Payloads

ANSWER_SECONDS = 300
"""How long the whole of a large answer may take."""

RETRY_SECONDS = 60
"""How long the library tries again what an object store does not answer, or refuses for a while."""


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """Where large values are put aside; an empty ``url`` is nowhere.

    Those are meant that have at least ``threshold_bytes``, 0 = none any more, and at most ``max_bytes``.
    """

    url: str = ""
    namespace: str = ""
    threshold_bytes: int = 0
    max_bytes: int = 0


def payload_settings(settings: Settings) -> PayloadSettings:
    """Where large values are put aside."""
    section, url = settings.payload, settings.payload.url or ""
    directory = Path(settings.embedded.directory).absolute() / "payload"
    # What was put there stays readable when nothing more is put there.
    if not url and settings.is_embedded and (section.claim_check_bytes or directory.exists()):
        url = directory.as_uri()
    return PayloadSettings(url, settings.namespace, section.claim_check_bytes, section.max_bytes)


def open_payloads(settings: PayloadSettings) -> Payloads | None:
    """The place that the settings name; None where they name none.

    :raises UsageError: the library is not installed, or the URL names no place.
    :raises PayloadUnavailableError: the directory cannot be made.
    """
    if not settings.url:
        return None
    if find_spec("obstore") is None:
        raise UsageError(
            "large values are to be put aside (payload.url, payload.claim_check_bytes), for which obstore is not "
            "installed: pip install 'taskmesh[blob]'"
        )
    named = settings.url, settings.namespace, settings.max_bytes
    return _directory(*named) if settings.url.startswith("file:") else _objects(*named)


def _directory(url: str, namespace: str, max_bytes: int) -> Payloads:
    root = Path(unquote(urlsplit(url).path))
    try:
        # Outputs may be nobody else's business.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PayloadUnavailableError(f"the directory of payload.url, {root}, cannot be made: {error}") from None
    return DirectoryPayloads(root, url, namespace, max_bytes)


def _objects(url: str, namespace: str, max_bytes: int) -> Payloads:
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        objects = S3Store.from_url(
            url,
            # Whether an endpoint is plain HTTP is said by its own URL.
            client_options={"timeout": f"{ANSWER_SECONDS}s", "allow_http": True},
            retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        )
    except (BaseError, ValueError) as error:
        raise UsageError(f"payload.url names no place: {str(error).splitlines()[0]}") from None
    return Payloads(objects, url, namespace, max_bytes)
