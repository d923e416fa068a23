"""Options from a configuration file and from the environment: where each value comes from.

A value is that of the command line, else of the variable ``MCPCORE_<NAME>``, else of the file that
``MCPCORE_<NAME>_FILE`` names, as containers mount secrets, else of the configuration file.  That is
TOML: its members have the names of the options, its tables ``limits``, ``rates``, ``suspicion``,
``supervision`` and ``guard`` hold what ``--limit`` takes, and the policies.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import typer
from msgspec import Struct

from mcpcore.errors import BadConfig
from mcpcore_transports.commands.options import PREFIX, Command
from mcpcore_transports.commands.output import print_warning

if TYPE_CHECKING:  # imported where a file has them: each command waits for what is imported here
    from mcpcore.policy.rates import Activity, Rate
    from mcpcore.policy.suspicion import Suspicion
    from mcpcore.policy.trust import TrustSettings

T = TypeVar("T")

SETTLED = "mcpcore.settled"
"""Key of the :class:`Settled` in the ``meta`` of a command's context."""
_CREDENTIALS = ("AUTH_CLIENT_ID", "AUTH_CLIENT_SECRET")
"""Variables that are no options and may be in files, also the configuration file, without their
prefix."""
_OTHERS = ("CONFIG", "PRINCIPAL", "SCOPES", "ROLES")
"""Further variables of this program with names that users choose the values of."""
_OWN = ("LIFELINE", "LIFELINE_PLACE", "DEV", "PROCESS", "BENCH_PROFILE")
"""Variables that processes of this program set for each other."""
_LIKE, _NEAR = 0.8, 0.5
"""Similarities from which a name is taken for a mistyped one, and from which it may be one."""
_POLICIES = ("rates", "suspicion", "supervision", "guard")
"""Tables of a file beside its limits."""
_CALLERS = 10_000
"""Callers that are counted, if ``[rates]`` does not say how many."""
_GUARD = ("allow", "deny", "descriptions", "results", "redact")
"""Settings of the trust in a server that are not about pins."""
_LARGEST = 1 << 20
"""Maximum bytes of a file."""
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]*(?=@)|((?:password|passwd|secret|token)=)[^&\s]*")


class Rates(Struct, kw_only=True):
    """Rates of requests, as a limiter takes them."""

    rates: "dict[Activity, Rate]"
    per_tool: "dict[str, Rate]"
    callers: int


class Settled(Struct, kw_only=True):
    """Values that are not from the flags of a command."""

    path: str = ""
    """Path of the configuration file, as it was given."""
    origins: dict[str, str] = {}
    """Name of a variable, or of the configuration file, by the option that it holds a value of."""
    hidden: set[str] = set()
    """Options whose values are secrets."""
    tables: dict[str, Any] = {}
    """Values in the tables of the file, by their whole names."""
    limits: dict[str, tuple[str, ...]] = {}
    """Limits in the form ``NAME=VALUE``, by their origin; those of a later one go before."""
    rates: Rates | None = None
    suspicion: "Suspicion | None" = None
    supervision: Mapping[str, float] | None = None
    """Members of :class:`~mcpcore_transports.serve.workers.WorkersSettings`."""
    guard: "TrustSettings | None" = None


