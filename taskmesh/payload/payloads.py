"""Large values, put aside below the run that they belong to.

``NAMESPACE/SHARD/RUN/NAME`` below the URL of the settings. RUN is the id of the run in Base32 and NAME a random number,
so nothing that a user wrote is part of a path, and no name is ever used twice: what is there is never overwritten.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from taskmesh.errors import PayloadError, PayloadUnavailableError, UsageError
from taskmesh.redaction import redact_url
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import DIGEST_BYTES, NAME_BYTES, ClaimCheck, pack_check, read_check

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SHARDS = "0123456789abcdef"
"""Runs are spread over so many directories, so that no list of them grows without bound."""

OWNER = "owner"
"""The name of the object that says to which installation a namespace belongs."""

SAID_LENGTH = 300


class Payloads:
    """A place for the large values of one namespace. Every call blocks; safe in threads."""

    def __init__(self, objects: ObjectStore, url: str, namespace: str, max_bytes: int) -> None:
        """``max_bytes`` is the most that is read into memory at once."""
        self._objects = objects
        self._namespace = namespace
        self.place = f"{redact_url(url).rstrip('/')}/{namespace}"
        self.max_bytes = max_bytes

    def put(self, run_id: str, packed: bytes) -> bytes:
        """Put a packed value of a run aside; returns what stands for it.

        :raises PayloadUnavailableError: that was not possible.
        """
        import obstore

        check = ClaimCheck(secrets.token_bytes(NAME_BYTES), len(packed), _digest(packed))
        with self._using():
            obstore.put(self._objects, self._path(run_id, check), packed)
            self._make_durable(self._path(run_id, check))
        return pack_check(check)

    def value(self, run_id: str, packed: bytes) -> Any:
        """The value of what is stored of a run, wherever it is.

        :raises PayloadError: it was put aside, and is not there, or is damaged.
        :raises PayloadUnavailableError: it cannot be fetched. :raises WireError: it cannot be read.
        """
        check = read_check(packed)
        return unpack(packed) if check is None else unpack(self.get(run_id, check), self.max_bytes)

    def get(self, run_id: str, check: ClaimCheck) -> bytes:
        """What was put aside; errors as of ``value``."""
        import obstore

        if check.size > self.max_bytes:
            raise PayloadError(f"{self._what(run_id, check)} is too large: payload.max_bytes allows {self.max_bytes}")
        with self._using(run_id, check):
            found = obstore.get(self._objects, self._path(run_id, check))
            # Known before anything of it is read.
            data = found.bytes().to_bytes() if found.meta["size"] == check.size else b""
        if len(data) != check.size or _digest(data) != check.digest:
            raise PayloadError(f"{self._what(run_id, check)} is not what was put there: it is damaged or was changed")
        return data

    def copy(self, packed: bytes, source: str, target: str) -> bytes:
        """Give a run a value of another one for its own; what is no claim check stays as it is.

        :raises PayloadError: it is not there. :raises PayloadUnavailableError: that was not possible.
        """
        import obstore

        check = read_check(packed)
        if check is None:
            return packed
        own = check._replace(name=secrets.token_bytes(NAME_BYTES))
        with self._using(source, check):
            obstore.copy(self._objects, self._path(source, check), self._path(target, own))
            self._make_durable(self._path(target, own))
        return pack_check(own)

    def runs(self, shard: str) -> list[str]:
        """The ids of the runs that have anything in one of the SHARDS.

        :raises PayloadUnavailableError: that cannot be known now.
        """
        import obstore

        with self._using():
            found = obstore.list_with_delimiter(self._objects, f"{self._namespace}/{shard}")
        run_ids = (_run_id_of(prefix.rsplit("/", 1)[-1]) for prefix in found["common_prefixes"])
        return [run_id for run_id in run_ids if run_id is not None]

    def contents(self, run_id: str) -> list[str]:
        """The paths of all that a run has put aside.

        :raises PayloadUnavailableError: that cannot be known now.
        """
        import obstore

        with self._using():
            pages = obstore.list(self._objects, self._directory(run_id))
            return [each["path"] for page in pages for each in page]

    def remove(self, run_id: str, paths: Sequence[str]) -> None:
        """Remove some of the ``contents`` of a run; again is fine.

        :raises PayloadUnavailableError: not all of it was removed.
        """
        import obstore

        with self._using(), contextlib.suppress(FileNotFoundError):
            if paths:
                obstore.delete(self._objects, paths)

    def claim(self, installation: str) -> None:
        """Make sure that the namespace of this place belongs to one Redis alone.

        Whatever that Redis does not know is removed here, so two of them would remove the outputs of each other.

        :raises UsageError: it belongs to another one. :raises PayloadUnavailableError: that cannot be known now.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        path = f"{self._namespace}/{OWNER}"
        with self._using(), contextlib.suppress(AlreadyExistsError):
            obstore.put(self._objects, path, installation.encode(), mode="create")
        with self._using():
            owner = obstore.get(self._objects, path).bytes().to_bytes().decode(errors="replace")
        if owner != installation:
            raise UsageError(
                f"{self.place} belongs to another installation ({owner[:80]!r}, not {installation!r}): give this one "
                "another payload.url or namespace; where its Redis or store.partitions was replaced for good, remove "
                f"what is in there, {OWNER} included"
            )

    def _make_durable(self, path: str) -> None:
        """Object stores have it when they have said so."""

    def _directory(self, run_id: str) -> str:
        encoded = base64.b32encode(run_id.encode()).decode().rstrip("=").lower()
        return f"{self._namespace}/{_shard_of(run_id)}/{encoded}"

    def _path(self, run_id: str, check: ClaimCheck) -> str:
        return f"{self._directory(run_id)}/{check.name.hex()}"

    def _what(self, run_id: str, check: ClaimCheck) -> str:
        return f"a value of run {run_id!r} ({check.size} bytes, {check.name.hex()} in {self.place})"

    @contextlib.contextmanager
    def _using(self, run_id: str = "", check: ClaimCheck | None = None) -> Iterator[None]:
        """Make the library's errors ours."""
        from obstore.exceptions import BaseError

        if _first_user() != os.getpid():
            raise PayloadUnavailableError(
                f"{self.place} cannot be used: this process was forked from one that had used it, and would wait for "
                "threads that only that one has; fork before, or start processes anew (spawn)"
            )
        try:
            yield
        except FileNotFoundError as error:
            if check is None:
                raise PayloadUnavailableError(self._unavailable(error)) from None
            raise PayloadError(
                f"{self._what(run_id, check)} is not there any more; was it removed by hand, or is payload.url another "
                "one than when it was put there?"
            ) from None
        except (BaseError, OSError) as error:
            raise PayloadUnavailableError(self._unavailable(error)) from None

    def _unavailable(self, error: Exception) -> str:
        said = " ".join(str(error).split("\n")[0].split())[:SAID_LENGTH]
        return f"{self.place} cannot be used ({said}); check payload.url, and what this process may do there"


@cache
def _first_user() -> int:
    """The process that used the library first: the threads that do its work are not there after a fork."""
    return os.getpid()


def _shard_of(run_id: str) -> str:
    return hashlib.blake2b(run_id.encode(), digest_size=1).hexdigest()[0]


def _run_id_of(encoded: str) -> str | None:
    """The run that a directory belongs to; None for one that is not ours."""
    try:
        return base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8)).decode()
    except (binascii.Error, ValueError):
        return None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
