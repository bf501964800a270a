"""JSON that every reader takes: a figure that is not finite is null, in files, in output and in digests."""

import json
import math

import pytest

from ratchet.components.records import Outcome, Verdict
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.json_text import json_text, strict_json
from ratchet.flows.cli.output import as_json

FIGURES = {"gain": 0.6, "gain_low": math.nan, "ratio": [-math.inf, (math.inf, 1)]}


def strictly(text: str) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("write", [json_text, as_json])
def test_a_figure_that_is_not_finite_is_null(write: object) -> None:
    assert callable(write)
    assert strictly(write(FIGURES)) == {"gain": 0.6, "gain_low": None, "ratio": [None, [None, 1]]}


def test_a_digest_is_that_of_the_json_that_is_written_and_as_it_was_for_finite_values() -> None:
    assert digest_of(FIGURES) == digest_of(json.loads(json_text(FIGURES)))
    # printf %s '{"a":[0.5,1],"b":"\\u00e9"}' | sha256sum
    known = "f10df2a8ddc9a9ea77a8bdd0434afd6e581679f539ccabb9eb23d7259320afa6"
    assert digest_of({"b": "é", "a": (0.5, 1)}) == known


def test_a_verdict_comes_back_from_json_with_its_digest() -> None:
    verdict = Verdict(Outcome.REJECT, ["words"], "c", "i", figures={"gain": 0.6, "gain_low": math.nan})
    back = Verdict.from_json(json.loads(json_text(verdict.as_json())))
    assert back.digest == verdict.digest
    assert math.isnan(back.figures["gain_low"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "not JSON"),
        ("1e400", "beyond float64"),
        ('{"a": 1, "a": 2}', "duplicate key: a"),
        ("{} {}", "Extra data"),
    ],
)
def test_what_two_readers_would_read_differently_is_not_json(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        strict_json(text)
    assert strict_json(' {"a": [1, 2.5, "NaN"]}') == {"a": [1, 2.5, "NaN"]}
