"""Streams of an HTTP client that break off: how they go on.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Resumability and Redelivery".
"""

from mcpcore.engine.events import EndReason, Fault
from mcpcore.http.client.call import Call, Purpose, Reading
from mcpcore.http.client.recovery import Recovery
from mcpcore.http.client.sending import PostSender
from mcpcore.http.client.state import ClientState, reason_of


class StreamRecovery:
    """The part of an HttpClient that resumes streams, or begins them anew."""

    __slots__ = ("_sender", "_state")

    def __init__(self, state: ClientState, sender: PostSender) -> None:
        self._state = state
        self._sender = sender

    def broken(self, call: Call, error: str, now: float, fault: Fault | None = None) -> None:
        """Resume a stream that has ended early, if possible."""
        state = self._state
        wanted = call.purpose is Purpose.STREAM or call.request is not None
        if not wanted:
            return
        stood = 0.0 if call.opened is None else now - call.opened
        call.opened = None
        if stood >= state.settings.lasting:
            call.resumes = 0
        call.hasty = 0 if stood >= state.settings.retry_delay else call.hasty + 1
        if reason_of(fault) is EndReason.INVALID and call.request is not None:
            # The next connection would bring the same.
            state.fail(call, f"{call.method}: {error}", now, fault=fault)
            return
        recovery = self._recovery(call)
        if recovery is not Recovery.FAIL:
            self._pick_up(call, recovery, error)
            return
        current = call.epoch == state.epoch
        if not current:
            error = f"{error}, and its session was lost"
        elif call.resumes:
            error = f"{error}; resuming failed {call.resumes} times"
        if call.revision is None or call.revision.resumable:
            state.interrupted(call, recovery, 0.0, error)
        message = f"{call.method}: {error} before the answer"
        if current:
            state.fail(call, message, now, fault=fault)
        else:
            self._sender.save(call, call.frame, message, now)

    def _recovery(self, call: Call) -> Recovery:
        """Return the recovery for a stream that has broken off."""
        state = self._state
        again = call.resumes < state.settings.max_resumes and not state.get_missing
        if call.epoch == state.epoch and again:
            if state.settings.resume and call.resumable:
                return Recovery.RESUME
            if state.settings.reopen and call.purpose is Purpose.STREAM:
                return Recovery.REOPEN
        return Recovery.FAIL

    def _pick_up(self, call: Call, recovery: Recovery, reason: str) -> None:
        state = self._state
        if recovery is Recovery.REOPEN:
            call.last_event_id = ""
        call.resumes += 1
        delay = state.backoff.delay(call.resumes, call.retry)
        if call.hasty > state.settings.max_resumes:
            # A server that sends many events must not set the rate of reconnecting.
            delay = max(delay, state.settings.retry_delay)
        state.interrupted(call, recovery, delay, reason)
        call.redirects = 0
        self.ask_again(call, delay)

    def ask_again(self, call: Call, after: float | None, target: str | None = None) -> None:
        """Continue the exchange as a new GET, after the last event received."""
        state = self._state
        in_use = state.endpoint.routes_in_use()
        call.earlier = [route for route in (*call.earlier, call.route) if route in in_use]
        call.route = state.new_route()
        if call.purpose is Purpose.POST:
            call.purpose = Purpose.RESUME
        call.reading = Reading.HEAD
        call.decoder = None
        call.in_session = state.session is not None
        state.calls[call.route] = call
        state.plans.append(
            state.planner.get(
                call.route,
                session=state.session,
                version=state.version(),
                last_event_id=call.last_event_id,
                after=after,
                target=target,
                timeout=state.settings.stream_timeout,
            )
        )
