"""JSON of a completion: alone or in one fence, in time that is linear in its length."""

from time import process_time

import pytest

from ratchet.components.graders.json_text import parse_json


@pytest.mark.parametrize(
    "text", [' {"a": 1}\n', '```json\n{"a": 1}\n```', '\n``` \t\n\n{"a": 1} \n \t```\n\n', '```\n{"a": 1}```']
)
def test_json_is_read_alone_or_in_one_fence(text: str) -> None:
    assert parse_json(text) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["", "```json\n``", "```{}```", "```yaml\n{}\n```", "See:\n```\n{}\n```", "```\n{}\n```\n```\n{}\n```"]
)
def test_anything_else_is_not_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize("space", [" ", "\t", "\n", " \n", "```", "``` "])
def test_no_completion_takes_long(space: str) -> None:
    start = process_time()
    with pytest.raises(ValueError, match=r"."):
        parse_json(f"```json\n{space * 2**18}x")
    assert process_time() - start < 5
