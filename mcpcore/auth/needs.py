"""Needs of an authorization, which the application carries out, and their outcomes.

No representation of them shows a token, a code or a secret.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from mcpcore.auth.grants import SigningInput, SigningKey
from mcpcore.auth.metadata import MAX_DOCUMENT, printable
from mcpcore.errors import AuthorizationError, LocalProtocolError
from mcpcore.wire.redaction import HIDDEN, Discreet, shown_target


class Fetch(Discreet, frozen=True, kw_only=True):
    """Send a request, without cookies and without following redirects.

    Outcome: :class:`Fetched`, or :class:`NeedFailed`.  ``url`` has passed the policy for texts; the
    addresses that its host resolves to have not.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout: float
    limit: int = MAX_DOCUMENT

    def __shown__(self) -> Mapping[str, object]:
        return {"url": shown_target(self.url), "headers": HIDDEN, "body": HIDDEN}


class OpenUrl(Discreet, frozen=True, kw_only=True):
    """Send the user to a URL.  Outcome: :class:`Callback`, or :class:`NeedFailed`.

    ``redirect_uri``: where the answer arrives, with this ``state``.
    """

    url: str
    redirect_uri: str
    state: str
    timeout: float

    def __shown__(self) -> Mapping[str, object]:
        return {"url": shown_target(self.url), "state": HIDDEN}


class Listen(Struct, frozen=True, kw_only=True):
    """Open the place of the callback.  Outcome: :class:`Text`, its URL with the port in it.

    ``patient``: True for a port that another sign-in of this process is to be waited for.
    """

    redirect_uri: str
    patient: bool = False


class Load(Struct, frozen=True, kw_only=True):
    """Load a record.  Outcome: :class:`Stored`, or :class:`NeedFailed`."""

    key: str


class Save(Discreet, frozen=True, kw_only=True):
    """Save a record, or remove it (None), unless another one is there meanwhile.

    Outcome: :class:`Stored` with what is stored now, or :class:`NeedFailed`.
    """

    key: str
    record: bytes | None
    version: int
    """Version that is to be replaced; 0: none."""

    def __shown__(self) -> Mapping[str, object]:
        return {"record": HIDDEN}


class Lock(Struct, frozen=True, kw_only=True):
    """Take the lock of a key, which other processes respect.

    Outcome: :class:`Done`, or :class:`NeedFailed`; one that comes after a cancellation is released
    by the application.
    """

    key: str


class Unlock(Struct, frozen=True, kw_only=True):
    """Release the lock of a key.  Outcome: :class:`Done`."""

    key: str


class Sign(Struct, frozen=True, kw_only=True):
    """Sign a JWT.  Outcome: :class:`Signed`, or :class:`NeedFailed`."""

    signing: SigningKey
    input: SigningInput


class Obtain(Struct, frozen=True, kw_only=True):
    """Ask the application for an assertion.  Outcome: :class:`Text`, or :class:`NeedFailed`.

    ``audience``: the issuer that it is for.
    """

    audience: str


Need = Fetch | OpenUrl | Listen | Load | Save | Lock | Unlock | Sign | Obtain


class Fetched(Discreet, frozen=True, kw_only=True):
    """Response to a Fetch; header names are lower-case."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": HIDDEN, "body": HIDDEN}

    @property
    def web_page(self) -> bool:
        """True for a page, by which many sites answer requests for what they do not have."""
        return self.status == 200 and self.body.lstrip().startswith(b"<")

    def header(self, name: str) -> str | None:
        """Return the value of a header that stands once."""
        values = [value for key, value in self.headers if key == name]
        return values[0] if len(values) == 1 else None


class Callback(Discreet, frozen=True):
    """Query of the redirect that came back from the authorization server."""

    query: str

    def __shown__(self) -> Mapping[str, object]:
        return {"query": HIDDEN}


class Stored(Discreet, frozen=True):
    """Record of a store, and its version; None and 0 without one."""

    record: bytes | None = None
    version: int = 0

    def __shown__(self) -> Mapping[str, object]:
        return {"record": HIDDEN}


class Signed(Discreet, frozen=True):
    """Raw signature of a JWT."""

    signature: bytes

    def __shown__(self) -> Mapping[str, object]:
        return {"signature": HIDDEN}


class Text(Discreet, frozen=True):
    """Text that was asked for."""

    text: str

    def __shown__(self) -> Mapping[str, object]:
        return {"text": HIDDEN}


class Done(Struct, frozen=True):
    """Success of what has no other outcome."""


class NeedFailed(Struct, frozen=True):
    """Failure; ``reason`` is a part of a sentence for the user, without secrets."""

    reason: str


Outcome = Fetched | Callback | Stored | Signed | Text | Done | NeedFailed

T = TypeVar("T")
O = TypeVar("O", bound=Outcome)  # noqa: E741 - an outcome

Steps = Generator[Need, Outcome, T]
"""Steps of an authorization that end with a T."""


def expect(outcome: Outcome, kind: type[O], about: str = "") -> O:
    """Return an outcome of the kind that was asked for.

    Raises AuthorizationError for a NeedFailed, ``about`` before its reason.
    """
    if isinstance(outcome, kind):
        return outcome
    if isinstance(outcome, NeedFailed):
        raise AuthorizationError(about + printable(outcome.reason))
    raise LocalProtocolError(f"a {type(outcome).__name__} is no outcome of the need")