class SettledCommand(Command):
    """Command whose options may be in files that variables name; ``--config`` reads another one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the files before the command line, which goes before them."""
        settled = ctx.meta[SETTLED] = Settled()
        ctx.default_map = {}
        names = [*(each.name.upper() for each in self.params if each.name), *_CREDENTIALS]
        _warn_of_config()
        limits = _read_limits({*names, *_OTHERS, *_OWN, *_own_variables(self.params)})
        for name in names:
            variable = f"{PREFIX}{name}_FILE"
            path = os.environ.get(variable)
            if path is None:
                continue
            if f"{PREFIX}{name}" in os.environ:
                raise typer.BadParameter(f"{PREFIX}{name} and {variable} are both set")
            value = _content(path, f"{variable}: ").decode("utf-8", "replace").removesuffix("\n")
            if name in _CREDENTIALS:
                os.environ[f"{PREFIX}{name}"] = value
                settled.origins[name.lower()] = variable
                del os.environ[variable]  # else further processes find both
            else:
                ctx.default_map[name.lower()] = value
                settled.origins[name.lower()] = variable
                settled.hidden.add(name.lower())
        try:
            rest = super().parse_args(ctx, args)
            settled.limits.update(limits)  # behind those of the configuration file
            return rest
        except typer.BadParameter as error:
            param: str = getattr(error.param, "name", None) or ""
            if _source(ctx, param) == "DEFAULT_MAP":
                error.message = f"{error.message} (it is from {settled.origins[param]})"
            raise


def _warn_of_config() -> None:
    """Warn of a file of options in the variable that names an ``mcp.json`` to other commands."""
    path = os.environ.get(f"{PREFIX}CONFIG", "")
    if path.endswith(".toml") and f"{PREFIX}LIFELINE" not in os.environ:
        said = (
            "is not read here, where it would be an mcp.json: options are in the file of --config"
        )
        print_warning(f"{PREFIX}CONFIG={path} {said}")


