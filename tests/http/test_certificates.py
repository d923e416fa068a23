"""What a client's certificate says: its subject as RFC 4514 writes it, and its fingerprint."""

from typing import Any

import pytest

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
