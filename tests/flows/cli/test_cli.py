"""The command line: exit codes, messages, JSON on stdout alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RatchetError
from ratchet.components.recipe import Schedule
from ratchet.components.storage.home import Home
from ratchet.flows.coming import sole_schedule
from ratchet.flows.servers import start as servers
from tests.commands import free_port
from tests.places import ROOT


def ratchet(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ratchet", *arguments], cwd=project, capture_output=True, text=True, check=False
    )


def test_an_unknown_key_is_exit_2_and_names_the_remedy(project: Path) -> None:
    done = ratchet(project, "run", "--recipe", str(ROOT / "recipes" / "quickstart.yaml"), "--set", "train.lrr=1")
    assert done.returncode == 2
    assert "train.lrr: unknown key (given: 1)" in done.stderr
    assert "ratchet recipe show" in done.stderr
    assert not (project / ".ratchet").exists()


def test_a_missing_recipe_is_exit_2(project: Path) -> None:
    done = ratchet(project, "recipe", "check", "--recipe", "nowhere.yaml")
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr


def test_bad_usage_is_exit_2(project: Path) -> None:
    assert ratchet(project, "run", "--nonsense").returncode == 2


def test_history_before_the_first_champion_is_an_empty_list(project: Path) -> None:
    done = ratchet(project, "history", "--json", "--recipe", str(ROOT / "recipes" / "quickstart.yaml"))
    assert json.loads(done.stdout) == []


def test_recipe_show_fills_in_overrides(project: Path) -> None:
    done = ratchet(
        project, "recipe", "show", "--json", "--recipe", str(ROOT / "recipes" / "quickstart.yaml"), "--set", "train.k=16"
    )
    assert json.loads(done.stdout)["train"]["k"] == 16


def test_an_estimate_is_printed_before_anything_is_there(project: Path) -> None:
    recipe = ["--recipe", str(ROOT / "recipes" / "gsm8k_grpo.yaml"), "--gpu-memory", "80"]
    table = ratchet(project, "train", "--estimate", *recipe)
    assert table.returncode == 0
    assert "activations" in table.stdout
    told = json.loads(ratchet(project, "train", "--estimate", "--json", *recipe).stdout)
    assert (told["fits"], told["device_gib"]) == (True, 80.0)
    assert f"{told['estimate_gib']:.3f}" in table.stdout
    assert not (project / ".ratchet").exists()


def test_algorithms_are_compared_before_anything_is_there(project: Path) -> None:
    recipe = ["--recipe", str(ROOT / "recipes" / "gsm8k_grpo.yaml"), "--gpu-memory", "80"]
    told = json.loads(ratchet(project, "compare", "--json", *recipe).stdout)
    assert [row["algorithm"] for row in told["rows"][:3]] == ["grpo", "ppo, own critic", "ppo, shared trunk"]
    table = ratchet(project, "compare", *recipe).stdout
    assert f"{told['rows'][1]['memory_gib']:.2f}" in table
    assert not (project / ".ratchet").exists()
    wrong = ratchet(project, "compare", "--algorithms", "grpo,nope", *recipe)
    assert (wrong.returncode, "train.algorithm" in wrong.stderr) == (2, True)


def test_an_estimate_of_a_model_that_is_not_known_here_is_exit_2(project: Path) -> None:
    recipe = ["--recipe", str(ROOT / "recipes" / "gsm8k_grpo.yaml"), "--set", "policy.shape=null"]
    done = ratchet(project, "train", "--estimate", *recipe)
    assert done.returncode == 2
    assert "the shape of Qwen/Qwen2.5-0.5B-Instruct is unknown" in done.stderr
    alone = ratchet(project, "train", "--prompt-tokens", "5", *recipe)
    assert alone.returncode == 2
    assert "are for --estimate" in alone.stderr


@pytest.mark.parametrize("verb", [["push"], ["pull"], ["verify"], ["diff", "HEAD"]], ids=lambda verb: verb[0])
def test_data_verbs_without_a_pointer_say_what_to_do(project: Path, verb: list[str]) -> None:
    recipe = ["--recipe", str(ROOT / "recipes" / "quickstart.yaml")] if len(verb) > 1 else []
    done = ratchet(project, "data", *verb, *recipe)
    assert done.returncode == 1
    assert "ratchet data prepare" in done.stderr


WHY, WHICH = "pass --override and --reason TEXT", "either the number of a version or --checkpoint DIGEST"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--checkpoint", "abcdef12", "--reason", "better"], WHY),
        (["--checkpoint", "abcdef12", "--override"], WHY),
        (["--checkpoint", "abcdef12", "--override", "--reason", " "], WHY),
        (["1", "--checkpoint", "abcdef12", "--override", "--reason", "better"], WHICH),
        (["--override", "--reason", "better"], WHICH),
    ],
)
def test_faults_an_incomplete_override_is_exit_2(project: Path, arguments: list[str], complaint: str) -> None:
    done = ratchet(project, "promote", *arguments, "--recipe", str(ROOT / "tests" / "recipes" / "micro.yaml"))
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(project: Path) -> None:
    (project / ".ratchet").write_text("a file where a directory should be", encoding="utf-8")
    done = ratchet(project, "run", "--recipe", str(ROOT / "tests" / "recipes" / "micro.yaml"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "error"
    assert "RATCHET_HOME" in done.stderr


def test_a_wrong_recipe_is_json_too(project: Path) -> None:
    recipe = str(ROOT / "tests" / "recipes" / "micro.yaml")
    done = ratchet(project, "run", "--recipe", recipe, "--set", "train.rate=1", "--json")
    assert done.returncode == 2
    assert "train.rate" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("verb", ["schedule", "serve"])
def test_a_schedule_is_asked_for_under_both_names(project: Path, verb: str) -> None:
    done = ratchet(project, verb, "--recipe", str(ROOT / "recipes" / "quickstart.yaml"))
    assert done.returncode == 2
    assert "pass --cron, --every or --rrule" in done.stderr


def test_a_cron_that_gives_no_dates_is_refused_before_a_server_is_started(project: Path) -> None:
    recipe = str(ROOT / "recipes" / "quickstart.yaml")
    done = ratchet(project, "schedule", "--recipe", recipe, "--cron", "99 * * * *", "--prefect-port", str(free_port()))
    assert done.returncode == 2
    assert done.stderr.startswith("error: schedule.cron '99 * * * *' gives no dates: ")
    assert "Prefect runs on port" not in done.stderr


def test_faults_a_recipe_is_scheduled_once_per_project(project: Path) -> None:
    home = Home.here()
    rejected = pytest.raises(RatchetError, match=f"^process {os.getpid()} schedules a in this project")
    rules = Schedule(every="6h")
    with sole_schedule(home, "a", rules), sole_schedule(home, "b", rules), rejected, sole_schedule(home, "a", rules):
        pass
    with sole_schedule(home, "a", rules):
        pass


VERBS_OF_A_MODEL = [
    "run",
    "train",
    "evaluate",
    "gate",
    "history",
    "rollback",
    "promote",
    "approve",
    "lineage",
    "verify",
    "reproduce",
]


@pytest.mark.parametrize("verb", VERBS_OF_A_MODEL)
def test_the_model_that_a_verb_is_about_can_be_set(verb: str) -> None:
    import typer

    from ratchet.flows.cli import app

    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    for shown in getattr(command, "commands", {"": command}).values():
        options = {option for parameter in shown.params for option in parameter.opts}
        assert {"--recipe", "--set"} <= options, shown.name


def test_a_busy_port_is_named(project: Path) -> None:
    with socket.socket() as holder:
        holder.bind((servers.HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(RatchetError, match=f"port {port}.*--port"):
            servers.require_free(port, "--port")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_there_is_not_is_refused(port: int) -> None:
    with pytest.raises(RatchetError, match=f"there is no port {port}. Choose one from 1 to 65535 with --port"):
        servers.require_free(port, "--port")


@pytest.mark.parametrize("name", ["DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS"])
def test_telemetry_is_off_whatever_the_verb(project: Path, name: str) -> None:
    show = f"atexit.register(lambda: print(os.environ.get('{name}')))"
    code = f"import atexit, os, ratchet.flows.cli; {show}; ratchet.flows.cli.main()"
    environment = {key: value for key, value in os.environ.items() if key != name}
    command = [sys.executable, "-c", code, "recipe", "show", "--recipe", str(ROOT / "recipes" / "quickstart.yaml")]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1] in ("1", "true")) == (0, True)


def test_every_verb_has_an_example() -> None:
    import typer

    from ratchet.flows.cli import app

    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    helps = {name: verb.help for name, verb in verbs.items()}
    helps |= {
        f"{name} {below.name}": below.help for name, verb in verbs.items() for below in getattr(verb, "commands", {}).values()
    }
    assert {"run", "gate", "gate power", "data", "data prepare"} < helps.keys()
    assert [name for name, text in helps.items() if "Example: ratchet" not in (text or "")] == []


def verbs_with_json() -> list[str]:
    import typer

    from ratchet.flows.cli import app

    def found(command: Any, words: str) -> Iterator[str]:
        if any("--json" in parameter.opts for parameter in command.params):
            yield words.strip()
        for name, below in getattr(command, "commands", {}).items():
            yield from found(below, f"{words} {name}")

    return list(found(typer.main.get_command(app), ""))


def refused(project: Path, *arguments: str) -> dict[str, Any]:
    """The one JSON value of a command that fails."""
    done = ratchet(project, *arguments, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode != 0, found["status"]) == (True, "error")
    assert found["error"] in done.stderr
    return dict(found)


@pytest.mark.parametrize("verb", verbs_with_json())
def test_a_wrong_usage_is_json_of_every_verb(project: Path, verb: str) -> None:
    assert refused(project, *verb.split(), "--nonsense")["error"] == "No such option: --nonsense"


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    sorted(set(verbs_with_json()) - {"check", "recipe check", "docs", "doctor", "lock"}),  # which report it, or do not read it
)
def test_an_error_is_json_of_every_verb(project: Path, verb: str) -> None:
    given = {
        **dict.fromkeys(("lineage", "verify", "reproduce"), "99"),
        **dict.fromkeys(("backup", "restore", "data add", "reward score"), "/nowhere/file"),
        "grader show": "nowhere.py:grade",
        "grader export": "nowhere.py:grade --to exported",
        "promote": "99 --override --reason test",
        "data diff": "0" * 32,
    }
    (project / "ratchet.yaml").write_text("no recipe")
    damaged = project / ".ratchet"
    damaged.mkdir()
    (damaged / "ledger.db").write_text("no database")
    assert refused(project, *verb.split(), *given.get(verb, "").split())["error"]


def test_a_version_that_there_is_not_is_json_too(project: Path) -> None:
    recipe = str(ROOT / "recipes" / "quickstart.yaml")
    assert "99" in refused(project, "verify", "99", "--recipe", recipe)["error"]


def test_power_is_known_without_a_run(project: Path) -> None:
    recipe = ["--recipe", str(ROOT / "recipes" / "quickstart.yaml")]
    done = ratchet(project, "gate", "power", "--effect", "0.03", "--items", "1000", "--json", *recipe)
    found = json.loads(done.stdout)
    assert (found["effect"], found["items"], found["needed"]) == (0.03, 1000, 3082)  # docs/gates.md
    assert 0 < found["power"] < 0.8
    without = ratchet(project, "gate", "power", *recipe)
    assert without.returncode == 1
    assert "ratchet data prepare" in without.stderr


def test_there_is_nothing_to_replay_before_the_first_verdict(project: Path) -> None:
    assert "no verdict yet" in ratchet(project, "gate", "replay", "--recipe", str(ROOT / "recipes" / "quickstart.yaml")).stdout


def test_a_recipe_whose_library_is_missing_is_exit_2_and_names_the_extra(project: Path) -> None:
    code = "import sys; sys.modules['lm_eval'] = None; sys.argv[0] = 'ratchet'; from ratchet.flows.cli import main; main()"
    benchmark = "evaluation.benchmarks={gsm: {kind: lm_eval, task: gsm8k}}"
    arguments = ["recipe", "check", "--recipe", str(ROOT / "recipes" / "quickstart.yaml"), "--set", benchmark]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())  # in lines of 80 columns
    assert "benchmark gsm needs lm_eval, which is not installed. Run: pip install 'ratchet-rl[lm-eval]'." in said
