"""URLs of OAuth: each spelling of a host, identifiers compared, and the places of metadata."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.urls import (
    MAX_URL,
    canonical_resource,
    check_url,
    covers,
    is_public,
    parse_url,
    private_hint,
    resource_metadata_urls,
    same_issuer,
    server_metadata_urls,
    with_query,
)
from mcpcore.errors import UrlRefused


@pytest.mark.parametrize(
    ("text", "origin", "path", "query"),
    [
        ("https://a.example", "https://a.example", "", ""),
        ("HTTPS://A.Example:443/P", "https://a.example", "/P", ""),
        ("http://a.example:80/", "http://a.example", "/", ""),
        ("https://a.example:8443/x?y=z&y", "https://a.example:8443", "/x", "?y=z&y"),
        ("https://a.example?", "https://a.example", "", "?"),
        ("https://[2001:DB8::1]:1/", "https://[2001:db8::1]:1", "/", ""),
        ("https://1.2.3.4/", "https://1.2.3.4", "/", ""),
        ("https://a_b-c.example/~:@!$&'()*+,;=%20[]", "https://a_b-c.example", None, ""),
    ],
)
def test_a_url_is_parsed(text: str, origin: str, path: str | None, query: str) -> None:
    url = parse_url(text, "it")
    assert (url.text, url.origin, url.query) == (text, origin, query)
    assert path is None or url.path == path


REFUSED = [
    "",
    "a.example",
    "//a.example",
    "ftp://a.example",
    "file:///etc/passwd",
    "data:text/html,x",
    "javascript:alert(1)",
    "javascript://a.example/%0aalert(1)",
    "vbscript:x",
    "gopher://a.example/",
    "https:/a.example",
    "https:\\\\a.example",
    "https://a.example\\@b.example",
    "https://u@a.example",
    "https://u:p@a.example/",
    "https://a.example/#f",
    "https://a.example/ ",
    " https://a.example",
    "-https://a.example",
    "https://a.example/\n",
    "https://a.example/\x00",
    "https://a.example/\x1b[2J",
    "https://a.example/`id`",
    'https://a.example/"',
    "https://a.example/<x>",
    "https://a.example/{x}|^",
    "https://a.example/é",
    "https://a.example/\u202e",
    "https://exam\u212aple.example",
    "http\u017f://a.example",
    "https://\uff41.example",
    "https://a..example",
    "https://.a.example",
    "https://a.example.",
    "https://localhost.",
    "https://-a.example",
    "https://",
    "https:///x",
    "https://a.example:",
    "https://a.example:0",
    "https://a.example:65536",
    "https://a.example:99999999",
    "https://a.example:+1",
    "https://0",
    "https://0x7f.1",
    "https://0x7f000001",
    "https://2130706433",
    "https://017700000001",
    "https://127.1",
    "https://0177.0.0.1",
    "https://127.0.0.01",
    "https://1.2.3.4.5",
    "https://a.example.5",
    "https://256.1.1.1",
    "https://[::1",
    "https://[1.2.3.4]",
    "https://[fe80::1%25eth0]",
    "https://[v1.x]",
    "https://a.example:" + "1" * 6,
    "https://a.example/" + "x" * MAX_URL,
]


@pytest.mark.parametrize("text", REFUSED)
def test_no_url_is_read_in_two_ways(text: str) -> None:
    with pytest.raises(UrlRefused, match="it cannot be used") as refused:
        parse_url(text, "it")
    assert refused.value.what == "it"


PUBLIC = ["https://a.example", "https://8.8.8.8/x", "https://[2606:4700::1]/"]
LOOPBACK = [
    "http://localhost:1/mcp",
    "https://LOCALHOST",
    "http://127.0.0.1",
    "http://127.255.255.254:8080/",
    "http://[::1]",
]
NEVER = [
    "http://x.localhost",
    "http://[::ffff:127.0.0.1]",
    "http://[64:ff9b::7f00:1]",
    "http://[2002:7f00:1::]",
    "http://a.example",
    "http://8.8.8.8",
    "https://0.0.0.0",
    "https://10.0.0.1",
    "https://100.64.0.1",
    "https://169.254.169.254/latest/meta-data",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://192.0.2.1",
    "https://224.0.0.1",
    "https://255.255.255.255",
    "https://[::]",
    "https://[::7f00:1]",
    "https://[::ffff:10.0.0.1]",
    "https://[::ffff:0:a00:1]",
    "https://[64:ff9b::a00:1]",
    "https://[64:ff9b:1::1]",
    "https://[2002:a00:1::]",
    "https://[2001:0:8.8.8.8:0:0:f5ff:fffe]".replace("8.8.8.8", "808:808"),
    "https://[fc00::1]",
    "https://[fe80::1]",
    "https://[fec0::1]",
    "https://[ff02::1]",
    "https://[5f00::1]",
    "https://[100::1]",
]


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize("text", PUBLIC)
def test_public_https_may_be_used(text: str, loopback: bool) -> None:
    assert check_url(text, "it", loopback=loopback).text == text


@pytest.mark.parametrize("text", LOOPBACK)
def test_loopback_needs_leave(text: str) -> None:
    with pytest.raises(UrlRefused, match="this machine"):
        check_url(text, "it")
    assert check_url(text, "it", loopback=True).loopback


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize("text", NEVER)
def test_other_hosts_are_refused(text: str, loopback: bool) -> None:
    with pytest.raises(UrlRefused, match=r"https URL|public address|this machine"):
        check_url(text, "it", loopback=loopback)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("2606:4700::1", True),
        ("::ffff:8.8.8.8", True),
        ("::ffff:192.168.0.1", False),
        ("64:ff9b::808:808", True),
        ("2002:808:808::", True),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_resolved_addresses_are_judged(address: str, public: bool) -> None:
    assert is_public(address) is public


SPECIAL = ("192.0.0.8", "192.0.0.9", "192.88.99.2", "2001:1::1", "2001:20::1", "3fff::1")
CLOUDS = (
    *("100.100.100.200", "::ffff:100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:100::100:200", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"),
    *("fd00:a9fe:a9fe::1", "fd00:c1::a9fe:a9fe"),
)


@pytest.mark.parametrize("address", [*SPECIAL, *CLOUDS])
def test_special_addresses_are_public_to_no_python(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        *((each, True) for each in ("10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1")),
        *((each, True) for each in ("fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "8.8.8.8")),
        *((each, False) for each in ("169.254.169.254", "fe80::1", "127.0.0.1", "::1", "0.0.0.0")),
        *((each, False) for each in ("172.32.0.1.", "224.0.0.1", "::", "ff02::1", "240.0.0.1")),
        *((each, False) for each in ("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "100.63")),
        *((each, False) for each in SPECIAL),
        *((each, True) for each in ("192.0.1.1", "192.88.98.1", "2001:200::1", "3ffe::1")),
        *((each, False) for each in CLOUDS),
        *((each, True) for each in ("100.100.100.199", "fd00:ec3::254", "fd20:ce::253")),
    ],
)
def test_private_networks_are_allowed_and_nothing_else(address: str, private: bool) -> None:
    assert is_public(address, private=True) is private
    hint = "; the setting `private` allows those of private networks" if private else ""
    assert private_hint(address) == hint


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(address: object) -> None:
    inner = ip_address(str(address))
    number = int(inner)
    for outer in (f"::ffff:{inner}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"):
        assert is_public(outer) is is_public(inner)


@pytest.mark.requirement("basic/authorization/index/resource-no-slash")
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("HTTPS://MCP.example:443/", "https://mcp.example"),
        ("https://mcp.example", "https://mcp.example"),
        ("https://mcp.example:8443/Server/mcp", "https://mcp.example:8443/Server/mcp"),
        ("HTTPS://mcp.example/mcp/?Tenant=A", "https://mcp.example/mcp/?Tenant=A"),
        ("https://mcp.example/?tenant=a", "https://mcp.example?tenant=a"),
        ("http://[::1]:3000/mcp", "http://[::1]:3000/mcp"),
    ],
)
def test_a_resource_has_one_spelling(text: str, canonical: str) -> None:
    assert canonical_resource(text) == canonical
    assert canonical_resource(canonical) == canonical


SERVER = "https://mcp.example/team/mcp"


@pytest.mark.requirement("basic/authorization/index/resource-uppercase")
@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (SERVER, True),
        ("HTTPS://MCP.EXAMPLE:443/team/mcp", True),
        (f"{SERVER}/", True),
        ("https://mcp.example/team", False),
        ("https://mcp.example/team/mc", False),
        ("https://mcp.example/team/mcp/deeper", False),
        ("https://mcp.example/TEAM/mcp", False),
        ("https://mcp.example/other", False),
        (f"{SERVER}?x=1", False),
        ("https://mcp.example:8443/team/mcp", False),
        ("http://mcp.example/team/mcp", False),
        ("https://evil.example/team/mcp", False),
        ("https://evil.example", False),
        ("https://mcp.example.evil.example/team/mcp", False),
        ("https://mcp.example@evil.example/team/mcp", False),
        ("https://u@mcp.example/team/mcp", False),
        ("mcp", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("root", [False, True])
def test_a_document_speaks_for_its_own_resource(resource: str, said: bool, root: bool) -> None:
    assert covers(resource, SERVER, root=root) is said


@pytest.mark.parametrize("resource", ["https://mcp.example", "https://mcp.example/"])
def test_the_document_of_an_origin_speaks_for_all_of_it(resource: str) -> None:
    assert covers(resource, SERVER)
    assert not covers(resource, SERVER, root=False)
    assert covers(resource, "https://mcp.example", root=False)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (f"{SERVER}?tenant=a", True),
        (SERVER, True),
        (f"{SERVER}?tenant=b", False),
        (f"{SERVER}?tenant=A", False),
        (f"{SERVER}?tenant=a&x=1", False),
        (f"{SERVER}?", False),
        ("https://mcp.example/team?tenant=a", False),
        ("https://mcp.example/team", False),
    ],
)
@pytest.mark.parametrize("root", [False, True])
def test_a_query_is_part_of_the_resource(resource: str, said: bool, root: bool) -> None:
    assert covers(resource, f"{SERVER}?tenant=a", root=root) is said


PRM = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("server", "urls"),
    [
        ("https://a.example", [f"https://a.example{PRM}"]),
        ("https://a.example/", [f"https://a.example{PRM}"]),
        ("https://a.example/x/mcp", [f"https://a.example{PRM}/x/mcp", f"https://a.example{PRM}"]),
        ("https://a.example/mcp/", [f"https://a.example{PRM}/mcp/", f"https://a.example{PRM}"]),
        ("https://a.example/x?t=1", [f"https://a.example{PRM}/x?t=1", f"https://a.example{PRM}"]),
        ("https://a.example/?t=1", [f"https://a.example{PRM}?t=1", f"https://a.example{PRM}"]),
    ],
)
def test_resource_metadata_has_its_places(server: str, urls: list[str]) -> None:
    assert list(resource_metadata_urls(server)) == urls


AS, OIDC = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        ("https://a.example", [AS, OIDC]),
        ("https://a.example/", [AS, OIDC]),
        ("https://a.example/t/1", [f"{AS}/t/1", f"{OIDC}/t/1", f"/t/1{OIDC}"]),
        ("https://a.example/t/", [f"{AS}/t", f"{OIDC}/t", f"/t{OIDC}"]),
    ],
)
def test_server_metadata_has_its_places(issuer: str, paths: list[str]) -> None:
    assert list(server_metadata_urls(issuer)) == [f"https://a.example{path}" for path in paths]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example/", True),
        ("https://a.example:8443/", "https://a.example:8443", True),
        ("https://a.example/t", "https://a.example/t", True),
        ("https://a.example/t", "https://a.example/t/", False),
        ("https://a.example/", "https://a.example//", False),
        ("https://a.example", "https://a.example//", False),
        ("https://a.example", "https://A.example/", False),
        ("https://a.example", "https://a.example:443/", False),
        ("https://a.example", "https://a.example.evil/", False),
    ],
)
def test_an_issuer_has_one_name_but_for_the_slash_of_its_root(
    one: str, other: str, same: bool
) -> None:
    assert same_issuer(one, other) is same_issuer(other, one) is same


def test_an_issuer_has_no_query() -> None:
    with pytest.raises(UrlRefused, match="query"):
        server_metadata_urls("https://a.example/t?x=1")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://a.example", "https://a.example?a=b+%26&c=d"),
        ("https://a.example/x?", "https://a.example/x?a=b+%26&c=d"),
        ("https://a.example/x?k=v", "https://a.example/x?k=v&a=b+%26&c=d"),
    ],
)
def test_the_query_of_the_endpoint_is_kept(endpoint: str, url: str) -> None:
    assert with_query(parse_url(endpoint, "it"), {"a": "b &", "c": "d"}) == url


@pytest.mark.parametrize("query", ["?a=", "?x&a", "?%61=1", "?x=1&a=2"])
def test_the_endpoint_names_no_parameter_of_ours(query: str) -> None:
    with pytest.raises(UrlRefused, match="a parameter of the request"):
        with_query(parse_url(f"https://a.example/{query}", "it"), {"a": "b"})


@pytest.mark.parametrize("end", ["$(calc)", "x;y", "'x'", "!x", "*", "[x]"])
def test_the_endpoint_holds_nothing_for_a_shell(end: str) -> None:
    with pytest.raises(UrlRefused, match="shell"):
        with_query(parse_url(f"https://a.example/{end}", "it"), {"a": "b"})
