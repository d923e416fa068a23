"""The three styles of docstrings."""

import pytest

from mcpcore.service.docstrings import parse_docstring

GOOGLE = """Adds numbers.

    More text.

    Args:
        a (int): The first
            number.
        b: The second: really.

        *rest (list of int): Others.
        nothing:

    Returns:
        int: The sum.

    Raises:
        ValueError: Never.

    Examples:
        >>> add(1, 2)
        3
    """

NUMPY = """Adds numbers.

    More text.

    Parameters
    ----------
    a : int
        The first
        number.
    b, c : int, optional
        Others.

    Returns
    -------
    int
        The sum.

    Notes
    -----
    It is fast.
    """

SPHINX = """Adds numbers.

    More text.

    :param a: The first
        number.
    :param int b: The second.
    :type a: int
    :param c:
    :returns: The sum.
    :rtype: int
    """


@pytest.mark.parametrize(
    ("text", "description", "parameters"),
    [
        (None, "", {}),
        ("", "", {}),
        ("Adds.", "Adds.", {}),
        ("  Adds.\n\n    Text:\n        with more\n    ", "Adds.\n\nText:\n    with more", {}),
        (
            GOOGLE,
            "Adds numbers.\n\nMore text.\n\nExamples:\n    >>> add(1, 2)\n    3",
            {"a": "The first number.", "b": "The second: really.", "rest": "Others."},
        ),
        (
            NUMPY,
            "Adds numbers.\n\nMore text.\n\nNotes\n-----\nIt is fast.",
            {"a": "The first number.", "b": "Others.", "c": "Others."},
        ),
        (
            SPHINX,
            "Adds numbers.\n\nMore text.",
            {"a": "The first number.", "b": "The second.", "c": ""},
        ),
        ("Adds.\n\n    Parameters\n    are good.", "Adds.\n\nParameters\nare good.", {}),
        ("Adds.\n\n    Args:\n", "Adds.", {}),
        ("Adds.\n\n    Args:\n        what this is\n        x: y\n", "Adds.", {"x": "y"}),
    ],
)
def test_styles(text: str | None, description: str, parameters: dict[str, str]) -> None:
    found = parse_docstring(text)
    assert found.description == description
    assert {name: text for name, text in found.parameters.items() if text} == {
        name: text for name, text in parameters.items() if text
    }
