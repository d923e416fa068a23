"""What the specification's page client/roots demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, both, client, server
from mcpcore_conformance.requirements.reasons import DEPRECATED_FEATURE, ROOTS_OF_THE_USER

ROWS = (
    both.should(
        "client/roots/no-new-use",
        MODERN,
        "client/roots",
        "Roots are not taken up anew.",
        application=DEPRECATED_FEATURE,
    ),
    client.must(
        "client/roots/declare-per-request",
        MODERN,
        "client/roots#capabilities",
        "Support is declared on each request.",
    ),
    client.must(
        "client/roots/declare-initialize",
        LEGACY,
        "client/roots#capabilities",
        "Support is declared at initialization.",
    ),
    client.must(
        "client/roots/changes-notified",
        LEGACY,
        "client/roots#root-list-changes",
        "A change of roots is notified where listChanged was declared.",
    ),
    client.must(
        "client/roots/file-uri",
        ALL,
        "client/roots#root",
        "A root is a file:// URI.",
    ),
    client.should(
        "client/roots/errors",
        LEGACY,
        "client/roots#error-handling",
        "Without roots the answer is -32601, on failure -32603.",
    ),
    client.must(
        "client/roots/expose-permitted",
        ALL,
        "client/roots#security-considerations",
        "Only permitted roots are exposed, with access control, and their reachability is watched.",
        application=ROOTS_OF_THE_USER,
    ),
    client.must(
        "client/roots/validate-uris",
        ALL,
        "client/roots#security-considerations",
        "Root URIs are validated.",
    ),
    server.should(
        "client/roots/server-respects",
        ALL,
        "client/roots#security-considerations",
        "Servers stay within the roots and check their paths against them.",
        application=ROOTS_OF_THE_USER,
    ),
    server.should(
        "client/roots/server-checks-capability",
        ALL,
        "client/roots#implementation-guidelines",
        "Servers look for the capability first.",
    ),
    server.should(
        "client/roots/server-caches",
        ALL,
        "client/roots#implementation-guidelines",
        "Servers cache roots as fits.",
        application=ROOTS_OF_THE_USER,
    ),
    server.should(
        "client/roots/server-handles-changes",
        LEGACY,
        "client/roots#implementation-guidelines",
        "Servers cope with changes of roots.",
    ),
    client.should(
        "client/roots/client-consent",
        ALL,
        "client/roots#implementation-guidelines",
        "Clients ask for consent, offer an interface and watch their roots.",
        application=ROOTS_OF_THE_USER,
    ),
)
