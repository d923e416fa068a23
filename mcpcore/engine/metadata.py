"""``_meta`` of a request, read as strictly as its era asks for and no more.

The revision decides which keys of ``_meta`` have a meaning; any other key may hold any value
and never makes a request invalid.  Sources: basic protocol page of each revision (``_meta``);
W3C Trace Context, "Processing Model": a receiver that cannot parse ``traceparent`` ignores it.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, field
from msgspec.json import Decoder

from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_PROGRESS_TOKEN,
    META_PROTOCOL_VERSION,
    TRACE_KEYS,
    RequestMeta,
    Skim,
)
from mcpcore.spec.types.model import Maybe, Model

NO_META = RequestMeta()
_NAMES_TERMS = RequestMeta(protocol_version="")

IsModern = Callable[[RequestMeta], bool]
"""Function that tells from the named ``_meta`` keys if a request is modern."""


class _Loose(Model, kw_only=True):
    meta: Maybe[dict[str, Raw]] = field(default=None, name="_meta")


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""Exceptions that reading params may raise."""

decode_skim = Decoder(Skim).decode
"""Decodes the members of params that the engine needs, as strictly as any era asks for."""
_decode_loose = Decoder(_Loose).decode
_decode_rest = Decoder(dict[str, Raw]).decode
_decode_any = Decoder().decode
_encode = msgspec.json.Encoder().encode


def read_member(member: Raw) -> Any:
    """Return the value of a member, or the Raw itself for a number that Python cannot read.

    JSON sets no limit to numbers: 1e999 is valid, and so is an integer of 5000 digits.
    """
    try:
        return _decode_any(member)
    except msgspec.MsgspecError:
        return member


def read_skim(params: Raw, is_modern: IsModern) -> Skim:
    """Decode a request's params only as strictly as its era asks for.

    Raises one of :data:`UNREADABLE` for params that the era does not allow.
    """
    try:
        return decode_skim(params)
    except msgspec.ValidationError:
        tolerable = _tolerable(params, is_modern)
        if tolerable is None:
            raise
        return decode_skim(tolerable)


def _tolerable(params: Raw, is_modern: IsModern) -> bytes | None:
    """Return the params without the meaningless keys of ``_meta``; None if there are none."""
    meta = _decode_loose(params).meta
    if meta is None:
        return None
    kept = {
        key: value
        for key, value in meta.items()
        if key not in TRACE_KEYS or bytes(value).startswith(b'"')
    }
    names_terms = META_PROTOCOL_VERSION in meta or META_CLIENT_CAPABILITIES in meta
    if not is_modern(_NAMES_TERMS if names_terms else NO_META):
        known = {META_PROGRESS_TOKEN, *TRACE_KEYS}
        kept = {key: value for key, value in kept.items() if key in known}
    if len(kept) == len(meta):
        return None
    return _encode({**_decode_rest(params), "_meta": kept})
