"""Metadata of apps: what is wrong with that of tools and of documents."""

from typing import Any

import pytest

from mcpcore.spec.apps import app_of, document_problems, is_document, tool_problems
from mcpcore.spec.capabilities import APP_TYPE, APPS_EXTENSION, shows_apps
from mcpcore.spec.types.capabilities import ClientCapabilities

URI = "ui://weather/map"


@pytest.mark.parametrize(
    ("meta", "problem", "app"),
    [
        (None, "", None),
        ({}, "", None),
        ({"ui": {"resourceUri": URI, "visibility": ["model", "app"]}}, "", URI),
        ({"ui": {"resourceUri": URI}, "ui/resourceUri": URI}, "", URI),
        ({"ui": {"visibility": ["app"]}}, "", None),
        ({"ui": []}, "ui: expected an object", None),
        ({"ui": {"resourceUri": 1}}, "ui.resourceUri: expected a URI", None),
        ({"ui": {"resourceUri": "https://x"}}, "ui.resourceUri: expected a URI", "https://x"),
        ({"ui": {"resourceUri": "ui://"}}, "ui.resourceUri: expected a URI", "ui://"),
        ({"ui": {"resourceUri": "ui://a b"}}, "ui.resourceUri: expected a URI", "ui://a b"),
        ({"ui/resourceUri": URI}, "ui/resourceUri is deprecated", URI),
        ({"ui": {"resourceUri": URI}, "ui/resourceUri": "ui://b"}, "differ", URI),
        ({"ui": {"visibility": []}}, "ui.visibility: expected one or both", None),
        ({"ui": {"visibility": "app"}}, "ui.visibility: expected one or both", None),
        ({"ui": {"visibility": ["user"]}}, "ui.visibility: expected one or both", None),
        ({"ui": {"visibility": [["app"]]}}, "ui.visibility: expected one or both", None),
    ],
)
def test_metadata_of_tools(meta: Any, problem: str, app: str | None) -> None:
    found = list(tool_problems(meta))
    assert len(found) == bool(problem)
    assert all(problem in each for each in found)
    assert app_of(meta) == app


@pytest.mark.parametrize(
    ("ui", "problem"),
    [
        ({}, ""),
        ({"csp": {}, "permissions": {}, "domain": "a.example", "prefersBorder": False}, ""),
        (
            {
                "csp": {
                    "connectDomains": ["https://api.example.com:8443", "wss://x", "http://[::1]:1"],
                    "resourceDomains": ["https://*.example.com"],
                    "frameDomains": [],
                    "baseUriDomains": ["http://localhost:3000"],
                },
                "permissions": {
                    name: {} for name in ("camera", "microphone", "geolocation", "clipboardWrite")
                },
                "later": 1,
            },
            "",
        ),
        ([], "ui: expected an object"),
        ({"csp": []}, "ui.csp: expected an object"),
        ({"csp": {"scriptDomains": []}}, "'scriptDomains' is none of"),
        ({"csp": {"frameDomains": "https://x"}}, "ui.csp.frameDomains: expected a list"),
        *(
            ({"csp": {"connectDomains": [each]}}, "is no origin")
            for each in (
                *("example.com", "https://x/", "https://x/path", "https://u@x", "ftp://x", "*"),
                *("https://*", "https://", "https://a.*.com", "https://x y", "https://x;", 1, None),
                *("https://x\n", "'unsafe-eval'", "data:"),
            )
        ),
        ({"permissions": ["camera"]}, "ui.permissions: expected an object"),
        ({"permissions": {"usb": {}}}, "'usb' is none of"),
        ({"permissions": {"camera": True}}, "ui.permissions.camera: expected an object"),
        ({"domain": 1}, "ui.domain: expected str"),
        ({"prefersBorder": "yes"}, "ui.prefersBorder: expected bool"),
    ],
)
def test_metadata_of_documents(ui: Any, problem: str) -> None:
    found = list(document_problems(URI, APP_TYPE, {"ui": ui}))
    assert len(found) == bool(problem)
    assert all(problem in each for each in found)


@pytest.mark.parametrize(
    ("uri", "media_type", "problem"),
    [
        (URI, APP_TYPE, ""),
        ("https://x", APP_TYPE, "ui://"),
        (None, APP_TYPE, "ui://"),
        (URI, "text/html", "mimeType"),
        (URI, None, "mimeType"),
    ],
)
def test_uri_and_media_type_of_documents(uri: Any, media_type: Any, problem: str) -> None:
    found = list(document_problems(uri, media_type, None))
    assert len(found) == bool(problem)
    assert all(problem in each for each in found)


@pytest.mark.parametrize(
    ("html", "good"),
    [
        ("<!doctype html><p>", True),
        ("\ufeff\n <!-- a --> <!DOCTYPE HTML\n>", True),
        ("<!doctype html SYSTEM 'about:legacy-compat'>", True),
        ("<html></html>", False),
        ("<!-- --> " * 10_000, False),
        ("<!--" * 10_000, False),
        ("<!doctype htmlx>", False),
        ("", False),
    ],
)
def test_a_document_begins_with_its_doctype(html: str, good: bool) -> None:
    assert is_document(html) is good


@pytest.mark.parametrize(
    ("extensions", "shown"),
    [
        (None, False),
        ({}, False),
        ({APPS_EXTENSION: {}}, False),
        ({APPS_EXTENSION: {"mimeTypes": ["text/html"]}}, False),
        ({APPS_EXTENSION: {"mimeTypes": APP_TYPE}}, False),
        ({APPS_EXTENSION: {"mimeTypes": ["text/html", APP_TYPE]}}, True),
    ],
)
def test_clients_say_which_documents_they_show(extensions: Any, shown: bool) -> None:
    assert shows_apps(ClientCapabilities(extensions=extensions)) is shown
