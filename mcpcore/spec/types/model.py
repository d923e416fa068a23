"""The base of every type of the protocol, and what may be absent in one."""

from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, get_type_hints

import msgspec
from msgspec import UNSET, Struct

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

if TYPE_CHECKING:
    Maybe: TypeAlias = T | None
else:

    class Maybe:
        """``Maybe[X]``: an ``X`` or absent, which reads None; a null on the wire is neither."""

        def __class_getitem__(cls, item: Any) -> Any:
            # What the decoder goes by: with ``item | None`` it would take a null.
            return item


class Model(Struct, rename="camel", omit_defaults=True, repr_omit_defaults=True):
    """A JSON object: wire names in camel case.

    What is absent on the wire reads None; False where that is what absence means; an empty list
    where it makes no difference whether the list is empty or absent.  A member that has this value
    is not written, so that what was absent stays absent when it is sent on.

    Subclasses say ``kw_only=True``, which msgspec does not inherit.
    """

    __null__: ClassVar[tuple[str, ...]] = ()
    """The members that are null and not absent, of those that :func:`as_sent` was told of."""


AS_SENT: dict[Any, Any] = {}
"""By type: what :func:`as_sent` made of it."""


def as_sent(kind: type[S], *members: str) -> type[S]:
    """Return the type to read ``kind`` by where null is a value of ``members``, and not absence.

    Both read None.  Values of this type are at once made ones of ``kind``, or, where a member is
    null, of a subclass that writes it.
    """
    hints = get_type_hints(kind)

    def settle(value: Any) -> None:
        null: tuple[str, ...] = ()
        for name in members:
            member = getattr(value, name)
            if member is UNSET:
                setattr(value, name, None)
            elif member is None:
                null += (name,)
        value.__class__ = kinds[null] if null else kind

    def reduce(value: Any) -> Any:  # the class has no name of its own to be found by
        members = msgspec.structs.asdict(value).items()
        said = {name: one for name, one in members if one is not None or name in value.__null__}
        return _restore, (kind, said)

    def writes(names: tuple[str, ...], **namespace: Any) -> Any:
        fields = [(name, hints[name], UNSET) for name in names]
        return msgspec.defstruct(
            kind.__name__,
            fields,
            bases=(kind,),
            namespace={
                "__doc__": kind.__doc__,
                "__null__": names,
                "__reduce__": reduce,
                **namespace,
            },
            module=kind.__module__,
            kw_only=True,
        )

    some = chain.from_iterable(combinations(members, count + 1) for count in range(len(members)))
    kinds = {names: writes(names) for names in some}
    found = AS_SENT[kind] = writes(members, __post_init__=settle)
    return found  # type: ignore[no-any-return]


def _restore(kind: type[S], members: dict[str, Any]) -> S:
    value: S = AS_SENT[kind](**members)
    return value
