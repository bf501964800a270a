"""All files of a new project: of a template, or of rows of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratchet.components.recipe import parse_yaml
from ratchet.components.scaffold import extras
from ratchet.components.scaffold.guess import TASKS, references
from ratchet.components.scaffold.own import MODEL, Own, rows_needed, sealed_items, values_of
from ratchet.components.scaffold.recipe_text import FIRST_LINE, recipe_text
from ratchet.components.scaffold.templates import template
from ratchet.components.storage.home import RECIPE

STARTER = {"file": f"{extras.GRADERS}:grade", "measure": "binary"}  # how the function to start from is called


@dataclass(frozen=True)
class Project:
    """A project to be written.

    Attributes:
        values: of its recipe.
        files: by path from its root; the recipe among them.
    """

    values: Mapping[str, Any]
    files: Mapping[str, bytes]


def template_project(kind: str, name: str) -> Project:
    """A template's project, under another name.

    Raises:
        KeyError: if there is no such template.
    """
    made = template(kind)
    text = FIRST_LINE + made.recipe.replace("{name}", name)
    return Project(parse_yaml(text, RECIPE), {RECIPE: text.encode(), **made.files})


def own_project(own: Own) -> Project:
    """A project of the user's own rows.

    Raises:
        RecipeError: if a column that must be in a template has a name that cannot be.
    """
    values = values_of(own)
    text = recipe_text(values, _summary(own), _comments(own, values), _remarks(values))
    starts = own.task == "own" and dict(own.grader or {}) == STARTER and not own.here  # one that is there is the user's
    files = {
        RECIPE: text.encode(),
        **({extras.GRADERS: extras.graders()} if starts else {}),
        extras.TESTS: extras.tests(bool(references(own.table, own.columns))),
    }
    return Project(values, files)


def with_options(project: Project, ci: bool, deploy: bool) -> Project:
    """The project with GitHub's workflow and Prefect's deployment."""
    further = {
        **({extras.WORKFLOW: extras.workflow()} if ci else {}),
        **({extras.DEPLOYMENT: extras.deployment(str(project.values["name"]))} if deploy else {}),
    }
    return Project(project.values, {**project.files, **further})


def _summary(own: Own) -> str:
    rows = f"{own.table.size:,} rows" if own.table.whole else f"about {own.table.size:,} rows"
    what = TASKS[own.task]
    if own.grader is not None:
        what = "OpenAI's grader decides" if "openai" in own.grader else "a function of yours decides"
    return f"{rows}; {what}. `ratchet recipe show` prints every value that is not written here."


def _comments(own: Own, values: Mapping[str, Any]) -> dict[str, str]:
    """What stands behind a value, and why one would change it."""
    data, pairs, warmup = values["data"], own.task == "preferences", values["policy"].get("warmup", {})
    seen = "all rows" if own.table.whole else f"the first {len(own.table.rows):,} rows"
    comments = {
        "name": "of the model in the registry",
        "data.source": "other columns stay as item.*",
        "data.checks": "number: ends in #### N; optional: prompts alone",
        "data.keep": "for the function, which may read them by these names",
        "data.max_prompt_chars": "longer ones are dropped",
        "data.split": "sealed: the gate's" + ("" if pairs else "; pairs: a reward model's"),
        "task.prompt": "what the policy is asked",
        "task.answer": "the reference, as text",
        "policy.warmup": "so far, with room to train" + (f"; context: by {seen}" if "context" in warmup else ""),
        "policy.max_new_tokens": "of a completion" if "model" in values["policy"] else f"of a completion; by {seen}",
        "graders.right": "see docs/graders.md",
        "gold": "judges checkpoints, evaluation and gate" + ("" if pairs else ", and is the reward"),
    }
    if own.task == "classify" and own.grader is None and not own.table.whole:
        comments["graders.right"] = f"the labels of {seen}; add others"
    if pairs and own.grader is None:
        comments["graders.right"] = "a stand-in: nearness to the chosen answer"
    if not pairs:
        comments["reward"] = "the gold itself; there are no pairs for these checks"
    if "target_effect" in values["gate"]["rules"] and rows_needed(own.table.size) is None:
        comments["gate.rules"] = f"the gain that {sealed_items(own.table.size, data['split'])} sealed items can show"
    return comments


def _remarks(values: Mapping[str, Any]) -> dict[str, str]:
    if "model" in values["policy"]:
        return {
            "policy": "the rows have no answers to warm the tiny policy up on, so that a model is named: any folder or hub id"
        }
    return {"policy": f"a tiny policy is warmed up on the answers; in place of that a real model, for example model: {MODEL}"}
