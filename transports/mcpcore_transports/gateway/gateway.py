"""Gateway: relays between the bindings of a server and any number of servers behind it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from mcpcore.errors import BadTarget
from mcpcore.http.principals import Authenticate
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore_transports.gateway.route import GatewayRoute
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.gateway.upstreams import Fleet
from mcpcore_transports.serve.assembling import Application
from mcpcore_transports.server.logs import without_labels
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import Replicas, Target, parse_target

_MOMENT = 0.2
"""Minimum seconds to end the conversations with servers."""


class Gateway(Application):
    """Application that serves what several servers offer together.

    ``targets``: those that ``connect()`` takes, by the name of the server, or
    :class:`~mcpcore.Replicas` of one.  ``revisions``: those to speak with them.  Serve it as a
    Server, with :func:`~mcpcore_transports.serve.serve.serve` or ``run``; it runs once.  Raises
    BadTarget, UrlRefused; ValueError for a name that cannot be used, or without a target;
    TypeError for targets without names.
    """

    def __init__(
        self,
        targets: Mapping[str, Any],
        *,
        settings: GatewaySettings | None = None,
        revisions: Sequence[Revision] = REVISIONS,
    ) -> None:
        if not targets:
            raise ValueError("a gateway needs a server behind it")
        if not isinstance(targets, Mapping):
            raise TypeError(f"a gateway is given targets by name, not a {type(targets).__name__}")
        self.settings = settings = settings or GatewaySettings()
        settings.check_servers(targets)
        tables: Mapping[Any, Sequence[str]] = settings.routes or {None: tuple(targets)}
        self.info = settings.client.info
        self._fleet = fleet = Fleet(settings)
        self.routes: dict[str | None, GatewayRoute] = {
            path: GatewayRoute(
                {name: _behind(targets[name]) for name in names},
                fleet,
                path=path,
                revisions=revisions,
            )
            for path, names in tables.items()
        }

    def authenticate(self, hook: Authenticate | None) -> Authenticate | None:
        """Keep the tokens of clients if they are exchanged, and let clients sign in.

        Raises BadTarget if there are no tokens, or no place to sign in.
        """
        servers = [each for route in self.routes.values() for each in route.upstreams.values()]
        personal = [each for each in servers if each.relayed.personal]
        if not personal:
            return hook
        if hook is None:
            raise BadTarget(
                f"{personal[0].name}: its tokens are those of the clients, and the gateway does "
                "not authenticate its clients"
            )
        if any(each.sign_in is None for each in personal):
            from mcpcore_transports.gateway.subjects import Subjects  # late: few exchange tokens

            self._fleet.subjects = hook = Subjects(hook, self.settings.subjects)
        if signed := [each for each in personal if each.sign_in is not None]:
            if self.settings.sign_in is None:
                raise BadTarget(
                    f"{signed[0].name}: its users sign in at a page of the gateway, whose URL is "
                    'not set: "gateway": {"signIn": {"url": "https://..."}}'
                )
            from mcpcore_transports.gateway.sign_in import SignInDesk  # late: few sign in

            desk = SignInDesk(self.settings.sign_in, self.settings.client, hook)
            for route in self.routes.values():
                for each in route.upstreams.values():
                    route.open_desk(desk, each)
            if taken := sorted(desk.pages.keys() & self.routes.keys()):
                raise BadTarget(f"routes: {taken[0]!r} is a page of the sign-in")
            return desk
        return hook

    async def run(self, offer: Callable[[], Awaitable[float]], settings: RuntimeSettings) -> None:
        """Talk to the servers for as long as ``offer`` runs, which begins when they are known."""
        routes = self.routes.values()
        if settings.observer is not None:
            settings.observer.watch(self._fleet.breakers, self._fleet.standings)
            self._fleet.observer = settings.observer
        self._fleet.labels, _ = without_labels(settings.middleware)
        async with anyio.create_task_group() as group:
            for route in routes:
                route.begin(group)
            with anyio.move_on_after(self.settings.start_time):
                for route in routes:
                    await route.known()
            left = min(max(await offer(), _MOMENT), self.settings.close_time)
            with anyio.move_on_after(left):
                async with anyio.create_task_group() as closing:
                    for route in routes:
                        route.close(closing, left)
            group.cancel_scope.cancel()


def _behind(given: Any) -> Target | Replicas:
    """Return a target, or the replicas if there are several.  Raises BadTarget."""
    if type(given) is not Replicas:  # options of a client are none
        return parse_target(given)
    several = given.by_name()
    return given if len(several) > 1 else next(iter(several.values()))
