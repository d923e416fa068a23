"""Makers of faults of Streamable HTTP: by request, by response, by what is poured."""

from collections.abc import Callable, Iterable

from conformance.mutants.edits import drop
from conformance.mutants.fault import Asked, Breaks, Fault, Value
from conformance.mutants.faults import hooked
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Headers, Heard, Noise, Text
from mcpcore_conformance.kit.wire import Plain, Poured

Concerns = Callable[[Asked], bool]


def everything(_asked: Asked) -> bool:
    """Whether a request is concerned: all are."""
    return True


def requests(asked: Asked) -> bool:
    """Whether a POST carries a request."""
    return isinstance(asked.value, dict) and "method" in asked.value and "id" in asked.value


def notifications(asked: Asked) -> bool:
    """Whether a POST carries a notification."""
    return isinstance(asked.value, dict) and "method" in asked.value and "id" not in asked.value


def responses(asked: Asked) -> bool:
    """Whether a POST carries a response of the client."""
    return isinstance(asked.value, dict) and ("result" in asked.value or "error" in asked.value)


def gets(asked: Asked) -> bool:
    """Whether it is a GET."""
    return asked.method == "GET"


def deletes(asked: Asked) -> bool:
    """Whether it is a DELETE."""
    return asked.method == "DELETE"


def calls(method: str, tool: str = "") -> Concerns:
    """Whether a POST carries a request of that method, of that tool if one is named."""

    def concerned(asked: Asked) -> bool:
        if not requests(asked) or asked.value["method"] != method:
            return False
        return not tool or asked.value.get("params", {}).get("name") == tool

    return concerned


def with_header(name: str, test: Callable[[str | None], bool] = lambda value: True) -> Concerns:
    """Whether a header that the case has chosen passes a test."""
    return lambda asked: name in asked.headers and test(asked.headers[name])


class _Refuses(Fault):
    concerns: Concerns
    status: int
    value: Value | None
    _headers: Headers
    body: bytes

    def fetching(self, asked: Asked) -> Asked | None:
        if not self.concerns(asked):
            return asked
        value = self.value
        if value is not None and isinstance(asked.value, dict) and "id" in asked.value:
            value = {**value, "id": asked.value["id"]}
        self.answer_http(self.status, value, headers=self._headers, body=self.body)
        return None


one_principal = hooked(connecting=drop("other"))
"""Takes whoever comes for the same."""


def refuses(
    concerns: Concerns,
    status: int,
    value: Value | None = None,
    *,
    headers: Headers | None = None,
    body: bytes = b"",
) -> Breaks:
    """Answer with a status in the server's place; ``value`` gets the id of the request."""
    return lambda: _Refuses(concerns, status, value, headers or [], body)


def rewrites(concerns: Concerns, edit: Callable[[Asked], Asked]) -> Breaks:
    """Change requests before they reach the server: it does not see what it should look at."""
    return hooked(fetching=lambda asked: edit(asked) if concerns(asked) else asked)


def overlooks(concerns: Concerns, *names: str, instead: str | None = None) -> Breaks:
    """Take headers away that the case has chosen (or give them a value of their own)."""

    def edit(asked: Asked) -> Asked:
        asked.headers = {
            name: instead if name in names else value
            for name, value in asked.headers.items()
            if name not in names or instead is not None
        }
        return asked

    return rewrites(concerns, edit)


class _Responses(Fault):
    concerns: Concerns
    _head: Callable[[Head], Head] | None
    text: Callable[[Text], Iterable[Heard]] | None
    _other: Callable[[Event | Done | Gone | Noise], Iterable[Heard]] | None

    def _concerned(self, heard: Heard) -> bool:
        if isinstance(heard, Gone):
            return False
        asked = self.exchanges.get(heard.exchange)
        return asked is not None and self.concerns(asked)

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if not self._concerned(heard):
            return (heard,)
        if isinstance(heard, Head):
            return (heard if self._head is None else self._head(heard),)
        if isinstance(heard, Text):
            return (heard,) if self.text is None else self.text(heard)
        return (heard,) if self._other is None else self._other(heard)


def responses_to(
    concerns: Concerns,
    *,
    head: Callable[[Head], Head] | None = None,
    text: Callable[[Text], Iterable[Heard]] | None = None,
    other: Callable[[Event | Done | Gone | Noise], Iterable[Heard]] | None = None,
) -> Breaks:
    """Edit the responses to some requests: their heads, messages, and everything else."""
    return lambda: _Responses(concerns, head, text, other)


def status_of(concerns: Concerns, status: int) -> Breaks:
    """Answer some requests with another status."""

    def edit(head: Head) -> Head:
        head.status = status
        return head

    return responses_to(concerns, head=edit)


def header_of(concerns: Concerns, name: str, value: str | Callable[[], str] | None) -> Breaks:
    """Answer some requests with another value of a header, made anew or not, or without it."""

    def edit(head: Head) -> Head:
        head.headers = [each for each in head.headers if each[0] != name]
        if value is not None:
            head.headers.append((name, value() if callable(value) else value))
        return head

    return responses_to(concerns, head=edit)


def body_of(concerns: Concerns, body: bytes) -> Breaks:
    """Answer some requests with a body that is no message."""

    def edit(heard: Event | Done | Gone | Noise) -> Iterable[Heard]:
        if isinstance(heard, Done):
            heard.body = body
        return (heard,)

    return responses_to(concerns, other=edit)


def pours(edit: Callable[[bytes, Poured], Poured]) -> Breaks:
    """Change what comes of bytes that are poured into a connection."""
    return hooked(poured=lambda pieces, found: edit(b"".join(pieces), found))


def pours_otherwise(edit: Callable[[bytes], bytes]) -> Breaks:
    """Change bytes that are poured into a connection before they reach the server."""
    return hooked(pouring=lambda pieces: tuple(map(edit, pieces)))


def pours_statuses(*statuses: int, closed: bool = True) -> Breaks:
    """Answer whatever is poured with these statuses."""
    return pours(
        lambda _data, _found: Poured([Plain(each, [], whole=True) for each in statuses], closed)
    )
