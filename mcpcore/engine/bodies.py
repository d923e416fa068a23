"""Split outgoing bodies from their ``_meta``; read the ``_meta`` of params that arrived.

``_meta`` travels beside a body so that the engine can add to it without encoding it twice.  A
body with a ``_meta`` of its own (typed results, bodies that a relay passes on) is split here.

In params, the revision decides which keys of ``_meta`` have a meaning; any other key may hold any
value and never makes a request invalid.  Sources: basic protocol page of each revision (``_meta``);
W3C Trace Context, "Processing Model": a receiver that cannot parse ``traceparent`` ignores it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from mcpcore.spec import errors
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types import base
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.jsontext import Body, Members, joined, to_json

Meta = Mapping[str, Any]
T = TypeVar("T")

_NAMES = ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")
_RESERVED = frozenset([base.META_PROGRESS_TOKEN, *(base.META_PREFIX + name for name in _NAMES)])
_OF_RESULTS = _RESERVED | {base.META_SERVER_INFO, base.META_SUBSCRIPTION_ID}
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_meta = msgspec.json.Decoder(dict[str, Raw] | None).decode
_text_of = msgspec.json.Decoder(str).decode
# One rare byte of each name is looked for first: that takes a tenth of the time.
_UNDERSCORE, _T, _BACKSLASH = b"_T\\"


def take_apart(
    body: Body, meta: Meta | None, *, result: bool = False
) -> tuple[bytes | Members, Meta | None, str | None]:
    """Encode a body without its own ``_meta``, and a result without its ``resultType``.

    Returns the text, or the members that are left, which are joined as they are sent; the ``_meta``
    (``meta`` wins where they differ); and the type.  Raises ValueError or TypeError for a body that
    is no JSON object.
    """
    text: bytes | Raw
    if result and type(body) is Raw:  # it is mostly of a server, and then has them
        text, found = body, True
    else:
        text = to_json(body)
        if type(body) is dict:
            found = "_meta" in body or (result and "resultType" in body)
        else:  # an escape could hide any name
            found = (
                (_UNDERSCORE in text and b'"_meta"' in text)
                or (_BACKSLASH in text and b"\\u" in text)
                or (result and _T in text and b'"resultType"' in text)
            )
    if not found:
        return text, meta, None
    members = _typed(_members_of, text, "the body")
    own = members.pop("_meta", None)
    kind = members.pop("resultType", None) if result else None
    if own is None and kind is None:
        return to_json(text), meta, None
    if own is not None:
        meta = {**_typed(meta_of, own, "_meta"), **(meta or {})}
    return members, meta, None if kind is None else _typed(_text_of, kind, "resultType")


OF_RETRIES = ("inputResponses", "requestState")
"""Params that a retry in an input round adds to those of the request."""


def relayable(params: Raw) -> tuple[Raw, dict[str, Raw]]:
    """Take the params of a received request apart, for sending it on to another server.

    Returns the params without ``_meta`` and without the answers and the state of an input round,
    and the ``_meta`` without the keys that the engine sets.  Every other member stays byte for
    byte, but for line breaks, which become spaces.
    """
    body, meta = relayed(params)
    return Raw(whole(body)), meta


def relayed(params: Raw) -> tuple[Raw | Members, dict[str, Raw]]:
    """Take params apart as :func:`relayable` does; members that are left are not joined yet."""
    members = _members_of(params)
    own = members.pop("_meta", None)
    answers = [members.pop(name, None) for name in OF_RETRIES]
    if own is None and answers == [None, None]:
        return Raw(to_json(params)), {}
    meta = {} if own is None else meta_of(own)
    kept = {key: value for key, value in meta.items() if key not in _RESERVED}
    return members, kept


def meta_of(text: bytes | Raw) -> dict[str, Raw]:
    """Return the members of a ``_meta``; some write null for none.  Raises msgspec.MsgspecError."""
    return _decode_meta(text) or {}


def whole(body: bytes | Raw | Members) -> bytes | Raw:
    """Return a body as one text."""
    return joined(body) if isinstance(body, dict) else body


def members_of(body: bytes | Raw | Members) -> Members:
    """Return the members of a body.  Raises msgspec.MsgspecError."""
    return body if isinstance(body, dict) else _members_of(body)


def text_in(body: bytes | Raw | Members, name: str) -> str | None:
    """Return a member that is a string, None for any other.  Raises msgspec.MsgspecError."""
    member = members_of(body).get(name)
    value = None if member is None else read_member(member)
    return value if isinstance(value, str) else None


def _typed(decode: Callable[[bytes | Raw], T], text: bytes | Raw, what: str) -> T:
    try:
        return decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{what} is malformed: {error}") from None


def becomes_task(body: bytes | Raw | Members) -> bool:
    """Return True if params ask for an experimental task, or a result contains one."""
    return "task" in members_of(body)


def permitted(error: errors.ErrorData, revision: Revision) -> errors.ErrorData:
    """Return the error with a code that ``revision`` has."""
    code, row = error.code, errors.ERRORS.get(error.code)
    if revision in row.revisions if row else (code not in errors.RESERVED or not revision.modern):
        return error
    missing = code == errors.RESOURCE_NOT_FOUND
    code = revision.resource_not_found if missing else errors.INTERNAL_ERROR
    return errors.ErrorData(code, error.message, error.data)


def own_meta(meta: Meta) -> Meta:
    """Return the ``_meta`` of a result, which a relay may pass on, without keys of the engine."""
    return {key: value for key, value in meta.items() if key not in _OF_RESULTS}


def checked_meta(meta: Meta) -> dict[str, Any]:
    """Return the ``_meta`` of a request as a dict.

    Raises LocalProtocolError for keys that only the engine sets.
    """
    for key in meta:
        if key in _RESERVED:
            raise errors.LocalProtocolError(f"_meta key {key!r} is set by the engine")
    return dict(meta)


# Params that arrived

NO_META = base.RequestMeta()
_NAMES_TERMS = base.RequestMeta(protocol_version="")


class _AnyMeta(Struct):
    meta: Maybe[dict[str, Raw]] = field(default=None, name="_meta")


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""Exceptions that reading params may raise."""

