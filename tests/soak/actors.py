"""Actors of the load: steady clients, storms of cancellations, floods of notifications, vandals.

Each does its round again and again until the soak is over, verifies every reply, and rests between.
An error that it has not caused itself comes out of it, and is the end of the soak.
"""

import os
import random
import signal
import string
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import anyio.to_thread
from msgspec import structs

from mcpcore.http.messages import HttpSend
from mcpcore.spec.errors import LocalError, McpError
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.listen import RESOURCE_UPDATED, Change
from tests.bindings.places import ERAS, LEGACY
from tests.bindings.relay import DOWN, UP, Harm, relayed
from tests.bindings.stories import Story
from tests.bindings.workbench import COUNTER
from tests.faults.cutting import dial
from tests.soak.calls import answering, said
from tests.soak.house import (
    HTTP,
    PATIENT,
    SHARING,
    SSE,
    STEADY,
    STORED,
    WEBSOCKET,
    SoakHouse,
    impatient,
)
from tests.soak.network import PATIENCE, ROUND
from tests.soak.people import PEOPLE, shown
from tests.soak.rules import OVER_HTTP, STORM, storms
from tests.soak.tools import COUNTED
from tests.transports.http_fixture import Client as HttpConnection
from tests.transports.http_fixture import http
from tests.transports.malformed import TABLE
from tests.transports.remains import holders

LOST = (LocalError, McpError, OSError)
"""How a conversation ends that is disturbed on purpose."""
_LONG = 5.0
_SESSION = (b"mcp-session-id", b"mcp-protocol-version")
STEPS = 2_000
NOTES = 500
CHANGES = 50
_FEW = 2
"""Rounds of a conversation beside a session that must not be forgotten meanwhile."""
_MOST_PATIENT = structs.replace(
    PATIENT, limits=structs.replace(PATIENT.limits, request_timeout=ROUND, max_timeout=ROUND)
)
"""The first calls of a storm wait for the last; 10,000 connections take half a minute of a
processor."""


