"""Clients behind proxies: whose word counts for the address of a request."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcpcore.http.messages import HttpRequest
from mcpcore.http.proxies import named_by_proxies

PROXIES = ("10.0.0.0/8", "2001:db8::1")


def seen(peer: str | None, *lines: str, proxies: tuple[str, ...] = PROXIES) -> HttpRequest:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    headers.append((b"forwarded", b"for=198.51.100.9"))
    request = HttpRequest(method="POST", path="/mcp", headers=headers, peer=peer)
    return named_by_proxies(request, proxies)


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("10.0.0.1:5000", ("192.0.2.7",), "192.0.2.7"),
        ("10.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("[::ffff:10.0.0.1]:5000", ("::ffff:192.0.2.7",), "192.0.2.7"),
        ("[2001:db8::1]:5000", ("2001:DB8:0::7",), "2001:db8::7"),
        ("10.0.0.1:5000", ("192.0.2.7:1234",), "192.0.2.7"),
        ("10.0.0.1:5000", ("[2001:db8::7]:1234",), "2001:db8::7"),
        ("10.0.0.1:5000", ("198.51.100.1, 192.0.2.7",), "192.0.2.7"),
        ("10.0.0.1:5000", ("198.51.100.1", "\t192.0.2.7 "), "192.0.2.7"),
        ("10.0.0.1:5000", ("198.51.100.1, 192.0.2.7, 10.9.9.9",), "192.0.2.7"),
        ("10.0.0.1:5000", ("198.51.100.1, 192.0.2.7,10.9.9.9", "2001:db8::1"), "192.0.2.7"),
        ("10.0.0.1:5000", ("10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        ("10.0.0.1:5000", ("192.0.2.7, unknown, 10.2.2.2",), "10.2.2.2"),
        ("10.0.0.1:5000", ("192.0.2.7,, 10.2.2.2",), "10.2.2.2"),
        ("10.0.0.1:5000", ("192.0.2.7, fe80::1%eth0",), None),
        ("10.0.0.1:5000", ("192.0.2.7, é",), None),
        ("10.0.0.1:5000", ("192.0.2.7,",), None),
        ("10.0.0.1:5000", ("",), None),
        ("10.0.0.1:5000", (), None),
        ("11.0.0.1:5000", ("192.0.2.7",), None),
        ("[2001:db8::2]:5000", ("192.0.2.7",), None),
        ("10.0.0.1.evil.example:5000", ("192.0.2.7",), None),
        (None, ("192.0.2.7",), None),
    ],
)
def test_the_nearest_address_that_a_trusted_proxy_names_is_that_of_the_client(
    peer: str | None, lines: tuple[str, ...], client: str | None
) -> None:
    found = seen(peer, *lines)
    assert (found.peer, found.proxy) == ((peer, None) if client is None else (client, peer))
    assert named_by_proxies(found, PROXIES) is found
    assert seen(peer, *lines, proxies=()).peer == peer


@given(st.lists(st.ip_addresses().map(str)), st.ip_addresses(v=4))
def test_no_word_of_a_client_counts(said: list[str], client: IPv4Address) -> None:
    assume(client not in IPv4Network("10.0.0.0/8"))
    assert seen("10.0.0.1:1", ", ".join([*said, str(client)])).peer == str(client)
    assert seen(f"{client}:1", *said).peer == f"{client}:1"


def test_few_of_many_addresses_are_read() -> None:
    many = ", ".join(["192.0.2.7", *["10.2.2.2"] * 5000])
    assert seen("10.0.0.1:1", many).peer == "10.2.2.2"
