"""Base of all protocol types, and the rules for absent members."""

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
            # For the decoder: with ``item | None`` it would accept a null.
            return item


class Model(Struct, rename="camel", omit_defaults=True, repr_omit_defaults=True):
    """JSON object with wire names in camel case.

    An absent member reads None, or False if absence means that, or an empty list if empty and
    absent mean the same.  A member with this value is not written, so that an absent member stays
    absent when it is sent on.

    Subclasses say ``kw_only=True``, which msgspec does not inherit.
    """

    __null__: ClassVar[tuple[str, ...]] = ()
    """Members that are null and not absent, out of those passed to :func:`as_sent`."""


AS_SENT: dict[Any, Any] = {}
"""Types made by :func:`as_sent`, by the original type."""


def as_sent(kind: type[S], *members: str) -> type[S]:
    """Return the type by which ``kind`` is read if null is a value of ``members``, not absence.

    Both read None.  Values of this type are at once converted to ``kind``, or, if a member is
    null, to a subclass that writes it.
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

    def reduce(value: Any) -> Any:  # pickle cannot find the class by its name
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
