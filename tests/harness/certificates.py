"""Certificates of an authority of our own, made by the openssl command when they are needed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "IP:127.0.0.1,DNS:localhost"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def has_openssl() -> bool:
    return shutil.which("openssl") is not None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate and its key."""

    path: Path
    key: Path


class Authority:
    """Signs the certificates of servers; its files are in a directory of the caller."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self.certificate = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
        files = ["-keyout", self.certificate.key, "-out", self.certificate.path]
        _openssl("req", "-x509", *_CURVE, "-days", "2", "-subj", f"/CN={name}", *files)

    def sign(self, name: str, names: str = LOOPBACK, days: int = 2) -> Certificate:
        """A certificate for ``names``, as OpenSSL writes them; one of -1 day has expired yesterday."""
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_CURVE, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        by = ["-CA", self.certificate.path, "-CAkey", self.certificate.key, "-CAcreateserial"]
        _openssl("x509", "-req", "-in", request, *by, "-days", str(days), "-extfile", extensions, "-out", made.path)
        return made


def _openssl(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {words[0]} failed:\n{done.stderr}"
