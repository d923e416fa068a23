"""Certificates that tests make for themselves."""

import atexit
import os
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import trustme


class Authority:
    """Someone who issues certificates; everything is a file, as users have it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))
        self._count = 0

    def issue(self, *names: str, expired: bool = False, common_name: str | None = None) -> Path:
        """Issue a certificate; the file holds its key, the certificate and its chain."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        since = datetime.now(UTC) - timedelta(days=9) if expired else None
        made = self._ca.issue_cert(
            *names, not_before=since, not_after=until, common_name=common_name
        )
        self._count += 1
        path = self._folder / f"{self._name}-{self._count}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path


class Papers:
    """What a test of TLS needs."""

    def __init__(self) -> None:
        folder = Path(mkdtemp(prefix="mcpcore-tls-"))
        self.folder = folder
        self.trusted, self.foreign = Authority(folder, "trusted"), Authority(folder, "foreign")
        self.server = self.trusted.issue("localhost", "127.0.0.1")
        self.elsewhere = self.trusted.issue("elsewhere.example")
        self.expired = self.trusted.issue("localhost", "127.0.0.1", expired=True)
        self.untrusted = self.foreign.issue("localhost", "127.0.0.1")
        self.client = self.trusted.issue("client@example.com")
        self.foreign_client = self.foreign.issue("client@example.com")


@cache
def papers() -> Papers:
    """The same for all tests of a run: keys take time to make.  Gone with the process."""
    made = Papers()
    atexit.register(_remove, made.folder, os.getpid())
    return made


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
