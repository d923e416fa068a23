"""What a client's certificate says, as far as a server decides by it.

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
    """A certificate that a client has shown, and proved to own, and that was verified.

    Who tells parties apart by ``subject`` or ``names`` relies on the authorities not to issue the
    same to two of them.
    """

    subject: str
    """As RFC 4514 writes it, for instance ``CN=ann,O=Example``; "" if it has none."""
    der: bytes
    """The certificate itself."""
    names: tuple[tuple[str, str], ...] = ()
    """The subject alternative names with their kinds: ``("DNS", "ann.example")``, ``("URI", ...)``,
    ``("email", ...)``, ``("IP Address", ...)``.  Empty where the server in front does not say."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ``der``, in lower-case hexadecimal."""
        from hashlib import sha256  # here and not above: servers without TLS name this type, too

        return sha256(self.der).hexdigest()


def write_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Write a distinguished name, given as the attributes of each of its parts, the first first."""
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in name
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """What stands for itself nowhere in a name, escaped (RFC 4514 section 2.4)."""
    text = "".join(
        f"\\{char}" if char in _SPECIAL else "\\00" if char == "\0" else char for char in value
    )
    if text.endswith(" "):
        text = text[:-1] + "\\ "
    return f"\\{text}" if text.startswith((" ", "#")) else text
