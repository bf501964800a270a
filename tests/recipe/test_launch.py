"""The section ``launch``: what no launcher could start is refused, and what it starts changes no identity."""

from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.components.recipe import Launch, load_recipe
from tests.places import MICRO


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"workers": 2}, "kind: process trains in one process"),
        ({"address": "a:1"}, "kind: process trains in one process"),
        ({"kind": "torchrun"}, "at least 2 workers, and workers is 1"),
        ({"kind": "ray", "workers": 1}, "at least 2 workers, and workers is 1"),
        ({"kind": "torchrun", "workers": 3, "nodes": 2, "address": "a:1"}, "3 workers cannot be divided among 2 nodes"),
        ({"kind": "torchrun", "workers": 4, "nodes": 2}, "with more than one write address"),
        ({"kind": "torchrun", "workers": 4, "address": "a:1"}, "with one remove it"),
        ({"kind": "torchrun", "workers": 4, "nodes": 2, "address": "a"}, "write host:port"),
        ({"kind": "torchrun", "workers": 4, "nodes": 2, "address": "auto"}, "write host:port"),
        ({"kind": "ray", "workers": 4, "nodes": 2}, "Ray places its workers on nodes itself"),
        ({"kind": "ray", "workers": 4, "address": "ray://head:10001"}, "write host:port"),
    ],
)
def test_what_cannot_be_launched_is_refused(launch: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Launch(**launch)


@pytest.mark.parametrize(
    ("launch", "local"),
    [
        ({}, 1),
        ({"kind": "torchrun", "workers": 2}, 2),
        ({"kind": "torchrun", "workers": 16, "nodes": 2, "address": "trainer-0:29500"}, 8),
        ({"kind": "torchrun", "workers": 4, "nodes": 2, "address": "[fd00::1]:29500"}, 2),
        ({"kind": "ray", "workers": 4, "address": "auto"}, 4),
        ({"kind": "ray", "workers": 4, "address": "10.0.0.1:6379"}, 4),
    ],
)
def test_ranks_of_a_node(launch: dict[str, Any], local: int) -> None:
    assert Launch(**launch).local_workers == local


def test_a_runs_identity_does_not_depend_on_what_launches_it() -> None:
    launched = load_recipe(MICRO, ["launch={kind: torchrun, workers: 2}"])
    assert launched.digest == load_recipe(MICRO).digest
