"""What a client's certificate says: its subject as RFC 4514 writes it, and its fingerprint."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.http.principals import ClientCertificate, write_name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ((), ""),
        (((("commonName", "ann"),),), "CN=ann"),
        (((("countryName", "SE"),), (("commonName", "ann"),)), "CN=ann,C=SE"),
        (((("commonName", "ann"), ("userId", "7")),), "CN=ann+UID=7"),
        (((("commonName", "ann,O=Root"),),), "CN=ann\\,O=Root"),
        (((("commonName", 'a"b+c;d<e>f\\g'),),), 'CN=a\\"b\\+c\\;d\\<e\\>f\\\\g'),
        (((("commonName", " ann "),),), "CN=\\ ann\\ "),
        (((("commonName", "#ann"),),), "CN=\\#ann"),
        (((("commonName", "ann\0x"),),), "CN=ann\\00x"),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "ann  "),),), "CN=ann \\ "),
        (
            (
                (("domainComponent", "net"),),
                (("stateOrProvinceName", "B"), ("localityName", "P"), ("streetAddress", "1")),
                (("organizationName", "O"), ("organizationalUnitName", "U")),
            ),
            "O=O+OU=U,ST=B+L=P+STREET=1,DC=net",
        ),
        (((("1.2.3.4", "x"),),), "1.2.3.4=x"),
    ],
)
def test_names_are_written_so_that_no_two_look_alike(name: Any, written: str) -> None:
    assert write_name(name) == written


def test_the_fingerprint_is_the_digest_of_the_certificate() -> None:
    seen = ClientCertificate(subject="CN=ann", der=b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert seen.fingerprint == digest


def der(tag: int, *parts: bytes) -> bytes:
    """A value in DER."""
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 0x80 else b"\x82" + len(body).to_bytes(2, "big")
    return bytes([tag]) + size + body


def certificate(tag: int, until: bytes, *, version: bytes = der(0xA0, b"\2\1\2")) -> bytes:
    """The beginning of a certificate that is valid until then."""
    names = der(0x30, b"n" * 200)
    validity = der(0x30, der(0x17, b"260101000000Z"), der(tag, until))
    return der(0x30, der(0x30, version, der(2, b"\1"), der(0x30), names, validity, names))


NEW_YEAR = 1_798_761_600.0


@pytest.mark.parametrize(
    ("shown", "end"),
    [
        (certificate(0x17, b"270101000000Z"), NEW_YEAR),
        (certificate(0x17, b"270101000001Z", version=b""), NEW_YEAR + 1),
        (certificate(0x18, b"20270101000000Z"), NEW_YEAR),
        (certificate(0x17, b"491231235959Z"), 2_524_607_999.0),
        (certificate(0x17, b"500101000000Z"), -631_152_000.0),
        (certificate(0x18, b"99991231235959Z"), 253_402_300_799.0),  # that is: never
        (certificate(0x18, b"20271301000000Z"), None),
        (certificate(0x18, b"2027"), None),
        (certificate(0x18, b"\xff"), None),
        (certificate(0x17, b"270101000000Z")[:200], None),
        *((each, None) for each in (b"", b"x", b"ours", b"0\x80", b"0\0", b"0\xff", b"0\2\2")),
    ],
)
def test_a_certificate_says_until_when_it_is_valid(shown: bytes, end: float | None) -> None:
    assert ClientCertificate(subject="", der=shown).expires_at == end


@given(st.binary(max_size=40), st.integers(0, 400))
def test_no_bytes_do_more_than_say_nothing(data: bytes, at: int) -> None:
    good = certificate(0x17, b"270101000000Z")
    for each in (data, good[:at] + data + good[at:]):
        ends = ClientCertificate(subject="", der=each).expires_at
        assert ends is None or isinstance(ends, float)
