"""Requests of a handler to the client, described once for both eras."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import checked_meta
from mcpcore.engine.input_rounds import is_web_url
from mcpcore.errors import InvalidValue, Malformed, Unsayable
from mcpcore.service.custom_types import read_by_pydantic
from mcpcore.service.reading import ValueReader, typed
from mcpcore.service.schema import derive, form_schema, form_type
from mcpcore.spec.capabilities import input_capability
from mcpcore.spec.members import unknown_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types import client_features as features
from mcpcore.spec.types.base import Meta
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore_transports.server import contents

if TYPE_CHECKING:  # late: few use pydantic, which is slow to import
    from typing_extensions import TypeForm  # in typing from Python 3.15 on

    from mcpcore.service.pydantic_types import PydanticType

T = TypeVar("T")
R = TypeVar("R")


class Elicited(Struct, Generic[T], frozen=True):
    """Action of the user and, with ``accept``, the content of the form."""

    action: Literal["accept", "decline", "cancel"]
    content: T | None = None
    """Form, or the value that alone was asked for; None unless the user accepted."""
    meta: Meta = {}
    """``_meta`` of the client's answer."""

    @property
    def accepted(self) -> bool:
        """True if the user accepted."""
        return self.action == "accept"

    @property
    def data(self) -> T | None:
        """Content of the form, under the name that other libraries use."""
        return self.content


class RootList(list[features.Root]):
    """Roots of a client."""

    def __init__(self, roots: Iterable[features.Root] = (), meta: Meta | None = None) -> None:
        super().__init__(roots)
        self.meta: Meta = meta or {}
        """``_meta`` of the client's answer."""


class Input(ABC, Generic[R]):
    """Request to the client: its params, the capability it needs, the parser of the answer."""

    method: str
    task: dict[str, int] | None = None
    """Task parameter that asks the client to run the request as a task, if any."""
    meta: Meta | None = None
    """Members for the request's ``_meta``, beside the trace context of the handler's request."""

    def as_task(self, ttl: float | None = None) -> Self:
        """Ask the client to run it as a task, where it can do that (2025-11-25); return self.

        ``ttl``: seconds that it is asked to keep the task.
        """
        self.task = {} if ttl is None else {"ttl": max(1, round(ttl * 1000))}
        return self

    def with_meta(self, meta: Mapping[str, Any] | None) -> Self:
        """Put members into the request's ``_meta``; return self.

        Raises LocalProtocolError for keys that are reserved for the engine.
        """
        self.meta = checked_meta(meta or {})
        return self

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return the params that every revision sends."""

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Return the params for one revision; ``problem``: why the last answer was refused.

        Raises :class:`~mcpcore.errors.Unsayable` if the revision cannot express the request.
        """
        return self.params()

    def needs(self, revision: Revision) -> tuple[str, ...]:
        """Return the capabilities that a client of ``revision`` must declare, as dotted paths."""
        return (self.capability,)

    @abstractmethod
    def parse(self, answer: Raw) -> R:
        """Decode an answer.  Raises :class:`~mcpcore.errors.InvalidValue`."""

    @property
    def capability(self) -> str:
        """Dotted path of the capability that the client must have declared."""
        path = input_capability(self.method, self.params())
        assert path is not None, self.method  # noqa: S101 - all methods here are in the table
        return path

    def digest(self) -> str:
        """Return a digest of the question that is the same in every process."""
        import hashlib  # imported late, as secrets below: neither is needed to serve

        asked = msgspec.json.encode([self.method, self.params()], order="deterministic")
        return hashlib.sha256(asked).hexdigest()[:12]