class Soak:
    """What all actors share."""

    def __init__(self, house: SoakHouse, seed: int, size: int = STORM) -> None:
        self.house = house
        self.size = size
        """Calls of a storm, that are cancelled at once."""
        self.random = random.Random(seed)
        self.over = anyio.Event()
        self.done: Counter[str] = Counter()
        """How often what was done."""
        self._cases = 0

    def case(self) -> str:
        """A word that nobody else has."""
        self._cases += 1
        return f"case-{self._cases}"

    async def repeat(
        self,
        act: Callable[["Soak", str, str], Awaitable[None]],
        where: Sequence[str],
        rest: float,
    ) -> None:
        """Have an actor do its rounds, on one binding after the other, in both eras.

        It rests for about so many seconds after each, and for as long as that has taken, within
        reason: so the load is less on a machine that has other things to do.
        """
        turn = self.random.randrange(len(where))
        while not self.over.is_set():
            binding = where[turn % len(where)]
            era = LEGACY if binding in SSE else ERAS[turn // len(where) % 2]
            turn += 1
            begun = anyio.current_time()
            try:
                with anyio.fail_after(ROUND):
                    await act(self, binding, era)
            except Exception as error:
                error.add_note(f"{act.__name__} on {binding} in {era}")
                raise
            spent = min(anyio.current_time() - begun, _LONG)
            with anyio.move_on_after(rest * self.random.uniform(0.5, 1.5) + spent):
                await self.over.wait()


@contextmanager
def _disturbed() -> Iterator[None]:
    """Let a conversation end as it likes."""
    try:
        yield
    except* LOST:
        pass


async def hello(target: Any) -> None:
    """Meet a server for the first time."""
    async with connect(target, settings=STEADY) as client:
        assert said(await client.call_tool("echo", {"text": "hello"})) == "hello"


async def steady(soak: Soak, binding: str, era: str) -> None:
    """Ask for a little of everything, and check every answer."""
    await _converse(soak, soak.house.target(binding), era)


async def _converse(soak: Soak, target: Any, era: str, rounds: int = 10) -> None:
    async with connect(target, revision=era, settings=STEADY, callbacks=answering()) as client:
        for _ in range(rounds):
            size = int(soak.random.paretovariate(0.5)) % 50_000 + 1
            text = "".join(soak.random.choices(string.ascii_letters, k=16)) * (size // 16 + 1)
            assert said(await client.call_tool("echo", {"text": text})) == text
            assert said(await client.call_tool("echo_later", {"text": text[:100]})) == text[:100]
            result = await client.call_tool("point", {"x": size, "y": 1})
            assert result.structured_content == {"x": size, "y": 1}
            found = await client.read_resource("text://plain")
            assert found.contents[0].text == "plain text"
            soak.done["calls"] += 4
            await anyio.sleep(0.05)
        assert said(await client.call_tool("ask_user")) == "accept Point(x=1, y=2)"
        assert len(await client.tools()) > 20
        assert len(await client.prompts()) > 20
        soak.done["calls"] += 3
    soak.done["conversations"] += 1


async def storm(soak: Soak, binding: str, era: str) -> None:
    """Have very many calls in flight, and cancel them all at once; over HTTP a tenth of them."""
    count = soak.size if binding not in HTTP else soak.size // 10
    await _storm(soak, binding, era, count)
    soak.done[storms(count)] += 1


async def great_storm(soak: Soak, binding: str, era: str) -> None:
    """The same over HTTP with all of them, each on a connection of its own; once is enough."""
    with anyio.fail_after(ROUND):
        await _storm(soak, binding, era, STORM)
    soak.done[OVER_HTTP] += 1


async def _storm(soak: Soak, binding: str, era: str, count: int) -> None:
    case, target = soak.case(), soak.house.target(binding)
    async with connect(target, revision=era, settings=_MOST_PATIENT) as client:
        await client.tools()  # or each call would ask for them
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(client.call_tool, "stay", {"case": case})
                if number % 100 == 99:
                    await anyio.lowlevel.checkpoint()
            await _until(client, "staying", case, count)
            group.cancel_scope.cancel()
        await _until(client, "staying", case, 0)
    soak.done["cancelled"] += count


async def _until(client: Client, tool: str, case: str, count: int) -> None:
    while True:
        found = said(await client.call_tool(tool, {"case": case}))
        if int(found) == count:
            return
        await anyio.sleep(0.05)


async def flood(soak: Soak, binding: str, era: str) -> None:
    """Have the server send, and send it, very many notifications; none is lost."""
    heard: list[float] = []
    case = soak.case()
    async with connect(soak.house.target(binding), revision=era, settings=PATIENT) as client:
        result = await client.call_tool(
            "steps", {"count": STEPS}, progress=lambda value, *_: heard.append(value)
        )
        assert said(result) == str(STEPS)
        # Of progress that nobody takes in time, only the latest is of interest.
        assert heard == sorted(set(heard)), "progress goes back"
        assert heard[-1] == STEPS, f"the last progress is {heard[-1]}"
        for number in range(NOTES):
            assert client.notify(COUNTED, {"case": case})
            if number % 50 == 49:
                await anyio.sleep(0.005)
        await _until(client, "notes", case, NOTES)
        await client.call_tool("notes", {"case": case, "forget": True})
        # Changes that nobody has looked at yet are joined, so each is looked at before the next;
        # the resource is our own, so that no change of somebody else's is taken for it.
        async with client.listen(uris=[f"{COUNTER}{case}"]) as changes:
            for _ in range(CHANGES):
                await client.call_tool("count", {"name": case})
                assert await anext(changes) == Change(RESOURCE_UPDATED, uri=f"{COUNTER}{case}")
        async with client.listen(tools=True) as changes:
            await client.call_tool("change", {"what": "tools"})
            assert (await anext(changes)).kind == "tools"
    soak.done["notifications"] += len(heard) + NOTES + CHANGES + 1
    soak.done["floods"] += 1


async def killer(soak: Soak, binding: str, era: str) -> None:
    """Cut a connection at any byte, or have another byte there, on one way or both."""
    chance = soak.random
    place = int(chance.lognormvariate(7, 1.5))
    harm = chance.choice((Harm(cut=place), Harm(junk=(place, b"\x00\xff{junk]\r\n"))))
    way = chance.choice((UP, DOWN))
    async with relayed(soak.house, binding, {way: harm}) as relay:
        story = Story()
        await story.live(relay.target, era, impatient(2.0), patience=PATIENCE)
    soak.done["harmed" if not story.happy else "unharmed"] += 1


async def deaf(soak: Soak, binding: str, era: str) -> None:
    """Ask for much, and stop reading; the server ends it, or we leave."""
    async with relayed(soak.house, binding) as relay:
        with _disturbed():
            async with connect(relay.target, revision=era, settings=impatient(1.0)) as client:
                await client.call_tool("echo", {"text": "first"})
                relay.stop(DOWN)
                async with anyio.create_task_group() as group:
                    for _ in range(4):
                        group.start_soon(_ask_in_vain, client)
    soak.done["slow readers"] += 1


async def _ask_in_vain(client: Client) -> None:
    with _disturbed():
        await client.call_tool("big", {"size": 2_000_000}, timeout=0.5)


async def slaughterer(soak: Soak, binding: str, era: str) -> None:
    """Kill the server's process, or the one that stands for it, in the middle of a conversation;
    of two that share a store one, which is started again."""
    await (_slaughter_worker if binding in STORED else _slaughter_child)(soak, binding, era)


async def _slaughter_child(soak: Soak, binding: str, era: str) -> None:
    shambles = soak.house.shambles
    with _disturbed():
        async with (
            connect(shambles.target(binding), revision=era, settings=impatient(3.0)) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(8):
                group.start_soon(_stay_in_vain, client, soak.case())
            await client.call_tool("echo", {"text": "here"})
            word = str(shambles.zygote())
            launchers = {pid for pid, words in holders(word).items() if "launcher.py" in words}
            servers = {int(pid) for pid in shambles.servers()}
            for victim in soak.random.choice((launchers, servers)):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            soak.done["killed children"] += 1


async def _slaughter_worker(soak: Soak, binding: str, era: str) -> None:
    """What is in flight at the one that is killed may be lost; a session may not, the other one
    serves meanwhile, and both do in the end."""
    shambles = soak.house.shambles
    target = shambles.target(binding)
    victim = soak.random.randrange(SHARING)
    async with connect(target, revision=era, settings=PATIENT) as outliving:
        assert said(await outliving.call_tool("echo", {"text": "before"})) == "before"
        with _disturbed():
            async with (
                connect(target, revision=era, settings=impatient(3.0)) as client,
                anyio.create_task_group() as group,
            ):
                for _ in range(8):
                    group.start_soon(_stay_in_vain, client, soak.case())
                group.start_soon(_converse_in_vain, soak, target, era)
                await client.call_tool("echo", {"text": "here"})
                shambles.kill(binding, victim)
        assert said(await outliving.call_tool("echo", {"text": "after"})) == "after"
        await _converse(soak, target, era, _FEW)
        logged = await anyio.to_thread.run_sync(shambles.logged, binding, 1 - victim)
        assert not logged, f"logged by the one that was left: {logged}"
        await anyio.to_thread.run_sync(shambles.raise_again, binding, victim)
        for _ in range(2 * SHARING):  # they come to any of them
            await hello(target)
        assert said(await outliving.call_tool("echo", {"text": "again"})) == "again"
    soak.done["killed workers"] += 1


async def _converse_in_vain(soak: Soak, target: Any, era: str) -> None:
    with _disturbed():
        await _converse(soak, target, era, _FEW)


async def _stay_in_vain(client: Client, case: str) -> None:
    with _disturbed():
        await client.call_tool("wait", {"case": case})


async def babbler(soak: Soak, binding: str, era: str) -> None:
    """Send what is no message, or no request, or half of one, and go."""
    target = soak.house.target(binding)
    data = soak.random.choice(TABLE).data
    if soak.random.random() < 0.3:
        data = soak.random.randbytes(soak.random.randrange(1, 2000))
    if binding in (*HTTP, *WEBSOCKET):
        parts = urlsplit(target.url)
        whole = http(data, target=parts.path, headers={"Host": parts.netloc})
        data = soak.random.choice((whole, data, whole[: len(data)]))
    with dial(target) as sock, suppress(OSError):
        with anyio.move_on_after(0.2):
            while data:
                try:
                    data = data[sock.send(data) :]
                except BlockingIOError:
                    await anyio.wait_writable(sock)
            while True:
                await anyio.wait_readable(sock)
                if not sock.recv(65536):
                    break
    soak.done["malformed"] += 1


async def intruder(soak: Soak, binding: str, era: str) -> None:
    """Come without a token that is known, and with one of somebody else into a session."""
    target = soak.house.target(binding)
    try:
        async with connect(
            structs.replace(target, headers=shown("eve")), revision=era, settings=STEADY
        ):
            raise AssertionError("eve was let in")
    except LOST:
        soak.done["refused"] += 1
    one, other = soak.random.sample(PEOPLE, 2)
    session: dict[str, str] = {}

    def coming(request: HttpSend) -> Mapping[str, str]:
        known = {name.lower(): value.decode() for name, value in request.headers}
        session.update({name.decode(): known[name] for name in _SESSION if name in known})
        return shown(one)

    target = structs.replace(target, headers=coming)
    async with connect(target, revision=era, settings=STEADY) as client:
        assert said(await client.call_tool("whoami")) == one
        if era == LEGACY:
            assert await _status(target.url, {**session, **shown(one)}) == 200
            assert await _status(target.url, {**session, **shown(other)}) == 404
            assert await _status(target.url, session) == 401
    soak.done["intruders"] += 1


async def _status(url: str, headers: Mapping[str, str]) -> int:
    """Send a ping with these headers; the status of the response."""
    parts = urlsplit(url)
    body = b'{"jsonrpc":"2.0","id":"ping","method":"ping"}'
    assert parts.hostname is not None
    assert parts.port is not None
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        request = http(body, target=parts.path, headers={"Host": parts.netloc, **headers})
        return (await HttpConnection(stream).call(request)).status
