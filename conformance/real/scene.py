"""Where a row is played: a folder of its own, a mark, and the words of commands filled in."""

import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct, structs, to_builtins

from conformance.interop.talk import OUR_GATEWAY, node
from conformance.real.install import NPM, ROOT, TOOLS, missing
from conformance.real.processes import MARK, free_port, listening
from conformance.real.table import OURS, Offer, Row, ServerProgram, Table
from mcpcore import ProcessSettings
from mcpcore_conformance.everything.app import PAGE_SIZE
from mcpcore_transports.stdio.process import environment

SMALL_PAGES = "15"
"""Entries on a page of our server's lists, so that some list has several."""
SERVER = (sys.executable, "-m", "mcpcore_conformance.everything.server")
PROGRAMS = ROOT / "conformance" / "real" / "programs"
GREETING = "Hello from a page"
NOWHERE = "http://127.0.0.1:9"
"""The proxy for whatever would leave this machine: nobody is there."""
SHUT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    "NODE_USE_ENV_PROXY": "1",
}
FOUND = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "git": ("git",),
}
"""By what names a program is looked for that a row needs."""


class Hub(Struct, frozen=True):
    """What all rows share: our server over HTTP, and a page to look at."""

    mark: str
    urls: dict[str, str]
    """Of our server, by transport."""
    page: str
    behind: str = ""
    """Of our server, if ``mcpcore gateway`` stands between what is ours and what is theirs."""


