"""The table of states of an exchange."""

from mcpcore.http.server.exchange import EXCHANGE, ExchangeSignal, ExchangeState

DONE = ExchangeState.DONE


def test_the_table_is_whole() -> None:
    """Every state but the last can be left and (but the first) reached, every signal matters."""
    assert {state for state, _ in EXCHANGE} == set(ExchangeState)
    first = next(iter(EXCHANGE))[0]
    assert set(EXCHANGE.values()) | {first} == set(ExchangeState)
    assert {signal for _, signal in EXCHANGE} == set(ExchangeSignal)


def test_what_is_complete_stays_so() -> None:
    assert {after for (state, _), after in EXCHANGE.items() if state is DONE} == {DONE}


def test_every_response_can_be_completed_from_every_state() -> None:
    for state in ExchangeState:
        assert EXCHANGE[state, ExchangeSignal.FINISH] is DONE
