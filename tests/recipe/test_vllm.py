"""The choice of an engine: closed, checked, and without a trace in digests while it is our own."""

from typing import Any

import pytest

from ratchet.components.recipe import Recipe, Sampling, Train, Vllm, load_recipe
from tests.places import MICRO

SERVER = {"url": "http://127.0.0.1:8000", "folder": "/dev/shm/weights"}


def recipe_with(sampling: dict[str, Any]) -> Recipe:
    values = load_recipe(MICRO).model_dump(mode="json")
    return Recipe.model_validate({**values, "train": {**values["train"], "sampling": sampling}})


def test_our_own_engine_leaves_nothing_in_a_dump() -> None:
    assert Sampling().model_dump() == Sampling(engine="own", vllm=Vllm(**SERVER)).model_dump()
    assert not {"engine", "vllm"} & Sampling().model_dump().keys()
    assert {"engine", "vllm"} <= Sampling(engine="vllm", vllm=Vllm(**SERVER)).model_dump().keys()


def test_the_engine_is_part_of_the_result_and_its_server_is_not() -> None:
    own, vllm = recipe_with({}), recipe_with({"engine": "vllm", "vllm": SERVER})
    elsewhere = {"url": "https://gpu:9/v", "folder": "/w", "token": "KEY", "seconds": 5.0, "parallel": 4, "sleep": True}
    assert own.digest != vllm.digest
    assert vllm.digest == recipe_with({"engine": "vllm", "vllm": elsewhere}).digest
    assert own.digest == load_recipe(MICRO).digest


def test_a_recipe_with_a_server_is_read_back_as_it_was() -> None:
    recipe = recipe_with({"engine": "vllm", "vllm": SERVER})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


ADDRESSES = [
    "ftp://host",
    "host:8000",
    "http://user:password@host",
    "http://host/?key=secret",
    "http://host/#f",
    "http://",
    "http://a b",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_is_http_without_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Vllm.model_validate({**SERVER, "url": url})


def test_the_folder_is_the_same_for_the_server() -> None:
    with pytest.raises(ValueError, match="folder"):
        Vllm.model_validate({**SERVER, "folder": "weights"})


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"sampling": {"engine": "vllm"}}, "write sampling.vllm"),
        ({"sampling": {"engine": "vllm", "vllm": SERVER, "top_p": 0.9}}, "use sampling.top_p=1"),
        ({"lora": {}, "sampling": {"engine": "vllm", "vllm": {**SERVER, "sleep": True}}}, "sampling.vllm.sleep=false"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(train: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Train.model_validate(train)


def test_what_our_own_engine_can_is_not_refused() -> None:
    Train.model_validate({"lora": {}, "sampling": {"top_p": 0.9, "vllm": {**SERVER, "sleep": True}}})