class Elicit(Input[Elicited[T]]):
    """Request that asks the user to fill in a form.

    ``schema``: a type with named fields of primitive types (Struct, dataclass, TypedDict, model of
    pydantic), the type of such a field alone (``int``, ``Literal["tea", "milk"]``), or a JSON
    Schema as the elicitation page restricts it.  With a type the answer's content is an instance
    of it; the form of a value alone has the one field ``value``.
    ``validate``: refuse content that breaks a JSON Schema, and ask again.
    Raises TypeError or ValueError for a schema that is no form, naming the field; ValidatorMissing
    for one with a pattern, where the extra ``schema`` is not installed.
    """

    method = "elicitation/create"

    @overload
    def __init__(self, message: str, schema: type[T]) -> None: ...

    @overload
    def __init__(self, message: str, schema: "TypeForm[T]") -> None: ...

    @overload
    def __init__(
        self: "Elicit[dict[str, Any]]",
        message: str,
        schema: Mapping[str, Any],
        *,
        validate: bool = True,
    ) -> None: ...

    def __init__(self, message: str, schema: Any, *, validate: bool = True) -> None:
        self.message = message
        self._reader: ValueReader[Any] | PydanticType | None = None
        self._alone = False
        if isinstance(schema, Mapping):
            contents.check_form(schema)
            self.schema = schema
            if validate:
                contents.pattern_check(schema)
        else:
            asked = form_type(schema)
            self._alone = asked is not schema
            self.schema = form = form_schema(asked)
            # What may be null need not be filled in, though the type has no default for it.
            self._nulls = {*derive(asked).get("required", ())} - {*form.get("required", ())}
            self._reader = read_by_pydantic(asked) or ValueReader(
                asked, lambda: form, contents.pattern_check, "a form"
            )
        self._validate = validate

    def params(self) -> dict[str, Any]:
        """Return the params in form mode, which all clients know."""
        return {"message": self.message, "requestedSchema": self.schema}

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Return the params; the message tells the user why the form is repeated."""
        params = {**self.params(), "requestedSchema": contents.form_for(self.schema, revision)}
        if problem:
            params["message"] = f"{self.message}\n\nThe last answer did not fit: {problem}"
        return params

    def parse(self, answer: Raw) -> Elicited[T]:
        """Decode the content of the form."""
        result = _decode(answer, ElicitResult)
        meta = result.meta or {}
        if result.action != "accept":
            return Elicited(result.action, meta=meta)
        content = result.content or {}
        if self._reader is not None:
            filled = dict.fromkeys(self._nulls) | content
            form = self._reader.read(msgspec.json.encode(filled), "form")
            return Elicited("accept", form.value if self._alone else form, meta)
        if self._validate and (problems := contents.form_problems(self.schema, content)):
            raise InvalidValue("; ".join(problems))
        return Elicited("accept", content, meta)  # type: ignore[arg-type]


class ElicitUrl(Input[Elicited[None]]):
    """Request that asks the user to visit a URL; acceptance is consent, not the end of the visit.

    ``elicitation_id`` identifies it in ``notifications/elicitation/complete`` where the revision
    has that.  Raises ValueError for a URL that is neither http nor https.
    """

    method = "elicitation/create"

    def __init__(self, message: str, url: str, *, elicitation_id: str | None = None) -> None:
        if not is_web_url(url):
            raise ValueError(f"{url!r} is no URL that a user could visit")
        self.message = message
        self.url = url
        import secrets

        self.elicitation_id = elicitation_id or secrets.token_hex(16)

    def params(self) -> dict[str, Any]:
        """Return the params without the id, which may differ when the handler runs again."""
        return {"mode": "url", "message": self.message, "url": self.url}

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Return the params, with the elicitation id in revisions that have one."""
        unknown = unknown_members(ElicitParams, revision)
        if "url" in unknown:
            raise Unsayable(f"{revision.name} has no elicitation by URL")
        params = self.params()
        if "elicitation_id" not in unknown:
            params["elicitationId"] = self.elicitation_id
        return params

    def parse(self, answer: Raw) -> Elicited[None]:
        """Decode the action; there is no content."""
        result = _decode(answer, ElicitResult)
        return Elicited(result.action, meta=result.meta or {})


class Sample(Input[features.CreateMessageResult]):
    """Request for a completion by the client's model.

    ``messages``: a prompt or a conversation.  ``options``: further members of
    ``CreateMessageRequestParams`` by their wire names, such as ``systemPrompt`` or ``tools``.
    Raises TypeError for an option that does not exist, ValueError for an invalid conversation.
    """

    method = "sampling/createMessage"

    def __init__(
        self,
        messages: str | Sequence[features.SamplingMessage | Mapping[str, Any]],
        max_tokens: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        options = dict(options or {})
        if unknown := options.keys() - _SAMPLING_OPTIONS:
            known = ", ".join(sorted(_SAMPLING_OPTIONS))
            raise TypeError(f"sampling has no option {min(unknown)!r}; it has {known}")
        if isinstance(messages, str):
            messages = [{"role": "user", "content": {"type": "text", "text": messages}}]
        given = {"messages": list(messages), "maxTokens": max_tokens, **options}
        self._typed = typed(msgspec.json.encode(given), features.CreateMessageParams)
        if problem := contents.message_problem(self._typed.messages):
            raise ValueError(problem)
        self._params: dict[str, Any] = msgspec.to_builtins(self._typed)

    def params(self) -> dict[str, Any]:
        """Return the params as given."""
        return self._params

    def wire_params(self, revision: Revision, problem: str | None = None) -> dict[str, Any]:
        """Return the params as far as the revision can express them."""
        found: dict[str, Any] = msgspec.to_builtins(contents.params_for(self._typed, revision))
        return found

    def needs(self, revision: Revision) -> tuple[str, ...]:
        """Return the capabilities; context of servers needs one of its own in some revisions."""
        with_context = self._typed.include_context not in (None, "none")
        more = ("sampling.context",) if revision.sampling_tools and with_context else ()
        return (self.capability, *more)

    def parse(self, answer: Raw) -> features.CreateMessageResult:
        """Decode the model's message."""
        return _decode(answer, features.CreateMessageResult)


_SAMPLING_OPTIONS = {
    field.encode_name for field in msgspec.structs.fields(features.CreateMessageParams)
} - {"_meta", "maxTokens", "messages", "task"}


class ListRoots(Input[RootList]):
    """Request for the directories and files that the server may work on."""

    method = "roots/list"

    def params(self) -> dict[str, Any]:
        """Return empty params."""
        return {}

    def parse(self, answer: Raw) -> RootList:
        """Decode the list of roots."""
        result = _decode(answer, features.ListRootsResult)
        return RootList(result.roots, result.meta)


def _decode(answer: Raw, expected: type[T]) -> T:
    try:
        return typed(answer, expected)
    except Malformed as error:
        raise InvalidValue(str(error)) from None
