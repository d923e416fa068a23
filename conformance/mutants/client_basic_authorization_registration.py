"""Mutants of clients for the page on client registration."""

from conformance.mutants.client_faults import exits
from conformance.mutants.client_sign_in_faults import (
    asks,
    asks_anyway,
    having,
    keeps_first,
    overlooks,
    reads_in_its_place,
    registers,
)
from conformance.mutants.edits import drop, put
from conformance.mutants.model import Table

table = Table("basic/authorization/client-registration")
legacy = Table("basic/authorization")

METADATA = "authorization_endpoint"
CONSTRAINTS = "application-type-and-redirect-uri-constraints"
BINDING = "authorization-server-binding"

table.client(
    "own-credentials",
    "pre-registration/client-credentials",
    "pre-registration/client-before-others",
    "client-registration/client-own-id",
).does("Makes its id up.", asks(having("client_id", "made-up")))
table.client("registers-always", "client-id-metadata-documents/client-before-registration").does(
    "Registers where it could do without.",
    reads_in_its_place(METADATA, client_id_metadata_document_supported=False),
)
table.client("plain-http", "implementation-requirements/client-id-form").does(
    "Has its document at a URL of http.",
    asks(having("client_id", "http://client.example/document.json")),
)
table.client("no-path", "implementation-requirements/client-id-form").does(
    "Has its document at the root.", asks(having("client_id", "https://client.example/"))
)
table.client("document-always", "advertising-cimd-support/client-looks").does(
    "Uses its document whether that is supported or not.",
    reads_in_its_place(METADATA, client_id_metadata_document_supported=True),
)
legacy.client("registers-never", "dynamic-client-registration/client-registers").does(
    "Does not register.",
    overlooks(
        METADATA,
        lambda value: {name: each for name, each in value.items() if name[:12] != "registration"},
    ),
)
table.client("no-type", f"{CONSTRAINTS}/client-application-type").does(
    "Does not say what kind of application it is.", registers(drop("application_type"))
)
table.client("web", f"{CONSTRAINTS}/client-fitting-type").does(
    "Says that it is a web application, and listens on loopback.",
    registers(put(application_type="web")),
)
table.client("goes-on", f"{CONSTRAINTS}/client-registration-refused").does(
    "Asks for authorization when its registration was refused.",
    asks_anyway(
        lambda value: value.get("error") == "invalid_redirect_uri", "/as/sign-in?client_id="
    ),
)
table.client("ends-well", f"{CONSTRAINTS}/client-refusal-shown").does(
    "Ends as if all were well when its registration was refused.", exits(0)
)
table.client("one-registration", f"{BINDING}/client-registers-anew").does(
    "Uses its first id at every authorization server.", keeps_first("client_id")
)
table.client("tries-everywhere", f"{BINDING}/client-mismatch-told").does(
    "Tries the given credentials at any authorization server.",
    asks_anyway(
        lambda value: str(value.get("issuer", "")).endswith("/other"),
        "/other/sign-in?client_id=kit-registered",
    ),
)
