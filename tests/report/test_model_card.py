"""The model card says what a version was made from, and what is untrusted in it stays text."""

from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from ratchet.components.report.model_card import TEMPLATE, Judged, markdown_text, render, with_sealed, without_files
from ratchet.components.report.theme import TEMPLATES
from tests.places import ROOT

DESCRIPTION_LIMIT = 5000  # of a model version, in MLflow's database


def card(project: Path = ROOT, **changes: Any) -> str:
    score = {"value": 0.9214, "low": 0.90, "high": 0.94}
    values: dict[str, Any] = {
        "name": "ratchet",
        "version": 7,
        "said": "Version 7 answers 94 of 100 unseen examples right; version 6 answered 61.",
        "verdict": "PROMOTE",
        "reasons": ["sampled accuracy is higher"],
        "commit": "c0ffee" * 6,
        "dirty": False,
        "dataset_md5": "d" * 32 + ".dir",
        "recipe_digest": "e" * 64,
        "gold": "9" * 64,
        "weights_sha256": "f" * 64,
        "policy_sha256": "e" * 64,
        "algorithm": "grpo",
        "engine": None,
        "seed": 3,
        "stop": None,
        "dev": dict.fromkeys(("sampled_before", "sampled_after", "greedy_before", "greedy_after"), score),
        "reward": {
            "kind": "mix",
            "passed": True,
            "counts": "1 of 1 checks passed, 1 not measured",
            "checks": [
                {"name": "pair accuracy", "value": 0.95, "threshold": 0.7, "state": "passed"},
                {"name": "sycophancy", "value": None, "threshold": 0.25, "state": "not measured"},
            ],
        },
        "run_id": "a" * 32,
        "base_model": "tiny",
    }
    return render({**values, **changes}, project)


def test_model_card_says_what_it_was_made_from_and_how_to_load_it() -> None:
    text = card()
    for part in ("**PROMOTE**", "f" * 64, "c0ffee", "0.9214 (0.9 to 0.94)", 'load_model("models:/ratchet/7")'):
        assert part in text
    assert "uncommitted" not in text
    assert f"| {'c0ffee' * 6} with uncommitted changes |" in card(dirty=True)
    assert "trained from uncommitted code, so no commit rebuilds it" in card(dirty=True)


def test_a_card_of_a_version_without_git_says_so() -> None:
    text = card(commit="unknown", dirty=True)
    assert "| code | not recorded: there was no git repository |" in text
    assert "trained outside a git repository, so no commit rebuilds it" in text
    assert "uncommitted" not in text
    assert "ratchet reproduce" not in text


def test_a_card_says_which_engine_drew_and_what_a_rebuild_then_compares() -> None:
    text, own = card(engine="vllm 0.31.0"), card()
    assert "| drawn by vllm 0.31.0, not reproducible bit for bit |\n| code |" in text
    assert "trains its recipe with\nthe same seed. The weights will not hash the same" in text
    assert "the same seed: on the same class of machine the weights hash the same." in own
    assert "drawn by" not in own


def test_a_card_begins_with_what_was_found_if_a_run_has_found_something() -> None:
    assert card().splitlines()[2] == "Version 7 answers 94 of 100 unseen examples right; version 6 answered 61."
    assert card(said="").splitlines()[2] == "Verdict of the gate: **PROMOTE**"


def test_a_card_whose_files_are_deleted_says_how_to_rebuild_them_and_no_longer_how_to_load_them() -> None:
    text = without_files(card(), "7")
    assert "`ratchet reproduce 7` rebuilds them" in text and "load_model" not in text
    assert "## Verify" in text and "## Limits" in text
    assert without_files(text, "7") == text
    uncommitted = without_files(card(dirty=True), "7")
    assert "were deleted by retention" in uncommitted and "ratchet reproduce" not in uncommitted
    own = without_files("x" * DESCRIPTION_LIMIT, "7")  # a template of the project's own
    assert own.endswith("rebuilds them.\n\n") and len(own) <= DESCRIPTION_LIMIT


