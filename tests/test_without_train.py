"""A base installation: no torch, no transformers. Checks work, and what needs them says so in one line.

Python's finder of packages is replaced in every process here; tests/test_wheel.py does without the packages themselves.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet.components.code.extras import TRAIN
from tests.commands import ratchet, without
from tests.places import MICRO

MODELS = "torch and transformers and safetensors"
MISSING = "needs {}, which a base installation does not have. Run: pip install 'ratchet-rl[train]'."
GRADER = "def mine(sample, item):\n    return 1.0\n"
ROWS = [
    {"prompt": "1+1?", "answer": "2", "completion": "It is 2. #### 2"},
    {"prompt": "1+2?", "answer": "3", "completion": "No."},
]
GOLD = """
import sys
from pathlib import Path
from ratchet.components.pretrained.chat import encode_prompt
from ratchet.components.storage.home import Home
from ratchet.components.policy.tiny_tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS, train_byte_bpe
from ratchet.components.pretrained.prompt_tokenizer import PromptTokenizer
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import gold_report, validated_gold
from ratchet.components.stages.stage import Context

context = Context(load_recipe(Path(sys.argv[1])), Home.here())
data = prepare_data(context)
gold = validated_gold(context, data)
tokenizer = PromptTokenizer(train_byte_bpe(["Ann has"], 258), SPECIAL_TOKENS, CHAT_TEMPLATE)
print(gold_report(gold, context.recipe).passed, len(encode_prompt(tokenizer, "Ann")))
assert not {"torch", "transformers", "safetensors"} & sys.modules.keys()
"""


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    return without(tmp_path / "without", *TRAIN, "peft")


def done(base: dict[str, str], project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=project, env=base, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check"],
        ["recipe", "check"],
        ["grader", "show", "graders.py:mine"],
        ["reward", "score", "rows.jsonl", "--set", "reward.kind=verifier"],
        ["history"],
    ],
    ids=" ".join,
)
def test_checks_need_no_torch(base: dict[str, str], project: Path, arguments: list[str]) -> None:
    (project / "ratchet.yaml").write_text(MICRO.read_text(encoding="utf-8"), encoding="utf-8")
    (project / "graders.py").write_text(GRADER, encoding="utf-8")
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    ended = done(base, project, *ratchet(*arguments))
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_rows_the_gold_and_prompts_need_no_torch(base: dict[str, str], project: Path) -> None:
    ended = done(base, project, sys.executable, "-c", GOLD, str(MICRO))
    assert ended.stdout.split() == ["True", "4"], ended.stderr  # three bytes and a line's end


@pytest.mark.slow
def test_a_dataset_version_and_its_power_need_no_torch(base: dict[str, str], project: Path) -> None:
    prepared = done(base, project, *ratchet("data", "prepare", "--json", "--recipe", str(MICRO)))
    assert json.loads(prepared.stdout)["status"] == "finished", prepared.stderr
    power = done(base, project, *ratchet("gate", "power", "--json", "--recipe", str(MICRO)))
    assert power.returncode == 0, power.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run"], MODELS),
        (["evaluate"], MODELS),
        (["try", "-n", "2"], MODELS),
        (["schedule", "--every", "1h"], MODELS),
        (["train", "--estimate"], "torch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_that_runs_a_model_names_the_extra(base: dict[str, str], project: Path, arguments: list[str], what: str) -> None:
    ended = done(base, project, *ratchet(*arguments, "--recipe", str(MICRO)))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: this {MISSING.format(what)}\n"
    assert not (project / ".ratchet").exists()


def test_doctor_says_what_training_needs(base: dict[str, str], project: Path) -> None:
    ended = done(base, project, *ratchet("doctor"))
    assert ended.returncode == 1, ended.stderr
    assert "pip install 'ratchet-rl[train]'" in ended.stdout


def test_with_json_it_is_an_error_object(base: dict[str, str], project: Path) -> None:
    ended = done(base, project, *ratchet("run", "--json", "--recipe", str(MICRO)))
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["status"]) == (2, "error")
    assert "pip install 'ratchet-rl[train]'" in found["error"]
