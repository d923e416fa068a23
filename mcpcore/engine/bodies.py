"""Bodies given by the application, without the members that the engine writes itself.

``_meta`` travels beside a body so that the engine can add to it without encoding it twice.  A
body with a ``_meta`` of its own (typed results, bodies that a relay passes on) is split here.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.spec.errors import (
    ERRORS,
    INTERNAL_ERROR,
    RESERVED,
    RESOURCE_NOT_FOUND,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import (
    META_PREFIX,
    META_PROGRESS_TOKEN,
    META_SERVER_INFO,
    META_SUBSCRIPTION_ID,
)
from mcpcore.wire.message import Body, to_json

Meta = Mapping[str, Any]
T = TypeVar("T")

_RESERVED = frozenset(
    [
        META_PROGRESS_TOKEN,
        *(
            META_PREFIX + name
            for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")
        ),
    ]
)
_OF_RESULTS = _RESERVED | {META_SERVER_INFO, META_SUBSCRIPTION_ID}
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
# One rare byte of each name is looked for first: that takes a tenth of the time.
_UNDERSCORE, _T, _BACKSLASH = b"_T\\"


def take_apart(body: Body, meta: Meta | None) -> tuple[bytes, Meta | None]:
    """Encode a body without its own ``_meta``; return both. ``meta`` wins where they differ.

    Raises ValueError or TypeError for a body that is no JSON object.
    """
    text = to_json(body)
    if (type(body) is dict and "_meta" not in body) or not _may_name_meta(text):
        return text, meta
    members = _members(text)
    if "_meta" not in members:
        return text, meta
    return _without_meta(members, meta)


def take_result_apart(body: Body, meta: Meta | None) -> tuple[bytes, Meta | None, str | None]:
    """Encode a result without its own ``_meta`` and ``resultType``; return all three.

    Otherwise like :func:`take_apart`.
    """
    text = to_json(body)
    if type(body) is dict and "_meta" not in body and "resultType" not in body:
        return text, meta, None
    if not _may_name_meta(text) and not (_T in text and b'"resultType"' in text):
        return text, meta, None
    members = _members(text)
    result_type = members.pop("resultType", None)
    if result_type is None and "_meta" not in members:
        return text, meta, None
    text, meta = _without_meta(members, meta)
    return text, meta, None if result_type is None else _typed(_text_of, result_type, "resultType")


def _may_name_meta(text: bytes) -> bool:
    """Return True if a member may be called ``_meta``; an escape could hide any name."""
    if _UNDERSCORE in text and b'"_meta"' in text:
        return True
    return _BACKSLASH in text and b"\\u" in text


def _members(text: bytes) -> dict[str, Raw]:
    return _typed(_members_of, text, "the body")


def _without_meta(members: dict[str, Raw], meta: Meta | None) -> tuple[bytes, Meta | None]:
    own = members.pop("_meta", None)
    if own is not None:
        meta = {**_typed(_members_of, own, "_meta"), **(meta or {})}
    return to_json(members), meta


def _typed(decode: Callable[[bytes | Raw], T], text: bytes | Raw, what: str) -> T:
    try:
        return decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{what} is malformed: {error}") from None


class _TaskSkim(Struct):
    task: Raw | UnsetType = UNSET


_task_of = msgspec.json.Decoder(_TaskSkim).decode


def becomes_task(body: bytes | Raw) -> bool:
    """Return True if params ask for an experimental task, or a result contains one."""
    return _task_of(body).task is not UNSET


def permitted(error: ErrorData, revision: Revision) -> ErrorData:
    """Return the error as ``revision`` may carry it: replace codes that it does not have."""
    row = ERRORS.get(error.code)
    if row is None:
        allowed = error.code not in RESERVED or not revision.modern
    else:
        allowed = revision in row.revisions
    if allowed:
        return error
    code = INTERNAL_ERROR
    if error.code == RESOURCE_NOT_FOUND:
        code = revision.resource_not_found
    return ErrorData(code, error.message, error.data)


def own_meta(meta: Meta) -> Meta:
    """Return the ``_meta`` of a result without the keys that only the engine sets.

    A relay may pass on results that name another server; here only this side may be named.
    """
    if _OF_RESULTS.isdisjoint(meta):
        return meta
    return {key: value for key, value in meta.items() if key not in _OF_RESULTS}


def checked_meta(meta: Meta) -> dict[str, Any]:
    """Return the ``_meta`` of a request as a dict; refuse the keys that the engine sets.

    Raises LocalProtocolError.
    """
    for key in meta:
        if key in _RESERVED:
            raise LocalProtocolError(f"_meta key {key!r} is set by the engine")
    return dict(meta)
