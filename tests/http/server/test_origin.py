"""mcpcore.http.origin: Host and Origin, each by itself."""

import pytest

from mcpcore.http.origin import (
    Authority,
    OriginPolicy,
    WebOrigin,
    parse_authority,
    parse_origin,
)

HERE = "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost:80", Authority("localhost", 80)),
        ("127.0.0.1:8000", Authority("127.0.0.1", 8000)),
        ("[::1]:1", Authority("[::1]", 1)),
        ("localhost:65535", Authority("localhost", 65535)),
        ("[0:0:0:0:0:0:0:1]", Authority("[::1]", None)),
        ("[2001:DB8::1]", Authority("[2001:db8::1]", None)),
        ("a_b.example-x.com", Authority("a_b.example-x.com", None)),
    ],
)
def test_authorities(text: str, expected: Authority) -> None:
    assert parse_authority(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "localhost:",
        "localhost:x",
        "localhost:65536",
        "localhost:99999",
        "localhost:*",
        "localhost:80:80",
        "user@localhost",
        "127.0.0.1:80@evil.example",
        "localhost/path",
        "local host",
        "localhost\n",
        "::1",
        "[::1",
        "[::1]x",
        "[localhost]",
        "[::1%25eth0]",
        "[1.2.3.4]",
        "ä.example",
    ],
)
def test_what_is_no_authority(text: str) -> None:
    with pytest.raises(ValueError):
        parse_authority(text)


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("http://localhost", WebOrigin("http", "localhost", 80), "http://localhost"),
        ("HTTPS://Example.com:443", WebOrigin("https", "example.com", 443), "https://example.com"),
        ("https://a.b:8443", WebOrigin("https", "a.b", 8443), "https://a.b:8443"),
        ("vscode-webview://abc", WebOrigin("vscode-webview", "abc", None), "vscode-webview://abc"),
    ],
)
def test_origins(text: str, expected: WebOrigin, shown: str) -> None:
    assert parse_origin(text) == expected
    assert str(expected) == shown


@pytest.mark.parametrize(
    "text",
    ["null", "", "localhost", "http://", "http://a/", "http://a?b", "http://u@a", "//a", "http:a"],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError):
        parse_origin(text)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HERE, None),
        ("localhost", None),
        ("localhost:1", None),
        ("LOCALHOST:8000", None),
        ("[::1]:8000", None),
        (HERE, "http://127.0.0.1:8000"),
        (HERE, "https://127.0.0.1:8000"),
        ("localhost", "http://localhost"),
        ("localhost:443", "https://localhost"),
        ("[::1]:8000", "http://[0::1]:8000"),
    ],
)
def test_loopback_passes_by_default(host: str, origin: str | None) -> None:
    assert OriginPolicy().check(host, origin) is None


BAD_HOSTS = [
    "evil.example",
    "evil.example#localhost",
    "localhost.evil.example",
    "localhost:80.evil.example",
    "localhost@evil.example",
    "localhost, evil.example",
    "localhost.",
    "127.0.0.1.evil.example:8000",
    "127.0.0.1:80@evil.example",
    "127.0.0.1.nip.io",
    "127.1",
    "0x7f.0.0.1",
    "127.0.0.2:8000",
    "0.0.0.0:8000",
    "[::]:8000",
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "localhost:8000 ",
    "localhost:99999",
    "localhost:",
    "null",
]


@pytest.mark.parametrize("host", [None, *BAD_HOSTS])
def test_other_hosts_are_refused_by_default(host: str | None) -> None:
    problem = OriginPolicy().check(host, None)
    assert problem is not None
    assert problem.startswith("the Host header is refused: ")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (None, "it is missing"),
        ("evil.example", '"evil.example" is not served here'),
        ("[::1::]:8000", '"[::1::]" is no IPv6 address'),
        ("localhost:65536", "65536 is no port"),
    ],
)
def test_the_refusal_of_a_host_says_what_is_wrong(host: str | None, text: str) -> None:
    assert OriginPolicy().check(host, None) == f"the Host header is refused: {text}"


