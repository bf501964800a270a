"""User code sees what programs need and what the recipe names; no credentials."""

import pytest

from ratchet.components.graders.worker.environment import user_environment


@pytest.mark.parametrize(
    "name",
    [
        *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "PREFECT_API_AUTH_STRING"),
        *("RATCHET_LEDGER_URL", "HF_TOKEN", "OPENAI_API_KEY", "DATABASE_URL", "PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_credentials_are_passed_by_name_alone(name: str) -> None:
    assert name not in user_environment((), {name: "x"})
    assert user_environment([name], {name: "x"})[name] == "x"


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE"])
def test_what_programs_need_is_passed(name: str) -> None:
    assert user_environment((), {name: "x"})[name] == "x"


def test_a_proxy_is_passed_unless_it_holds_a_password() -> None:
    passed = user_environment((), {"http_proxy": "http://proxy:80", "https_proxy": "http://me:hunter2@proxy:80"})
    assert (passed.get("http_proxy"), passed.get("https_proxy")) == ("http://proxy:80", None)


def test_text_is_hashed_in_the_same_way_in_every_process() -> None:
    assert user_environment((), {})["PYTHONHASHSEED"] == "0"
