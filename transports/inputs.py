"""What a handler may ask of the client, described once for both eras.

An :class:`Input` knows its request, the capability it needs and how to read the answer; how it
travels (a request on the wire, or an entry of ``inputRequests``) is :mod:`transports.context`'s
business.
"""

import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.service.errors import InvalidValue
from mcpcore.service.schema import form_schema, read
from mcpcore.spec.capabilities import input_capability
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.elicitation import ElicitResult
from mcpcore.spec.types.roots import ListRootsResult, Root
from mcpcore.spec.types.sampling import CreateMessageResult, SamplingMessage
from transports.forms import form_problems
from transports.typed import Malformed, typed

T = TypeVar("T")
R = TypeVar("R")


class InvalidAnswer(Exception):
    """The client's answer does not fit what was asked; the message says how."""


class Elicited(Struct, Generic[T], frozen=True):
    """What the user did, and with ``accept`` what the form holds."""

    action: Literal["accept", "decline", "cancel"]
    content: T | None = None

    @property
    def accepted(self) -> bool:
        """The user agreed."""
        return self.action == "accept"


class Input(ABC, Generic[R]):
    """One request to the client."""

    method: ClassVar[str]

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return the params that every revision sends."""

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Return the params for one revision; ``problem``: why the last answer was refused."""
        return self.params()

    @abstractmethod
    def parse(self, answer: Raw) -> R:
        """Type an answer.  Raises :class:`InvalidAnswer`."""

    @property
    def capability(self) -> str:
        """The dotted path of what the client must have declared."""
        path = input_capability(self.method, self.params())
        assert path is not None, self.method  # noqa: S101 - all methods here are in the table
        return path

    def digest(self) -> str:
        """Identify the question: same question, same digest, in every process."""
        asked = msgspec.json.encode([self.method, self.params()], order="deterministic")
        return hashlib.sha256(asked).hexdigest()[:12]


class Elicit(Input[Elicited[T]]):
    """Ask the user to fill in a form.

    ``schema``: a type with named fields of primitive types (Struct, dataclass, TypedDict), or a
    JSON Schema as the elicitation page restricts it.  With a type the answer's content is one.
    ``validate``: refuse, and ask again, content that breaks a JSON Schema.
    """

    method = "elicitation/create"

    def __init__(
        self, message: str, schema: type[T] | Mapping[str, Any], *, validate: bool = True
    ) -> None:
        self.message = message
        self._decoder: msgspec.json.Decoder[T] | None = None
        if isinstance(schema, Mapping):
            self.schema = schema
        else:
            self.schema = form_schema(schema)
            self._decoder = msgspec.json.Decoder(schema)
        self._validate = validate

    def params(self) -> dict[str, Any]:
        """Form mode is the default, and the only one that older clients know."""
        return {"message": self.message, "requestedSchema": self.schema}

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Tell the user why the form comes back."""
        params = self.params()
        if problem:
            params["message"] = f"{self.message}\n\nThe last answer did not fit: {problem}"
        return params

    def parse(self, answer: Raw) -> Elicited[T]:
        """Type the form's content."""
        result = _decode(answer, ElicitResult)
        if result.action != "accept":
            return Elicited(result.action)
        content = {} if result.content is UNSET else result.content
        if self._decoder is not None:
            try:
                return Elicited("accept", read(self._decoder, msgspec.json.encode(content), "form"))
            except InvalidValue as error:
                raise InvalidAnswer(str(error)) from None
        if self._validate and (problems := form_problems(self.schema, content)):
            raise InvalidAnswer("; ".join(problems))
        return Elicited("accept", content)  # type: ignore[arg-type]


class ElicitUrl(Input[Elicited[None]]):
    """Ask the user to visit a URL; acceptance means consent, not that the visit is over.

    ``elicitation_id`` names it in ``notifications/elicitation/complete`` where the revision has
    that.
    """

    method = "elicitation/create"

    def __init__(self, message: str, url: str, *, elicitation_id: str | None = None) -> None:
        self.message = message
        self.url = url
        self.elicitation_id = elicitation_id or secrets.token_hex(16)

    def params(self) -> dict[str, Any]:
        """Everything but the id, which need not be the same when the handler runs again."""
        return {"mode": "url", "message": self.message, "url": self.url}

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Name the elicitation where the server can refer to it later."""
        params = self.params()
        if revision.server_requests:
            params["elicitationId"] = self.elicitation_id
        return params

    def parse(self, answer: Raw) -> Elicited[None]:
        """Only the action counts."""
        return Elicited(_decode(answer, ElicitResult).action)


class Sample(Input[CreateMessageResult]):
    """Ask the client's model for a completion.

    ``messages``: a prompt or a conversation.  ``options``: further members of
    ``CreateMessageRequestParams`` by their wire names, such as ``systemPrompt`` or ``tools``.
    """

    method = "sampling/createMessage"

    def __init__(
        self,
        messages: str | Sequence[SamplingMessage | Mapping[str, Any]],
        max_tokens: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": {"type": "text", "text": messages}}]
        self._params = {
            "messages": msgspec.to_builtins(list(messages)),
            "maxTokens": max_tokens,
            **msgspec.to_builtins(dict(options or {})),
        }

    def params(self) -> dict[str, Any]:
        """The request as given."""
        return self._params

    def parse(self, answer: Raw) -> CreateMessageResult:
        """Type the model's message."""
        return _decode(answer, CreateMessageResult)


class ListRoots(Input[list[Root]]):
    """Ask which directories and files the server may work on."""

    method = "roots/list"

    def params(self) -> dict[str, Any]:
        """It has none."""
        return {}

    def parse(self, answer: Raw) -> list[Root]:
        """Unwrap the roots."""
        return list(_decode(answer, ListRootsResult).roots)


def _decode(answer: Raw, expected: type[T]) -> T:
    try:
        return typed(answer, expected)
    except Malformed as error:
        raise InvalidAnswer(str(error)) from None
