"""Mutants that look at certificates wrongly."""

from typing import Any

from conformance.mutants.basic_authorization import CHALLENGE
from conformance.mutants.credentials import BEARER, bearing
from conformance.mutants.http_faults import header_of, status_of
from conformance.mutants.model import Table

table = Table("rfc8705")


def _certified(_: dict[str, Any], claims: dict[str, Any]) -> bool:
    return "x5t#S256" in claims.get("cnf", {})


table.server("no-certificate", "without-certificate").does(
    "Takes tokens of certificates without one.", status_of(bearing(_certified, BEARER), 200)
)
table.server("silent-about-certificate", "invalid-without").does(
    "Does not say that a token without its certificate is invalid.",
    header_of(bearing(_certified, BEARER), CHALLENGE, "Bearer"),
)