class Scene(Struct, frozen=True):
    """What one group of cells has for itself."""

    row: Row
    mark: str
    folder: Path
    facts: dict[str, str]
    """What stands for words in braces."""
    env: dict[str, str]
    """For what is ours."""

    @property
    def gateway(self) -> bool:
        """True if ``mcpcore gateway`` stands between what is ours and what is theirs."""
        return bool(self.facts["behind"])

    @property
    def pin(self) -> list[str]:
        """Options of our client: through a gateway it speaks the revision of the row."""
        pinned = self.row.pinned or self.gateway
        return ["--revision", self.row.revision_name] if pinned else []

    @property
    def program_env(self) -> dict[str, str]:
        """For what is theirs."""
        own = {name: self.fill([value])[0] for name, value in self.row.program.env.items()}
        return {**self.env, **own}

    def fill(self, words: Sequence[str], target: Sequence[str] = ()) -> list[str]:
        """Put facts into words; ``{target}`` and ``{ours}`` alone are several."""
        several = {"{target}": target, "{ours}": self.ours}
        return [each for word in words for each in several.get(word, (self._filled(word),))]

    def _filled(self, word: str) -> str:
        for name, fact in self.facts.items():
            word = word.replace(f"{{{name}}}", fact)
        return word

    def offer(self, offer: Offer) -> dict[str, Any]:
        """What a server has, with the facts filled in, for the cells."""
        filled: dict[str, Any] = self._deep(to_builtins(offer))
        return filled

    def _deep(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._filled(value)
        if isinstance(value, list | tuple):
            return [self._deep(each) for each in value]
        if isinstance(value, dict):
            return {name: self._deep(each) for name, each in value.items()}
        return value

    @property
    def ours(self) -> list[str]:
        """The command of our server on stdio, which has the mark whoever starts it."""
        settings = ["env", f"{MARK}={self.mark}", f"{PAGE_SIZE}={SMALL_PAGES}"]
        if self.gateway:
            return [*settings, *OUR_GATEWAY, "--stdio", self.facts["behind"]]
        return [*settings, *SERVER, "--stdio"]

    def words(self, command: Sequence[str]) -> list[str]:
        """A command that brings its environment along, whoever starts it."""
        settings = [f"{name}={value}" for name, value in self.program_env.items()]
        return ["env", *settings, *self.fill(command)]


def why_not(row: Row, table: Table) -> str:
    """Why a row cannot be played here; empty if it can."""
    program = row.program
    if program.package and (reason := missing(table.packages[program.package])):
        return reason
    if any("{node}" in word for word in program.command) and node() is None:
        return "there is no node"
    absent = [each for each in program.needs if _found(each) is None]
    return f"there is no {' and no '.join(absent)}" if absent else ""


@contextmanager
def scene(row: Row, table: Table, hub: Hub, group: str) -> Iterator[Scene]:
    """Prepare what a group of cells of a row needs."""
    program = row.program
    mark = f"{hub.mark}{row.program.name}/{row.transport}/{row.revision_name}/{group}"
    with TemporaryDirectory(prefix="mcp-real-", ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        (folder / "hello.txt").write_text("Hello from a file\n")
        place = table.packages[program.package].place if program.package else NPM
        binaries = ROOT / place / "bin"
        facts = {
            "node": node() or "node",
            "npm": str(TOOLS / "node_modules" / ".bin"),
            "bin": str(binaries),
            "python": sys.executable if place == NPM else str(binaries / "python"),
            "programs": str(PROGRAMS),
            "port": str(free_port()),
            "folder": directory,
            "page": hub.page,
            "url": hub.urls.get(_way_to_ours(row), ""),
            "behind": hub.behind,
            "chromium": _found("chromium") or "chromium",
            "repository": str(folder / "repository"),
        }
        made = Scene(row, mark, folder, facts, _environment(folder, mark))
        facts["ours_line"] = shlex.join(made.ours)
        if "git" in program.needs:
            _make_repository(folder / "repository")
        yield made


@asynccontextmanager
async def started(made: Scene, command: Sequence[str] = ()) -> AsyncIterator[list[str]]:
    """Start the server of a scene where it stands by itself; yield the target, as words.

    With a gateway the target is that, over HTTP.  Raises NotStarted.
    """
    program = made.row.program
    assert isinstance(program, ServerProgram)
    command = command or program.command
    async with AsyncExitStack() as stack:
        if made.row.transport == "stdio":
            target = made.words(command)
        else:
            ports = [int(made.facts["port"])]
            words, log = made.fill(command), made.folder / "log.txt"
            await stack.enter_async_context(listening(words, made.program_env, ports, log))
            target = made.fill([program.url])
        if made.gateway:
            log = made.folder / "gateway.txt"
            behind = target if len(target) == 1 else ["--", *target]
            behind = ["--server-revision", made.row.revision_name, *behind]
            gateway = _gateway(behind, made.env, log, ("http",))
            target = [(await stack.enter_async_context(gateway))["http"]]
        yield target


def target_of(made: Scene) -> list[str]:
    """Our server, for a client of somebody else."""
    return made.ours if made.row.transport == "stdio" else [made.facts["url"]]


def offer_of(row: Row, table: Table) -> Offer:
    """What is to be found; of what a server asks, only that which a client can answer."""
    program = row.program
    if isinstance(program, ServerProgram):
        offer = table.offers[program.offer]
        return structs.replace(offer, server=program.called or offer.server)
    ours = table.offers[OURS]
    asks = tuple(each for each in ours.asks if each["of"] in program.answers)
    return structs.replace(ours, asks=asks)


@asynccontextmanager
async def hub_of(mark: str, folder: Path, *, gateway: bool = False) -> AsyncIterator[Hub]:
    """Start what all rows share; with ``gateway``, one before our server."""
    http, sse = free_port(), free_port()
    command = [*SERVER, "--http", f"127.0.0.1:{http}", "--sse", f"127.0.0.1:{sse}"]
    env = environment(ProcessSettings(env={MARK: mark, PAGE_SIZE: SMALL_PAGES}))
    with _page() as page:
        async with listening(command, env, [http, sse], folder / "log.txt"):
            urls = _urls({"http": http, "sse": sse})
            if not gateway:
                yield Hub(mark, urls, page)
                return
            log = folder / "gateway.txt"
            behind = urls["http"]
            async with _gateway([behind], env, log, ("http", "sse")) as urls:
                yield Hub(mark, urls, page, behind)


@asynccontextmanager
async def _gateway(
    behind: Sequence[str], env: dict[str, str], log: Path, transports: Sequence[str]
) -> AsyncIterator[dict[str, str]]:
    """Start a gateway before a server; yield its URLs, by transport.  Raises NotStarted."""
    ports = {name: free_port() for name in transports}
    words = [word for name, port in ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
    words += ["--start-time", "60"]  # some servers of others are slow to start on a busy machine
    async with listening([*OUR_GATEWAY, *words, *behind], env, [*ports.values()], log):
        yield _urls(ports)


def _urls(ports: dict[str, int]) -> dict[str, str]:
    paths = {"http": "mcp", "sse": "sse"}
    return {name: f"http://127.0.0.1:{port}/{paths[name]}" for name, port in ports.items()}


def _way_to_ours(row: Row) -> str:
    program = row.program
    return program.behind if isinstance(program, ServerProgram) else row.transport


def _environment(folder: Path, mark: str) -> dict[str, str]:
    cache = {"NODE_COMPILE_CACHE": str(TOOLS / "cache")}
    return environment(ProcessSettings(env={"HOME": str(folder), MARK: mark, **cache, **SHUT}))


def _found(name: str) -> str | None:
    return next(filter(None, map(shutil.which, FOUND.get(name, (name,)))), None)


def _make_repository(folder: Path) -> None:
    """A repository with one commit."""
    folder.mkdir()
    (folder / "hello.txt").write_text("Hello from a file\n")
    me = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "The first"]):
        subprocess.run(["git", "-C", str(folder), *me, *words], check=True)


@contextmanager
def _page() -> Iterator[str]:
    """Serve a page on this machine; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hello"
        finally:
            server.shutdown()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the page, and with 404 where robots.txt would be."""
        body = f"<html><head><title>{GREETING}</title></head><body><p>{GREETING}</p></body></html>"
        here = self.path == "/hello"
        self.send_response(200 if here else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode() if here else b"")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
