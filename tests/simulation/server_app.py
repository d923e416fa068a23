"""Application of a server: does with each request what its script says."""

import json
from contextlib import suppress
from typing import Any

from msgspec import Raw

from mcpcore import CapabilityMissing, ErrorData, HttpServer, InputRequest, LocalProtocolError
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from tests.simulation.accounts import ACTIVE, ANSWERED, CANCELLED, DEAD, PATIENCE, Run
from tests.simulation.common import MADE
from tests.simulation.hosts import Host
from tests.simulation.rules import demand
from tests.simulation.tags import check_text
from tests.simulation.work import NEVER, TEXTS, URIS

_EVICTIONS = ("it is not kept any more", "it has expired", "idle for too long", "too old")
_BURST = 60
_PAD = "p" * 700
_SCHEMA = {"type": "object", "properties": {}}


class Job:
    """A run with its script, and how far it has come."""

    def __init__(self, run: Run, key: int, machine: Any, script: Any, event: Any) -> None:
        self.run = run
        self.key = key
        self.machine = machine
        self.script = script
        self.event = event
        self.place = 0
        self.round = 0


class ServerApp:
    """Handles the requests of one life of a server."""

    def __init__(self, host: Any, place: Any) -> None:
        """``place``: tells the stream that answers a request (event, machine)."""
        self._host: Host = host
        self._place = place
        self._books = host.scene.books
        self._number = host.scene.new_run()
        self._said = 0
        self._jobs: dict[Any, Job] = {}
        self._asking: dict[Any, Job] = {}
        self._called_off: set[Any] = set()
        """Requests that the batch with them calls off, as their answers have shown."""

    @property
    def jobs(self) -> int:
        """Requests that are being worked on."""
        return len(self._jobs)

    def handle(self, event: Event, machine: Any) -> None:
        """Take one event."""
        self._books.replied(machine, event, self._host.now())
        if isinstance(event, RequestReceived):
            self._begin(event, machine)
        elif isinstance(event, RequestCancelled) and (machine, event.key) in self._called_off:
            self._called_off.discard((machine, event.key))
        elif isinstance(event, RequestCancelled):
            job = self._jobs.get((machine, event.key))
            demand(job is not None, "what is cancelled is worked on", event)
            assert job is not None
            job.run.state = CANCELLED
            job.run.evicted = event.reason in _EVICTIONS
            # Its handler notices a little later, and says things until then.
            self._host.after(0.05 * (job.key % 5), self._release, job)
        elif isinstance(event, ResultReceived | ErrorReceived | RequestEnded):
            self._goes_on(self._asking.pop((machine, event.request)))

    def _begin(self, event: RequestReceived, machine: Any) -> None:
        params = json.loads(bytes(event.params))
        round, place, script = 0, 0, None
        if event.method == "tools/call":
            told = params["arguments"]
            check_text(told)
            client, ask, script = told["c"], told["n"], told["script"]
        else:
            client, ask = map(int, params["cursor"].split(":"))
            script = [[0.0, "page"]]
        if event.request_state is not None:
            state = json.loads(event.request_state)
            round, place = state["round"], state["next"]
        run = Run(self._host.scene.new_run(), client, ask, event.id, self._place(event, machine))
        run.machine = machine
        self._books.begun(run, round)
        # Who leaves a stream of the legacy era may come back to it.
        leaves = event.revision.modern or not event.route
        self._host.scene.arrivals.begun(run, run.place if leaves else None, event.session)
        job = Job(run, event.key, machine, script, event)
        job.place, job.round = place, round
        self._jobs[machine, event.key] = job
        self._next(job)

    def _next(self, job: Job) -> None:
        pause, act = job.script[job.place]
        job.place += 1
        if pause:
            self._host.after(pause, self._do, job, act)
        else:
            self._do(job, act)

    def _do(self, job: Job, act: str) -> None:
        name, *rest = act.split(" ")
        if (job.machine, job.key) not in self._jobs:
            return
        getattr(self, f"_do_{name}")(job, *rest)

    def _goes_on(self, job: Job) -> None:
        if job.place < len(job.script):
            self._next(job)
        self._flush(job)

    # News

    def _tell(self, job: Job, made: Any) -> None:
        """Count one more piece of news, unless nobody wants it."""
        run = job.run
        told = made(run.made + 1)
        if told or (told is None and run.state == ACTIVE):
            demand(run.state == ACTIVE, "nothing is said after cancellation", run.number)
            run.made += 1
        self._goes_on(job)

    def _do_progress(self, job: Job) -> None:
        def made(piece: int) -> Any:
            text = f"{job.run.number}:{piece}"
            return job.machine.progress(job.key, piece, None, text)

        self._tell(job, made)

    def _do_log(self, job: Job) -> None:
        def made(piece: int) -> Any:
            data = {"r": job.run.number, "s": piece}
            return job.machine.log(job.key, "warning", data)

        self._tell(job, made)

    def _do_burst(self, job: Job) -> None:
        run = job.run
        for _ in range(_BURST):
            data = {"r": run.number, "s": run.made + 1, "pad": _PAD}
            run.made += bool(job.machine.log(job.key, "warning", data))
        self._goes_on(job)

    def _do_x(self, job: Job) -> None:
        def made(piece: int) -> Any:
            data = {"r": job.run.number, "s": piece}
            try:
                return job.machine.notify("notifications/x", data, parent=job.key)
            except LocalProtocolError:
                return False

        self._tell(job, made)

    # What concerns everybody

    def _do_tools(self, job: Job) -> None:
        made = {"_meta": {MADE: self._books.common.listing(self._number)}}
        self._announce(job, "notifications/tools/list_changed", made)

    def _do_uri(self, job: Job) -> None:
        uri = URIS[job.run.ask % len(URIS)]
        made = {"_meta": {MADE: self._books.common.changed(uri, self._number)}}
        self._announce(job, "notifications/resources/updated", {"uri": uri, **made})

    def _do_all(self, job: Job) -> None:
        self._announce(job, "notifications/x", self._news())

    def _news(self) -> dict[str, int]:
        self._said += 1
        self._books.common.made(self._number, self._said)
        return {"by": self._number, "all": self._said}

    def last_news(self) -> None:
        """Tell everybody something for the last time."""
        said = self._news()
        self._books.common.last_news[self._number] = said["all"]
        for machine in self._host.machines:  # type: ignore[attr-defined]
            with suppress(LocalProtocolError):
                machine.notify("notifications/x", said)
            self._turn(machine)

    def _turn(self, machine: Any) -> None:
        if isinstance(machine, HttpServer):
            self._host.turn()  # type: ignore[attr-defined]
        else:
            self._host.turn(machine)  # type: ignore[attr-defined]

    def _announce(self, job: Job, method: str, params: Any) -> None:
        for machine in self._host.machines:  # type: ignore[attr-defined]
            with suppress(LocalProtocolError):
                machine.notify(method, params)
            if machine is not job.machine:
                self._host.turn(machine)  # type: ignore[attr-defined]
        self._goes_on(job)

    def _do_poll(self, job: Job) -> None:
        if isinstance(job.machine, HttpServer):
            job.machine.close_stream(job.key, retry=0.5, now=self._host.now())
        self._goes_on(job)

    def _do_gets(self, job: Job) -> None:
        session = job.event.session
        if isinstance(job.machine, HttpServer) and session is not None:
            with suppress(LocalProtocolError):
                job.machine.close_get_streams(session, retry=0.5, now=self._host.now())
        self._goes_on(job)

    # Questions

    def _do_ask(self, job: Job, kind: str, how: str) -> None:
        method, params, meta = self._question(job, kind, how)
        now = self._host.now()
        try:
            if job.event.revision.input_rounds:
                state = {
                    "r": job.run.number,
                    "made": job.run.made,
                    "next": job.place,
                    "round": job.round + 1,
                }
                asked = {"q": InputRequest(method, params)}
                sent = job.machine.require_input(job.key, asked, json.dumps(state))
                self._over(job, sent)
            else:
                id = job.machine.request(
                    method,
                    params,
                    now=now,
                    parent=job.key,
                    timeout=PATIENCE,
                    meta=meta,
                    progress=True,
                )
                tag = f"{job.run.number}:{job.place}:{how}"
                self._books.question(job.machine, id, tag, now)
                self._asking[job.machine, id] = job
        except (LocalProtocolError, CapabilityMissing):
            self._goes_on(job)
            return
        self._flush(job)

    def _do_away(self, job: Job, kind: str, how: str) -> None:
        """Ask, and let the client come back for the answer while it is asked."""
        self._do_ask(job, kind, how)
        self._host.after(0.2, self._close_stream, job)

    def _close_stream(self, job: Job) -> None:
        if isinstance(job.machine, HttpServer) and (job.machine, job.key) in self._jobs:
            job.machine.close_stream(job.key, retry=0.2, now=self._host.now())
            self._flush(job)

    def _flush(self, job: Job) -> None:
        self._turn(job.machine)

    def _question(self, job: Job, kind: str, how: str) -> tuple[str, Any, Any]:
        tag = f"{job.run.number}:{job.place}:{how}"
        if kind == "elicit":
            return "elicitation/create", {"message": tag, "requestedSchema": _SCHEMA}, None
        if kind == "sample":
            content = {"type": "text", "text": tag}
            messages = [{"role": "user", "content": content}]
            return "sampling/createMessage", {"messages": messages, "maxTokens": 1}, None
        return "roots/list", None, {"tag": tag}

    # Answers

    def _do_answer(self, job: Job, text: str) -> None:
        content = [{"type": "text", "text": TEXTS[int(text)]}]
        told = {"r": job.run.number, "made": job.run.made, "t": int(text)}
        result = {"content": content, "structuredContent": told}
        self._over(job, job.machine.respond(job.key, result))
        self._flush(job)

    def _do_page(self, job: Job) -> None:
        result = {"tools": [], "nextCursor": f"{job.run.number}:{job.run.made}"}
        self._over(job, job.machine.respond(job.key, result))
        self._flush(job)

    def _do_fail(self, job: Job) -> None:
        data = json.dumps({"r": job.run.number, "made": job.run.made})
        error = ErrorData(-32603, "no", Raw(data.encode()))
        self._over(job, job.machine.fail(job.key, error))
        self._flush(job)

    def _do_never(self, job: Job) -> None:
        self._host.after(NEVER, self._do, job, "fail")

    def _over(self, job: Job, sent: bool) -> None:
        run = job.run
        if not sent and run.state == ACTIVE:
            # All of a batch is taken in at once, be it told one after the other.
            at_once = (run.place, run.id) in self._host.scene.arrivals.taken
            demand(at_once, "a request is answered unless cancelled", run.number)
            self._called_off.add((job.machine, job.key))
        else:
            wanted = run.state == ACTIVE
            demand(sent == wanted, "a request is answered unless cancelled", run.number)
        run.state = ANSWERED if sent else DEAD
        self._jobs.pop((job.machine, job.key), None)

    def _release(self, job: Job) -> None:
        if self._jobs.get((job.machine, job.key)) is not job:
            return
        # What a handler says that has not noticed is dropped.
        said = job.machine.progress(job.key, 1e6, None, f"{job.run.number}:0")
        demand(not said, "nothing is said after cancellation", job.run.number)
        if job.key % 2:
            self._do_answer(job, "0")
        else:
            job.machine.release(job.key)
            del self._jobs[job.machine, job.key]
            self._flush(job)
