"""Supported dialects of JSON Schema, each with its published meta-schema.

Sources: the meta-schemas of 2020-12, 2019-09, draft-07, draft-06, draft-04.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jsonschema import validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import specification_with

from mcpcore_transports.schema.keywords import counted
from mcpcore_transports.schema.patterns import Pattern
from mcpcore_transports.schema.values import quiet


class Dialect:
    """A version of JSON Schema, as a class of validators with this package's keywords."""

    def __init__(self, uri: str, base: Any, *, booleans: bool = True, alone: bool = False) -> None:
        self.uri = uri
        self.validator = counted(base)
        self.specification: Any = specification_with(uri)
        self.booleans = booleans
        """True if the JSON values true and false are schemas."""
        self.alone = alone
        """True if all keywords beside ``$ref`` are ignored."""
        self.item_lists = "prefixItems" not in base.VALIDATORS
        """True if ``items`` may be an array of schemas."""
        self.patterns: dict[str, Pattern] = {}
        """Patterns of the meta-schema that were used, compiled."""

    @cached_property
    def published(self) -> Registry[Any]:
        """The meta-schema and its parts: the only targets of references outside of a schema.

        Their ``$schema`` is removed, as the library would switch to another class of validators.
        """
        parts = self.uri.removesuffix("schema") + "meta/"
        copies = (
            (
                uri,
                {word: rule for word, rule in REGISTRY[uri].contents.items() if word != "$schema"},
            )
            for uri in REGISTRY
            if uri.removesuffix("#") == self.uri or uri.startswith(parts)
        )
        registry: Registry[Any] = Registry()
        return registry.with_resources(
            (uri, self.specification.create_resource(quiet(copy))) for uri, copy in copies
        ).crawl()

    @cached_property
    def keywords(self) -> frozenset[str]:
        """All keywords that the meta-schema defines."""
        parts = (self.published[uri].contents for uri in self.published)
        return frozenset(word for part in parts for word in part.get("properties", ()))

    @cached_property
    def meta(self) -> Any:
        """Validator of schemas."""
        return self.validator(self.published[self.uri].contents, registry=self.published)


DIALECTS = {
    dialect.uri: dialect
    for dialect in (
        Dialect("https://json-schema.org/draft/2020-12/schema", validators.Draft202012Validator),
        Dialect("https://json-schema.org/draft/2019-09/schema", validators.Draft201909Validator),
        Dialect("http://json-schema.org/draft-07/schema", validators.Draft7Validator, alone=True),
        Dialect("http://json-schema.org/draft-06/schema", validators.Draft6Validator, alone=True),
        Dialect(
            "http://json-schema.org/draft-04/schema",
            validators.Draft4Validator,
            booleans=False,
            alone=True,
        ),
    )
}
"""Dialects by the URI in ``$schema``; the first is the default."""


def dialect_of(schema: Mapping[str, Any], default: str) -> Dialect:
    """Return the dialect that a schema declares, or the default.

    Raises ValueError for one that is not supported.
    """
    named = schema.get("$schema", default)
    found = DIALECTS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if found is None:
        known = ", ".join(DIALECTS)
        raise ValueError(f"$schema {named!r:.200} is not supported; supported are: {known}")
    return found
