"""How the kit reads messages, and what it says of those that are none."""

import pytest

from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.messages import Kind, parse


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b"Server starting...",
            "not JSON: Expecting value: line 1 column 1 (char 0): 'Server starting...'",
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"result":[]}',
            """result has to be an object: '{"jsonrpc":"2.0","id":1,"result":[]}'""",
        ),
        (b"\xff" + b"a" * 200, "not UTF-8: invalid start byte at byte 0: '\ufffd" + "a" * 119),
    ],
)
def test_what_is_no_message_is_shown(data: bytes, told: str) -> None:
    message = parse(Text(data))
    assert message.kind is Kind.INVALID
    assert message.told.startswith(told)
    assert message.told.endswith("...") is (len(data) > 120)
