"""Values that go in headers: each text has one form, each form one reading."""

import base64
import re

from mcpcore.http.headers import HeaderError, decode_value, encode_value, is_field_text
from tests.fuzz.choices import Choices

TOKENS = (
    b"=?base64?",
    b"?=",
    b"=",
    b"==",
    b"=?base64??=",
    b"=?base64?QQ==?=",
    b"\xc3\xa9",
    b" ",
    b"\t",
)
_FORM = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


def _plainly(value: str) -> str | None:
    """The reading of a value by the letter, None if it is refused.

    Refused as well is what has both markers in one: nobody could tell what is meant.
    """
    if value == "=?base64?=":
        return None
    form = _FORM.fullmatch(value)
    if form is None:
        return value
    try:
        data = base64.b64decode(form[1], validate=True)
        return data.decode() if base64.b64encode(data).decode() == form[1] else None
    except ValueError:
        return None


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag():
        _write(c.rest().decode("utf-8", "surrogateescape"))
        return
    inner = c.rest()
    value = inner.decode("latin-1")
    _read(value)
    _read(f"=?base64?{value}?=")
    _read(f"=?base64?{base64.b64encode(inner).decode()}?=")


def _write(text: str) -> None:
    try:
        value = encode_value(text)
    except HeaderError:
        assert any("\ud800" <= char <= "\udfff" for char in text)
        return
    assert is_field_text(value.encode("ascii"))
    assert value == value.strip()
    assert decode_value(value) == text


def _read(value: str) -> None:
    expected = _plainly(value)
    try:
        text = decode_value(value)
    except HeaderError:
        assert expected is None
        return
    assert text == expected
    assert decode_value(encode_value(text)) == text