def test_faults_of_counting_the_card_says_what_was_not_measured() -> None:
    assert "passed: 1 of 1 checks passed, 1 not measured" in card()
    assert "| sycophancy |  | 0.25 | not measured |" in card()


def test_model_card_fits_into_a_description() -> None:
    check = {"name": "n" * 100, "value": 0.123456789, "threshold": None, "state": "not measured"}
    text = card(
        said="s" * 1000,
        reasons=["r" * 1000] * 50,
        reward={"kind": "model", "passed": False, "checks": [check] * 50},
        dirty=True,
    )
    assert len(text) < DESCRIPTION_LIMIT
    assert "None" not in text
    assert "44 more" in text


LONG = Judged("REJECT", "sealed_0", "a" * 32, [(f"figure {n} " + "x" * 100, 0.123456789) for n in range(20)])


def test_faults_published_figures_take_the_place_of_what_was_said_of_sealed_items() -> None:
    text = with_sealed(card(), [Judged("PROMOTE", "sealed_1", "b" * 32, [("p_value", 0.00123456), ("wins", 12.0)])], ROOT)
    assert "| p_value | 0.001235 |" in text
    assert "| wins | 12 |" in text
    assert f"On sealed_1, now retired: **PROMOTE**, with every figure and reason in `verdict.json` of run {'b' * 32}" in text
    assert "published here" not in text
    assert with_sealed(text, [], ROOT) == card()
    assert text.count("## Sealed items") == 1


def test_a_reason_that_its_figures_are_sealed_leaves_the_card_with_the_seal() -> None:
    reason = "not every rule held on sealed_1 (use 1 of 2); its figures stay sealed until the fold is retired, so that no one"
    before = card(reasons=[reason])
    assert "stay sealed" in before and with_sealed(before, [], ROOT) == before
    after = with_sealed(before, [LONG], ROOT)
    assert "- not every rule held on sealed_1 (use 1 of 2).\n" in after and "stay sealed" not in after


def test_a_card_of_an_older_release_or_of_another_template_gets_them_at_its_end() -> None:
    older = "so these figures flatter it; the verdict\nrests on sealed items, whose scores are not published here.\n\n## Load"
    text = with_sealed(older, [LONG], ROOT)
    assert text.startswith("so these figures flatter it.\n\n## Load\n\n<!-- sealed -->")
    assert with_sealed(text, [LONG], ROOT) == text


def test_of_many_verdicts_the_newest_are_shown_and_a_long_card_names_their_runs_alone() -> None:
    check = {"name": "n" * 100, "value": 0.123456789, "threshold": None, "state": "failed"}
    long = card(
        said="s" * 1000,
        reasons=["r" * 1000] * 50,
        reward={"kind": "model", "passed": False, "checks": [check] * 50},
        dirty=True,
    )
    text = with_sealed(long, [LONG] * 4, ROOT)
    assert len(text) <= DESCRIPTION_LIMIT
    assert text.count("a" * 32) > long.count("a" * 32)
    assert "| figure |" not in text
    assert "Judged 2 times before" in text
    assert with_sealed("", [LONG], ROOT).count("0.1235") == 12


def test_a_projects_own_template_comes_before_ours(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / TEMPLATE).write_text("mine: {{ name }}", encoding="utf-8")
    assert card(tmp_path) == "mine: ratchet"


def test_a_project_without_a_template_gets_ours_which_is_this_repositorys() -> None:
    assert card(Path("/nowhere")) == card(ROOT)
    assert (TEMPLATES / TEMPLATE).read_bytes() == (ROOT / "mlflow" / TEMPLATE).read_bytes()


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render({}, ROOT)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x>", "&lt;img src=x>"),
        ("a & b", "a &amp; b"),
        ("| cell |", "\\| cell \\|"),
        ("[link](http://x)", "\\[link\\](http://x)"),
        ("line\n# heading", "line # heading"),
        ("\u202eabc", "\\\\u202eabc"),
        ("kl_incumbent: 0.1", "kl_incumbent: 0.1"),
    ],
)
def test_markup_in_a_text_is_only_text(text: str, shown: str) -> None:
    assert markdown_text(text) == shown
    assert shown in card(reasons=[text])
    assert shown in card(base_model=text)
