"""Client certificates: the fields by which a server tells clients apart.

Sources: RFC 4514 (how a subject is written), RFC 5280 section 4.2.1.6 (subject alternative names).
"""

from collections.abc import Iterable

from msgspec import Struct

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL = frozenset('",+;<>\\=')


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """A verified client certificate whose key the client has proved to own.

    ``subject`` and ``names`` tell parties apart as far as the authorities issue none twice.
    """

    subject: str
    """Subject in the form of RFC 4514, for instance ``CN=ann,O=Example``; "" if it has none."""
    der: bytes
    """The certificate itself, in DER."""
    names: tuple[tuple[str, str], ...] = ()
    """Subject alternative names with their kinds: ``("DNS", "ann.example")``, ``("URI", ...)``,
    ``("email", ...)``, ``("IP Address", ...)``.  Empty if the server in front does not pass them
    on."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ``der``, in lower-case hexadecimal."""
        from hashlib import sha256  # imported here, as servers without TLS also load this type

        return sha256(self.der).hexdigest()


def write_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Write a distinguished name, given as the attributes of each of its parts, in order."""
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in name
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(
        f"\\{char}" if char in _SPECIAL else "\\00" if char == "\0" else char for char in value
    )
    if text.endswith(" "):
        text = text[:-1] + "\\ "
    return f"\\{text}" if text.startswith((" ", "#")) else text
