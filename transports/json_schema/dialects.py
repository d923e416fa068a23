"""The dialects of JSON Schema that are supported, each with its published meta-schema.

Sources: the meta-schemas of 2020-12, 2019-09, draft-07, draft-06, draft-04.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jsonschema import validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import specification_with

from transports.json_schema.keywords import counted
from transports.json_schema.patterns import Pattern
from transports.json_schema.quiet import quiet


class Dialect:
    """One version of JSON Schema, as a class of validators with our keywords."""

    def __init__(self, uri: str, base: Any, *, booleans: bool = True, alone: bool = False) -> None:
        self.uri = uri
        self.validator = counted(base)
        self.specification: Any = specification_with(uri)
        self.booleans = booleans
        """True and False are schemas."""
        self.alone = alone
        """What stands beside ``$ref`` does not count."""
        self.item_lists = "prefixItems" not in base.VALIDATORS
        """``items`` may be an array of schemas."""
        self.patterns: dict[str, Pattern] = {}
        """Those of the meta-schema that were used."""

    @cached_property
    def published(self) -> Registry[Any]:
        """The meta-schema and its parts, which are all that can be referred to outside a schema.

        They name no dialect, as the library would take another class of validators then.
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
        """All that the meta-schema knows."""
        parts = (self.published[uri].contents for uri in self.published)
        return frozenset(word for part in parts for word in part.get("properties", ()))

    @cached_property
    def meta(self) -> Any:
        """The validator of schemas."""
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
"""By what ``$schema`` says; the first is the default."""


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
