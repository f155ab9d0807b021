"""What is read from each answer of the golden set, as a mapping and as an object."""

from __future__ import annotations

from typing import Any

import pytest

from aurea_celery.usage import Reading, StreamReader, read_part, read_response
from tests.support import golden

NAMES = golden.names()
STREAMS = [name for name in NAMES if isinstance(golden.answer(name), list)]


def read(answer: Any) -> Reading | None:
    """What an answer says, or the chunks of a stream together."""
    if not isinstance(answer, list):
        return read_response(answer)
    reader = StreamReader()
    for chunk in answer:
        reader.add(chunk)
    return reader.reading


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ["mapping", "object"])
def test_golden(name: str, shape: str) -> None:
    answer, expected = golden.case(name)

    assert read(answer if shape == "mapping" else golden.as_object(answer)) == expected


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(STREAMS)))
def test_a_whole_answer_may_stand_where_a_chunk_may(name: str) -> None:
    answer, expected = golden.case(name)

    assert read_part(answer) == expected
    assert read([answer]) == expected


@pytest.mark.parametrize(
    "name", ["openai/chat/stream", "openai/responses/stream", "bedrock/converse/stream", "cohere/chat/stream"]
)
def test_the_last_chunk_of_these_streams_says_it_all(name: str) -> None:
    chunks, expected = golden.case(name)
    assert expected is not None

    reading = read_part(chunks[-1])

    assert reading is not None
    assert reading.usage == expected.usage


def test_each_answer_has_its_expectation() -> None:
    assert len(NAMES) > 40
    assert len(list(golden.FOLDER.rglob("*.expected.json"))) == len(NAMES)
