"""Types that msgspec reads and writes with help: paths, and models of pydantic.

:func:`mcpcore.wire.jsontext.encodable` writes them.
"""

import sys
import types
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct, defstruct, inspect

if TYPE_CHECKING:  # late: few use pydantic, which is slow to import
    from mcpcore.service.pydantic_types import PydanticType

_JSON_NAMES = {"dict": "object", "list": "array", "NoneType": "null"}


def read_by_pydantic(annotation: Any) -> "PydanticType | None":
    """Return the reader of a type that pydantic reads as a whole, or None; see there."""
    if "pydantic" not in sys.modules:
        return None
    from mcpcore.service.pydantic_types import pydantic_type  # late: few use pydantic

    return pydantic_type(annotation)


def describe(cls: Any, *, output: bool = False) -> dict[str, Any]:
    """Return the schema of a type that msgspec does not know.  Raises NotImplementedError."""
    if is_path(cls):
        cls()  # raises NotImplementedError if it is of another operating system
        return {"type": "string", "format": "path"}
    if is_model(cls):
        from mcpcore.service.pydantic_types import PydanticType  # late: few use pydantic

        return PydanticType(cls).schema(output=output)
    raise NotImplementedError


def read_custom(cls: Any, value: Any) -> Any:
    """Convert a value to a type unknown to msgspec: its ``dec_hook``.  Raises ValueError."""
    if is_path(cls):
        if isinstance(value, str | cls):
            return cls(value)
        name = type(value).__name__
        raise ValueError(f"Expected `str`, got `{_JSON_NAMES.get(name, name)}`")
    if is_model(cls):
        from mcpcore.service.pydantic_types import read_model  # late: few use pydantic

        return read_model(cls, value)
    return value  # msgspec reports the expected type


def accept_custom(cls: Any, value: Any) -> Any:
    """Convert a value that was written here; a model, checked when written, is not read again."""
    return cls.model_construct() if is_model(cls) else read_custom(cls, value)


def without_paths(annotation: Any) -> Any:
    """Remove the path from ``str | Path``: the value is a string, and msgspec cannot choose."""
    options = get_args(annotation)
    if is_union(get_origin(annotation)) and str in options:
        return Union[tuple(each for each in options if not is_path(each))]  # noqa: UP007
    return annotation


def is_union(origin: Any) -> bool:
    """Return True if a type's origin is that of ``X | Y`` or ``Union[X, Y]``."""
    return origin is Union or origin is types.UnionType


def twin_of_class(cls: Any) -> type[Struct] | None:
    """Return a Struct with the attributes of a class, if it is a plain one with annotations."""
    info = inspect.type_info(cls) if isinstance(cls, type) else None
    if not isinstance(info, inspect.CustomType) or is_path(cls) or is_model(cls):
        return None
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError:
        return None
    fields = [
        (name, hint, getattr(cls, name, NODEFAULT))
        for name, hint in hints.items()
        if not name.startswith("_") and get_origin(hint) is not ClassVar
    ]
    return defstruct(cls.__name__, fields, namespace={"__doc__": cls.__doc__}) if fields else None


def is_path(cls: Any) -> bool:
    """Return True if this is a class of :mod:`pathlib`."""
    pathlib = sys.modules.get("pathlib")
    return pathlib is not None and isinstance(cls, type) and issubclass(cls, pathlib.PurePath)


def is_model(cls: Any) -> bool:
    """Return True if this is a pydantic model class."""
    return hasattr(cls, "__pydantic_validator__") and hasattr(cls, "model_validate_json")