decode_skim = msgspec.json.Decoder(base.Skim).decode
"""Decodes the members of params that the engine needs, as strictly as any era asks for."""
_decode_loose = msgspec.json.Decoder(_AnyMeta).decode
_decode_any = msgspec.json.Decoder().decode


def read_member(member: Raw) -> Any:
    """Return the value of a member, or the Raw itself for a number that Python cannot read.

    JSON sets no limit to numbers: 1e999 is valid, and so is an integer of 5000 digits.
    """
    try:
        return _decode_any(member)
    except msgspec.MsgspecError:
        return member


def check_meta(params: Raw) -> None:
    """Raise msgspec.MsgspecError for params of a notification with a ``_meta`` of another type."""
    _decode_loose(params)


def read_skim(params: Raw, is_modern: Callable[[base.RequestMeta], bool]) -> base.Skim:
    """Decode a request's params without the keys of ``_meta`` that have no meaning in its era.

    ``is_modern`` tells the era from the named keys.  Raises one of :data:`UNREADABLE`.
    """
    try:
        return decode_skim(params)
    except msgspec.ValidationError:
        meta = _decode_loose(params).meta
        if meta is None:
            raise
    kept = {
        key: value
        for key, value in meta.items()
        if key not in base.TRACE_KEYS or bytes(value).startswith(b'"')
    }
    names_terms = base.META_PROTOCOL_VERSION in meta or base.META_CLIENT_CAPABILITIES in meta
    if not is_modern(_NAMES_TERMS if names_terms else NO_META):
        known = {base.META_PROGRESS_TOKEN, *base.TRACE_KEYS}
        kept = {key: value for key, value in kept.items() if key in known}
    return decode_skim(to_json({**_members_of(params), "_meta": kept}))
