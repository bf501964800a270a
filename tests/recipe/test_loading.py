"""A recipe file validates into a closed, frozen model, or fails with the key, the value and the remedy."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import MAX_RECIPE_BYTES, Recipe, build_recipe, load_recipe, parse_yaml
from tests.places import RECIPES

QUICKSTART = RECIPES / "quickstart.yaml"
SMALLEST = "name: small\ngate: {rules: {}}\n"
GOLD = "graders: {right: {type: number, form: strict}}\ngold: {grader: right}\n"


def load(tmp_path: Path, extra: str = "", *overrides: str) -> Recipe:
    """The smallest recipe with more lines and overrides."""
    path = tmp_path / "recipe.yaml"
    path.write_text(SMALLEST + extra, encoding="utf-8")
    return load_recipe(path, overrides)


def refusal(tmp_path: Path, extra: str = "", *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, extra, *overrides)
    return str(caught.value)


# Shipped recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert isinstance(load_recipe(path), Recipe)


DECIDED_BY_THE_PRESET = {
    *("advantage", "gamma", "gae_lambda", "value_lambda", "whiten", "loss"),
    *("kl_estimator", "kl_coefficient", "kl_target", "kl_horizon"),
}


def test_quickstart_spells_every_key_that_a_preset_leaves_open() -> None:
    written = parse_yaml(QUICKSTART.read_text(encoding="utf-8"), "quickstart")
    whole = load_recipe(QUICKSTART).model_dump(mode="json")
    assert {k: v for k, v in written.items() if k != "train"} == {k: v for k, v in whole.items() if k != "train"}
    assert whole["train"].keys() - written["train"].keys() == DECIDED_BY_THE_PRESET | {"smaller"}  # a rebuild's alone


# Closed and frozen


def test_a_loaded_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.k = 4  # type: ignore[misc]


@pytest.mark.parametrize("line", ["trian: {}", "train: {learning_rate: 1}", "data: {source: {kind: word_problems, rows: 3}}"])
def test_an_unknown_key_is_refused_at_any_depth(tmp_path: Path, line: str) -> None:
    assert "unknown key" in refusal(tmp_path, line)


def test_a_refusal_names_the_file_the_key_the_value_and_the_remedy(tmp_path: Path) -> None:
    message = refusal(tmp_path, "", "train.loss.clip_low=1.5")
    assert "recipe.yaml" in message
    assert "train.loss.clip_low" in message
    assert "1.5" in message
    assert message.endswith("Correct the value.")


@pytest.mark.parametrize("key", ["jsonl", "int", "word_problems"])
def test_an_unknown_key_is_named_whatever_it_is_called(tmp_path: Path, key: str) -> None:
    assert f"train.{key}: unknown key" in refusal(tmp_path, f"train: {{{key}: 3}}")


def test_every_fault_of_a_recipe_is_listed_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "", "train.steps=0", "data.pair_noise=2")
    assert "train.steps" in message
    assert "data.pair_noise" in message


@pytest.mark.parametrize("key", ["train.k", "seed"])
def test_a_bad_choice_is_reported_under_the_key_that_the_user_wrote(tmp_path: Path, key: str) -> None:
    assert "literal[" not in refusal(tmp_path, "", f"{key}=-1")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match=r"gate: Field required\. Add it"):
        build_recipe({"name": "small"}, "recipe")


@pytest.mark.parametrize("key", ["train.steps", "train.lr", "seed"])
def test_true_is_not_a_number(tmp_path: Path, key: str) -> None:
    assert key in refusal(tmp_path, "", f"{key}=true")


@pytest.mark.parametrize("value", [".nan", ".inf", "1e400"])
def test_a_value_that_is_not_finite_is_refused(tmp_path: Path, value: str) -> None:
    assert "train.lr" in refusal(tmp_path, "", f"train.lr={value}")


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "a%2e", "a;b", "a#b", '"a\\n"', '""', "C:", "x" * 65])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert "name" in refusal(tmp_path, "", f"name={name}")


# YAML


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "3.0e-4", "+3e-4", "0.0003"])
def test_every_spelling_of_a_small_number_is_a_number(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "", f"train.lr={text}").train.lr == 0.0003


@pytest.mark.parametrize("extra", ["train: {steps: 1, steps: 2}", "seed: 1\nseed: 2", "name: again"])
def test_a_key_given_twice_is_refused(tmp_path: Path, extra: str) -> None:
    assert "duplicate key" in refusal(tmp_path, extra)


def test_an_alias_is_refused(tmp_path: Path) -> None:
    assert "aliases" in refusal(tmp_path, "policy: &p {start: base}\nreward: *p\n")


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [ha, ha]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]  # 2**40 strings
    assert "aliases" in refusal(tmp_path, "\n".join(laughs))


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [id]", "!!python/name:os.system", "!custom x"])
def test_a_tag_that_would_build_an_object_is_refused(tmp_path: Path, tag: str) -> None:
    assert "not valid YAML" in refusal(tmp_path, f"device: {tag}")


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    assert "recipe.yaml" in refusal(tmp_path, "device: " + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="does not contain a mapping"):
        load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"# " + b"x" * MAX_RECIPE_BYTES], ids=["not UTF-8", "too large"])
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(tmp_path / "recipe.yaml")


def test_without_a_project_the_remedy_is_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"no ratchet.yaml here or in a folder above. `ratchet init` makes a project"):
        load_recipe(Path("recipes/quickstart.yaml"))


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused_with_the_option_to_use(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="--recipe"):
        load_recipe(tmp_path / name)


# Overrides


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "train: {algorithm: grpo}", "train.algorithm=ppo").train.algorithm == "ppo"


def test_the_last_of_two_overrides_wins(tmp_path: Path) -> None:
    assert load(tmp_path, "", "seed=1", "seed=2").seed == 2


def test_an_override_reaches_a_section_that_the_file_does_not_have(tmp_path: Path) -> None:
    assert load(tmp_path, "", "reward.model.label_noise=0.5").reward.model.label_noise == 0.5


def test_an_override_keeps_its_siblings(tmp_path: Path) -> None:
    assert load(tmp_path, "train: {steps: 3, prompts: 5}", "train.steps=4").train.prompts == 5


@pytest.mark.parametrize("override", ["train.steps", "=3", "name.x=3"])
def test_an_override_that_has_no_place_is_refused(tmp_path: Path, override: str) -> None:
    assert "--set" in refusal(tmp_path, "", override)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("../b/c.parquet", "parquet"),
        ("a.CSV", "csv"),
        ("a.tsv", "csv"),
        ("shards", "folder"),
        ("a.b/c", "folder"),
    ],
)
def test_a_bare_path_is_a_source_of_the_kind_that_its_suffix_says(tmp_path: Path, path: str, kind: str) -> None:
    source = load(tmp_path, "", f"data.source={path}").data.source.model_dump()
    assert (source["kind"], source["path"], source.get("delimiter", ",")) == (kind, path, "\t" if path == "a.tsv" else ",")


def test_what_is_auto_is_off_for_generated_problems_alone(tmp_path: Path) -> None:
    generated, own = load(tmp_path).data, load(tmp_path, "", "data.source=a.jsonl").data
    assert (generated.near_duplicate_rule, generated.decontamination_rule) == (None, None)
    assert own.near_duplicate_rule is not None
    assert own.decontamination_rule is not None


def test_an_override_opens_a_section_that_is_auto(tmp_path: Path) -> None:
    rule = load(tmp_path, "", "data.near_duplicates.similarity=0.9").data.near_duplicate_rule
    assert rule is not None
    assert rule.similarity == 0.9


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.source={kind: mix, sources: [{source: {kind: csv}}]}", "data.source.sources.0.source.path"),
        ("data.source={kind: jsonl, jsonl: 1, path: x}", "data.source.jsonl"),
        ("data.near_duplicates={similarity: 3}", "data.near_duplicates.similarity"),
    ],
)
def test_a_fault_inside_a_source_is_named_by_the_key_that_the_user_wrote(tmp_path: Path, override: str, key: str) -> None:
    assert f"  --set {key}: " in refusal(tmp_path, "", override)


def test_an_override_of_an_unknown_key_is_refused(tmp_path: Path) -> None:
    assert "train.stpes" in refusal(tmp_path, "", "train.stpes=3")


# Combinations


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["train.k=1"], "train.k=1"),
        (["train.prompts=10", "train.minibatches=3"], "train.minibatches=3"),
        (["policy.warmup.width=130"], "width 130"),
        (["reward.kind=custom"], "reward.function"),
        (["reward.function=m:f"], "reward.function"),
        (["reward.verifier_weight=0", "reward.model_weight=0"], "reward.verifier_weight"),
        (["data.split.dev=0.5", "data.split.pairs=0.5"], "no train split"),
        (["data.source.kind=jsonl"], "data.source.path"),
    ],
)
def test_an_impossible_combination_is_refused(tmp_path: Path, overrides: list[str], named: str) -> None:
    assert named in refusal(tmp_path, "", *overrides)


@pytest.mark.parametrize("override", ["data.split.pairs=0", "data.split.pairs_heldout=0", "data.split.pairs_heldout=1"])
def test_a_learned_reward_without_pairs_is_refused(tmp_path: Path, override: str) -> None:
    assert "pairs" in refusal(tmp_path, GOLD, "reward.kind=model", override)


@pytest.mark.parametrize("override", ["data.split.dev=0", "data.split.sealed=0"])
def test_a_split_that_every_run_needs_cannot_be_empty(tmp_path: Path, override: str) -> None:
    assert "data.split" in refusal(tmp_path, "", override)


def test_an_override_opens_a_section_that_the_file_leaves_empty(tmp_path: Path) -> None:
    lora = load(tmp_path, "train: {lora: null}", "train.lora.rank=4").train.lora
    assert lora is not None
    assert lora.rank == 4


def test_ppo_needs_no_group(tmp_path: Path) -> None:
    assert load(tmp_path, "", "train.algorithm=ppo", "train.k=1").train.group_size == 1


# Identity and seed


def test_the_digest_ignores_how_the_file_is_written(tmp_path: Path) -> None:
    assert load(tmp_path, "train: {lr: 3e-4, k: 8}").digest == load(tmp_path, "train:\n  k: 8\n  lr: 0.0003\n").digest


def test_the_digest_changes_with_any_value(tmp_path: Path) -> None:
    assert load(tmp_path).digest != load(tmp_path, "", "gate.rules.floor=0.51").digest


def test_limits_that_only_make_calls_fail_are_not_in_the_digest(tmp_path: Path) -> None:
    assert load(tmp_path).digest == load(tmp_path, "", "reward.limits.seconds=9").digest
    assert load(tmp_path).digest != load(tmp_path, "", "reward.environment=[JUDGE_URL]").digest


def test_a_slot_always_gives_its_own_seed(tmp_path: Path) -> None:
    recipe = load(tmp_path, "seed: slot")
    monday, tuesday = recipe.with_slot("2025-01-06").run_seed, recipe.with_slot("2025-01-07").run_seed
    assert monday == recipe.with_slot("2025-01-06").run_seed
    assert monday != tuesday


def test_a_slot_leaves_a_written_seed_alone(tmp_path: Path) -> None:
    assert load(tmp_path, "seed: 11").with_slot("2025-01-06").run_seed == 11


def test_two_recipes_do_not_share_the_seed_of_a_slot(tmp_path: Path) -> None:
    first, second = load(tmp_path, "seed: slot"), load(tmp_path, "seed: slot", "name=other")
    assert first.with_slot("2025-01-06").seed != second.with_slot("2025-01-06").seed


def test_prompts_show_the_date_of_the_slot_and_with_a_written_seed_one_that_never_changes(tmp_path: Path) -> None:
    slotted, written = (load(tmp_path, f"seed: {seed}").with_slot("2026-11-26T23:59") for seed in ("slot", 7))
    assert (slotted.template_date, slotted.prompt_date) == ("2026-11-26", "2026-11-26")
    assert (written.prompt_date, written.digest) == ("2025-01-01", load(tmp_path, "seed: 7").digest)
    assert load(tmp_path, "seed: slot").with_slot("first").prompt_date == "2025-01-01"


@pytest.mark.parametrize("seed", ["slot", "7"])
def test_prompts_show_a_date_that_is_written(tmp_path: Path, seed: str) -> None:
    recipe = load(tmp_path, f"seed: {seed}", "template_date=2026-01-02").with_slot("2026-11-26T02:00")
    assert recipe.prompt_date == recipe.model_dump(mode="json")["template_date"] == "2026-01-02"
    again = build_recipe(recipe.model_dump(mode="json"), "a record")  # as a rebuild reads it
    assert (again.prompt_date, again.digest) == (recipe.prompt_date, recipe.digest)


@pytest.mark.parametrize("value", ["today", "'2026-02-30'", "2026-01-02T03:04:05", "20260102", "'2026-W01-1'"])
def test_what_is_not_a_date_is_refused(tmp_path: Path, value: str) -> None:
    assert "template_date: " in refusal(tmp_path, "", f"template_date={value}")


def test_on_is_a_word_and_true_is_not() -> None:
    assert parse_yaml("{on: off, a: true, b: False, c: yes}", "x") == {"on": "off", "a": True, "b": False, "c": "yes"}


@pytest.mark.parametrize("text", ["https://ada:hunter2-abc@data.example/x", "slack://T1/B2/C3", "hf_" + "a1" * 10])
def test_a_credential_in_a_recipe_or_an_override_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"policy\.model contains a credential") as refused:
        load(tmp_path, "", f"policy.model={text}")
    assert text not in str(refused.value)


def test_an_error_of_set_names_it_and_one_of_the_file_the_file(tmp_path: Path) -> None:
    heading, line = refusal(tmp_path, "", "train.foo=1").splitlines()
    assert heading == f"--set is not valid for {tmp_path / 'recipe.yaml'}:"
    assert line.startswith("  --set train.foo: unknown key (given: 1). ")
    heading, *lines = refusal(tmp_path, "typo: 2\n", "train.foo=1", "train.steps=7").splitlines()
    assert heading == f"{tmp_path / 'recipe.yaml'} is not a valid recipe:"
    assert sorted(line.split(":")[0] for line in lines) == ["  --set train.foo", "  typo"]


def test_where_a_set_contradicts_the_file_both_are_named(tmp_path: Path) -> None:
    heading, line = refusal(tmp_path, "", "gold.grader=rihgt").splitlines()
    assert heading == f"{tmp_path / 'recipe.yaml'} with --set gold.grader is not a valid recipe:"
    assert "gold.grader is 'rihgt'" in line


def test_a_set_that_is_not_yaml_says_how_to_quote_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, "", "task.prompt={{item.mail}}")
    assert said.startswith("--set task.prompt is not valid YAML: ")
    assert said.endswith("""into quotes of its own: --set 'task.prompt="..."'.""")


@pytest.mark.parametrize("override", ["train=5", "train.lora=yes"])
def test_one_value_for_a_section_is_refused_without_pydantics_words(tmp_path: Path, override: str) -> None:
    assert "takes keys and values, not one value (given: " in refusal(tmp_path, "", override)


def test_an_error_of_yaml_names_the_file_and_the_line(tmp_path: Path) -> None:
    said = refusal(tmp_path, "train: {steps: 3\n")
    assert f'in "{tmp_path / "recipe.yaml"}", line ' in said
    assert "<unicode string>" not in said


def test_nobody_is_pointed_to_a_file_that_only_a_clone_has(tmp_path: Path) -> None:
    without_source = refusal(tmp_path, "", "data.source={kind: jsonl}")
    (tmp_path / "list.yaml").write_text("[]", encoding="utf-8")
    with pytest.raises(RecipeError, match="`ratchet init` writes a recipe to start from"):
        load_recipe(tmp_path / "list.yaml")
    assert "as in the recipe that `ratchet init` writes" in without_source


def test_a_recipe_whose_functions_read_no_file_has_the_digest_of_one_without_that_key() -> None:
    plain = ["graders.mine={file: 'mine.py:grade'}"]
    empty = ["graders.mine={file: 'mine.py:grade', files: []}", "reward.files=[]"]
    named = ["graders.mine={file: 'mine.py:grade', files: [towns.csv]}"]
    first, second, third = (load_recipe(QUICKSTART, overrides) for overrides in (plain, empty, named))
    assert first.digest == second.digest != third.digest
    assert "files" not in first.model_dump()["reward"].keys() | first.model_dump()["graders"]["mine"].keys()