def _own_variables(params: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the variables that options have of their own, without their prefix."""
    for each in params:
        given = each.envvar or ()
        for variable in (given,) if isinstance(given, str) else given:
            yield variable.removeprefix(PREFIX)


def _read_limits(known: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the limits that variables with their names set; warn of variables that nobody reads.

    Raises typer.BadParameter for a variable with nearly the name of one that is known; others with
    the prefix may be those of another program.
    """
    unread = [
        variable
        for variable in os.environ
        if variable.startswith(PREFIX)
        and not {variable.removeprefix(PREFIX), _without_file(variable)} & {*known}
    ]
    if not unread:
        return {}
    from mcpcore_transports.commands.serve import LIMITS  # late: few set any

    limits = {f"{PREFIX}{each.name.upper()}": each.name for each in LIMITS.values()}
    names = {*known, *map(_without_file, limits)}
    found: dict[str, tuple[str, ...]] = {}
    strange: list[str] = []
    for variable in unread:
        if variable in limits:
            found[variable] = (f"{limits[variable]}={os.environ[variable]}",)
            continue
        name, hint = _without_file(variable), ""
        if near := get_close_matches(name, names, n=1, cutoff=_NEAR):
            hint = f"; did you mean {PREFIX}{near[0]}?"
            if get_close_matches(name, near, cutoff=_LIKE):
                raise typer.BadParameter(f"there is no variable {variable}{hint}")
        strange.append(f"{variable} is read by nobody{hint}")
    if PREFIX + "LIFELINE" not in os.environ:  # else the supervisor has said so
        for said in strange:
            print_warning(said)
    return found


def _without_file(variable: str) -> str:
    """Return the name that a variable is for, without what says that a file has the value."""
    return variable.removeprefix(PREFIX).removesuffix("_FILE")


def read_config(context: typer.Context, path: str | None) -> str | None:
    """Take options from a configuration file, as a callback of ``--config``; return the path.

    Raises typer.BadParameter, which names the file and the member.
    """
    if path is None:
        return None
    import tomllib  # late: few have a file

    settled: Settled = context.meta[SETTLED]
    settled.path = path
    try:
        table = tomllib.loads(_content(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} is no TOML: {error}") from error
    given = {name.replace("-", "_"): value for name, value in table.items()}
    options = {each.name: each for each in context.command.params if each.name != "config"}
    options.pop("show_config", None)
    credentials = {each.lower(): f"{PREFIX}{each}" for each in _CREDENTIALS}
    known = [*filter(None, options), *credentials, *_POLICIES, "limits", "secrets"]
    _check_known(given, known, path)
    try:
        secrets = _hook(given.pop("secrets", None))
        for name in _POLICIES:
            settled.tables.update(_leaves(name, given.get(name, {})))
        settled.limits[path] = tuple(_limits(given.pop("limits", {})))
        settled.rates = _rates(given.pop("rates", None))
        settled.suspicion = _suspicion(given.pop("suspicion", None))
        settled.supervision = _supervision(given.pop("supervision", None))
        settled.guard = _guard(given.pop("guard", None))
        defaults: dict[str, Any] = context.default_map  # type: ignore[assignment]
        for name, value in given.items():
            if isinstance(value, dict):
                settled.hidden.add(name)
            variable = credentials.get(name, "")
            if name in defaults or variable in os.environ:
                continue
            found = _secret(name, value, secrets) if isinstance(value, dict) else value
            if variable:
                os.environ[variable] = str(_fitting(name, found, multiple=False))
            else:
                defaults[name] = _fitting(name, found, multiple=options[name].multiple)
            settled.origins[name] = path
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error
    return path


def shown_options(context: typer.Context) -> Iterator[tuple[str, str, str]]:
    """Yield the name, value and origin of each option that has a value, with secrets hidden."""
    settled: Settled = context.meta[SETTLED]
    for option in context.command.params:
        name, value = option.name or "", context.params.get(option.name or "")
        if name in ("config", "show_config") or value in (None, ()):
            continue
        match source := _source(context, name):
            case "COMMANDLINE":
                origin = "command line"
            case "ENVIRONMENT":
                variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar
                origin = next((each for each in variables or () if each in os.environ), PREFIX)
            case "DEFAULT_MAP":
                origin = settled.origins[name]
            case _:
                origin = "default"
        hidden = name in settled.hidden and source == "DEFAULT_MAP"
        yield name, "***" if hidden else _shown(value), origin
    for name in _CREDENTIALS:
        if (variable := f"{PREFIX}{name}") in os.environ:
            yield name.lower(), "***", settled.origins.get(name.lower(), variable)
    for name, value in settled.tables.items():
        yield name, _shown(value), settled.path


def _source(context: Any, name: Any) -> str:
    """Return the name of a parameter's source, as click calls them."""
    return getattr(context.get_parameter_source(name), "name", "DEFAULT")


def _shown(value: Any) -> str:
    """Format a value as TOML does, without passwords in URLs and header values."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, str):
        return f'"{_PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", value)}"'
    return str(value)


def _content(path: str, what: str = "") -> bytes:
    """Return the content of a file.  Raises typer.BadParameter, which begins with ``what``."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise typer.BadParameter(f"{what}{path}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise typer.BadParameter(f"{what}{path} has more than {_LARGEST} bytes")
    return content


def _check_known(given: Collection[str], known: Collection[str], where: str) -> None:
    """Raise typer.BadParameter for a name that is not known, with the nearest that is."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise typer.BadParameter(f"{where} has the unknown member {name!r}{hint}")


def _fitting(name: str, value: Any, *, multiple: bool) -> Any:
    """Return a value in the form of the command line.  Raises ValueError."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) for each in values):
        raise ValueError(f"{name}: expected text, a number, true or false, or a list of these")
    if multiple:
        return [str(each) for each in values]
    if isinstance(value, list):
        raise ValueError(f"{name}: one value is expected, not a list")
    return value


def _limits(table: Any) -> Iterator[str]:
    if not isinstance(table, dict):
        raise ValueError("limits: expected a table")
    for name, value in table.items():
        if isinstance(value, dict):  # a whole name, such as HttpSettings.max_body
            yield from (f"{name}.{inner}={each}" for inner, each in value.items())
        else:
            yield f"{name}={value}"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a table of tables by their whole names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for inner, each in value.items():
        yield from _leaves(f"{name}.{inner}", each)


def settled_policies(table: Mapping[str, Any], where: str) -> Settled:
    """Return what ``rates`` and ``suspicion`` of a table say.  Raises BadConfig, with its place."""
    try:
        rates, suspicion = _rates(table.get("rates")), _suspicion(table.get("suspicion"))
    except (ValueError, typer.BadParameter) as error:
        raise BadConfig(f"{where}.{error}") from error
    return Settled(rates=rates, suspicion=suspicion)


def _rates(table: Any) -> Rates | None:
    """Return what ``[rates]`` says: rates by activity, those of tools in ``tool``, ``callers``."""
    if table is None:
        return None
    from mcpcore.policy.rates import Activity  # late: few limit rates

    activities = {each.name.lower(): each for each in Activity}
    given = dict(_table("rates", table, [*activities, "tool", "callers"]))
    per_tool = _table("rates.tool", given.pop("tool", {}))
    callers = given.pop("callers", _CALLERS)
    if not isinstance(callers, int) or callers < 1:
        raise ValueError("rates.callers: expected a whole number above 0")
    return Rates(
        rates={activities[name]: _rate(f"rates.{name}", each) for name, each in given.items()},
        per_tool={name: _rate(f"rates.tool.{name}", each) for name, each in per_tool.items()},
        callers=callers,
    )


def _rate(where: str, given: Any) -> "Rate":
    from mcpcore.policy.rates import Rate  # late: as above

    return _made(where, Rate, _table(where, given, ("amount", "per", "burst")))


def _suspicion(table: Any) -> "Suspicion | None":
    if table is None:
        return None
    from mcpcore.policy.suspicion import Suspicion  # late: few count

    names = ("violations", "half_life", "callers")
    return _made("suspicion", Suspicion, _table("suspicion", table, names))


def _supervision(table: Any) -> Mapping[str, float] | None:
    if table is None:
        return None
    from mcpcore_transports.serve.workers import WorkersSettings  # late: few have workers

    given = _table("supervision", table, WorkersSettings.__struct_fields__)
    _made("supervision", WorkersSettings, given)
    return given


def _guard(table: Any) -> "TrustSettings | None":
    if table is None:
        return None
    from mcpcore.policy.trust import TrustSettings  # late: few guard

    try:
        return msgspec.convert(_table("guard", table, _GUARD), TrustSettings)
    except msgspec.ValidationError as error:
        raise ValueError(f"guard: {error}") from error


def _made(where: str, kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """Call ``kind`` with numbers.  Raises ValueError."""
    if not all(isinstance(each, int | float) and each is not True for each in given.values()):
        raise ValueError(f"{where}: expected numbers")
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _table(where: str, given: Any, known: Collection[str] = ()) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected a table")
    if known:
        _check_known(given, known, where)
    return given


def _hook(name: Any) -> Callable[[str], Any] | None:
    """Return the function ``MODULE:FUNCTION`` that returns secrets by name.  Raises ValueError."""
    if name is None:
        return None
    module, colon, function = str(name).partition(":")
    if not colon:
        raise ValueError(f"secrets: expected MODULE:FUNCTION, not {name!r}")
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        found: Callable[[str], Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"secrets: {error}") from error
    return found


def _secret(name: str, value: Mapping[str, Any], secrets: Callable[[str], Any] | None) -> str:
    """Return the secret that ``{ secret = NAME }`` stands for.  Raises ValueError."""
    wanted = value.get("secret")
    if [*value] != ["secret"] or not isinstance(wanted, str):
        raise ValueError(f"{name}: expected a value, or {{ secret = NAME }}")
    if secrets is None:
        raise ValueError(f"{name}: a secret needs the member secrets = MODULE:FUNCTION")
    try:
        found = secrets(wanted)
        if isinstance(found, Coroutine):
            import asyncio  # late: few hooks are asynchronous

            found = asyncio.run(found)
    except Exception as error:
        # its text may hold the secret, or how it is come by
        raise ValueError(f"{name}: the secret {wanted!r}: {type(error).__name__}") from None
    if not isinstance(found, str):
        raise ValueError(f"{name}: there is no secret {wanted!r}")
    return found
