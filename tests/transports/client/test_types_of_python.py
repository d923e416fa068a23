"""Models of pydantic and paths in what handlers ask, remember and tell; awaited messages."""

import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

from pydantic import BaseModel, Field, field_validator  # noqa: E402

from mcpcore.service import Server  # noqa: E402
from mcpcore.spec.types.client_features import ElicitParams  # noqa: E402
from mcpcore.spec.types.lifecycle import LoggingMessageParams  # noqa: E402
from mcpcore_transports.client.callbacks import Callbacks  # noqa: E402
from mcpcore_transports.client.client import connect  # noqa: E402
from mcpcore_transports.server.context import Context, Sent  # noqa: E402
from tests.clock import PATIENCE  # noqa: E402
from tests.transports.server.test_context_eras import ERAS, Careless, serving  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("revision", ERAS)]


class Booking(BaseModel):
    name: str = Field(description="Who comes.")
    nights: int = Field(default=1, ge=1)
    mail: str | None = Field(default=None, alias="eMail")

    @field_validator("name")
    @classmethod
    def is_somebody(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("somebody has to come")
        return name.title()


async def test_a_form_of_a_model(revision: str) -> None:
    server = Server("s")
    forms: list[ElicitParams] = []
    answers = iter([{"name": 3}, {"name": "nobody"}, {"name": "ada", "eMail": "a@b"}])

    @server.tool
    async def book(context: Context) -> str:
        answer = await context.elicit("Your booking", Booking)
        assert answer.data is answer.content
        return f"{answer.action} {answer.content!r}"

    def fill_in(form: ElicitParams) -> Any:
        forms.append(form)
        return {"action": "accept", "content": next(answers)}

    async with serving(server, revision, Careless(elicitation=fill_in)) as client:
        said = (await client.call_tool("book")).text
    assert said == "accept Booking(name='Ada', nights=1, mail='a@b')"
    first, second, third = forms
    assert first.requested_schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "description": "Who comes."},
            "nights": {"type": "integer", "title": "Nights", "minimum": 1, "default": 1},
            "eMail": {"type": "string", "title": "Email"},
        },
        "required": ["name"],
    }
    assert "form.name: Input should be a valid string" in second.message
    assert "form.name: Value error, somebody has to come" in third.message


async def test_what_is_remembered(revision: str) -> None:
    server = Server("s")
    made: list[int] = []

    def make() -> list[Booking]:
        made.append(1)
        return [Booking(name="ada", eMail="a@b")]

    @server.tool
    async def book(context: Context) -> str:
        bookings = await context.remember("bookings", make, list[Booking])
        place = await context.remember("place", lambda: Path("a/b"), Path)
        day = await context.remember("day", lambda: datetime.date(2020, 1, 2), datetime.date)
        plain = await context.remember("bookings", make)
        await context.elicit("Go on?", Booking)
        return f"{bookings} {place!r} {day} {plain}"

    callbacks = Callbacks(elicitation=lambda form: {"name": "x"})
    async with serving(server, revision, callbacks) as client:
        said = (await client.call_tool("book")).text
    assert said == (
        f"[Booking(name='Ada', nights=1, mail='a@b')] {Path('a/b')!r} 2020-01-02 "
        "[{'name': 'Ada', 'nights': 1, 'eMail': 'a@b'}]"
    )
    assert made == [1]


async def test_arguments_and_messages(revision: str) -> None:
    server = Server("s")
    heard: list[Any] = []

    @server.tool
    async def book(context: Context, booking: Booking, where: Path) -> str:
        context.info({"booking": booking, "where": where})
        return f"{booking!r} {where!r}"

    def hear(message: LoggingMessageParams) -> None:
        heard.append(message.data)

    with anyio.fail_after(PATIENCE):
        async with connect(server, revision=revision, callbacks=Callbacks(log=hear)) as client:
            await client.set_log_level("info")
            arguments = {"booking": Booking(name="ada"), "where": Path("a/b")}
            said = (await client.call_tool("book", arguments)).text
    assert said == f"{Booking(name='Ada')!r} {Path('a/b')!r}"
    assert heard == [{"booking": {"name": "Ada", "nights": 1, "eMail": None}, "where": "a/b"}]


@pytest.mark.parametrize("listens", [True, False])
async def test_messages_may_be_awaited(revision: str, listens: bool) -> None:
    server = Server("s")
    heard: list[Any] = []
    sent: list[Any] = []

    @server.tool
    async def work(context: Context) -> str:
        await context.report_progress(progress=1, total=3, message="one")
        await context.report_progress(2)
        shorthands = (context.debug, context.info, context.warning, context.error)
        sent.extend([await tell("awaited") for tell in shorthands])
        kept = context.info("not awaited")
        assert isinstance(kept, Sent)
        sent.extend([await context.log("critical", "awaited", "logger"), kept])
        return f"{kept} {bool(kept)} {kept == int(listens)} {sum(sent)}"

    def hear(message: LoggingMessageParams) -> None:
        heard.append((message.level, message.data))

    def progress(*report: Any) -> None:
        heard.append(report)

    with anyio.fail_after(PATIENCE):
        async with connect(server, revision=revision, callbacks=Callbacks(log=hear)) as client:
            if listens:
                await client.set_log_level("debug")
            elif revision == ERAS[0]:
                await client.set_log_level("emergency")
            told_of = progress if listens else None
            said = (await client.call_tool("work", progress=told_of)).text
    assert said == f"{listens} {listens} True {6 * listens}"
    assert sent == [listens] * 6
    assert all(type(each) is bool for each in sent[:5])
    levels = ("debug", "info", "warning", "error", "critical")
    told = [(level, "awaited") for level in levels]
    told.insert(4, ("info", "not awaited"))
    assert heard == ([(1, 3, "one"), (2, None, None), *told] if listens else [])