BAD_ORIGINS = [
    "null",
    "",
    "*",
    "http://",
    "http://evil.example",
    "http://evil.example:8000",
    "http://localhost:80.evil.example",
    "http://localhost:8000.evil.example",
    "http://localhost:8000@evil.example",
    "http://127.0.0.1:8000.evil.example",
    "http://127.0.0.1:8000@evil.example",
    "http://127.0.0.1.evil.example:8000",
    "http://127.0.0.1:8001",
    "http://127.0.0.1",
    "https://127.0.0.1",
    "http://localhost",
    "http://localhost:8001",
    "http://localhost:8000",
    "http://[::1]:8000",
    "http://[::1]",
    "http://127.0.0.1:8000/",
    "http://127.0.0.1:8000 http://evil.example",
    "file://",
    "file://127.0.0.1:8000",
    "chrome-extension://127.0.0.1:8000",
    "127.0.0.1:8000",
]


@pytest.mark.parametrize("origin", BAD_ORIGINS)
def test_an_origin_is_refused_by_itself(origin: str) -> None:
    problem = OriginPolicy().check(HERE, origin)
    assert problem is not None
    assert problem.startswith("the Origin header is refused: ")


@pytest.mark.parametrize(
    ("hosts", "host", "passes"),
    [
        (["example.com"], "example.com", True),
        (["example.com"], "EXAMPLE.com:443", True),
        (["example.com"], "example.com:80", True),
        (["example.com"], "example.com:8080", False),
        (["example.com"], "www.example.com", False),
        (["example.com"], "localhost", False),
        (["example.com:8443"], "example.com:8443", True),
        (["example.com:8443"], "example.com", False),
        (["example.com:*"], "example.com:1", True),
        (["example.com:*"], "example.com", True),
        (["[2001:db8::1]:*"], "[2001:db8:0::1]:5", True),
        (["*"], "anything.example", True),
        (["*"], None, True),
        (["*"], "not a host", False),
        ([], "localhost", False),
    ],
)
def test_configured_hosts(hosts: list[str], host: str | None, passes: bool) -> None:
    assert (OriginPolicy(hosts).check(host, None) is None) is passes


@pytest.mark.parametrize(
    ("origins", "origin", "passes"),
    [
        (["https://app.example"], "https://app.example", True),
        (["https://app.example"], "https://app.example:443", True),
        (["https://app.example"], "http://app.example", False),
        (["https://app.example"], "https://app.example:8443", False),
        (["https://app.example"], "http://127.0.0.1:8000", False),
        (["vscode-webview://abc"], "vscode-webview://abc", True),
        (["vscode-webview://abc"], "vscode-webview://abd", False),
        ([], "http://127.0.0.1:8000", False),
    ],
)
def test_configured_origins_are_exact_and_complete(
    origins: list[str], origin: str, passes: bool
) -> None:
    assert (OriginPolicy(None, origins).check(HERE, origin) is None) is passes


def test_where_any_host_is_believed_its_own_pages_are_not() -> None:
    # A rebound name would be its own origin.
    policy = OriginPolicy(["*"])
    assert policy.check("evil.example", None) is None
    assert policy.check("evil.example", "http://evil.example") is not None
    listed = OriginPolicy(["*"], ["https://app.example"])
    assert listed.check("evil.example", "https://app.example") is None


@pytest.mark.parametrize(
    ("scheme", "origin", "passes"),
    [
        ("http", "http://127.0.0.1:8000", True),
        ("http", "https://127.0.0.1:8000", False),
        ("https", "https://127.0.0.1:8000", True),
        ("https", "http://127.0.0.1:8000", False),
        (None, "https://127.0.0.1:8000", True),
        ("ws", "http://127.0.0.1:8000", False),
    ],
)
def test_our_own_pages_come_by_the_scheme_that_we_serve(
    scheme: str | None, origin: str, passes: bool
) -> None:
    assert (OriginPolicy().check(HERE, origin, scheme) is None) is passes
    named = OriginPolicy(None, ["https://app.example"])
    assert named.check(HERE, "https://app.example", scheme) is None


def test_a_scheme_without_a_usual_port_is_never_our_own() -> None:
    assert OriginPolicy().check("localhost", "ws://localhost") is not None


@pytest.mark.parametrize("entry", ["", "http://a", "a:b", "a/b", "*.example.com"])
def test_unreadable_hosts_are_refused_at_once(entry: str) -> None:
    with pytest.raises(ValueError):
        OriginPolicy([entry])


@pytest.mark.parametrize("entry", ["*", "null", "app.example", "https://*.example"])
def test_unreadable_origins_are_refused_at_once(entry: str) -> None:
    with pytest.raises(ValueError):
        OriginPolicy(None, [entry])
