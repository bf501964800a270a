"""What a recipe brings of its own to judge by: functions and what they read, databases, schemas, JSON files."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ratchet.components.code.user_sources import INSTALLED, files_read, function_digests, source_files
from ratchet.components.graders.build import grader_digests, verifier_digests
from ratchet.components.graders.sql import Query, database_files
from ratchet.components.recipe import GraderSettings, Multi, OpenAI, Recipe, Sql, UserFunction
from ratchet.components.storage.digests import kept_digest
from ratchet.components.storage.home import project_root


def all_graders(recipe: Recipe) -> Iterator[tuple[str, GraderSettings]]:
    """Each grader that is not a formula over others, by its key in the recipe."""
    waiting: list[tuple[str, GraderSettings]] = [(f"graders.{name}", one) for name, one in recipe.graders.items()]
    waiting += [("reward.verifier", one) for one in recipe.reward.verifiers if one not in recipe.graders.values()]
    while waiting:
        key, one = waiting.pop(0)
        if isinstance(one, Multi):  # it is built of them, and has nothing else that could be wrong
            waiting += [(f"{key}.graders.{name}", inner) for name, inner in one.graders.items()]
        else:
            yield key, one


def judging_functions(recipe: Recipe) -> list[str]:
    """The user's functions, of graders and of rewards, each as ``module:function`` or ``path/to/file.py:function``."""
    graders = (one.file for _, one in all_graders(recipe) if isinstance(one, UserFunction))
    return list(dict.fromkeys([*recipe.reward.functions, *graders]))


def judging_digests(recipe: Recipe, digest: Callable[[Path], str] = kept_digest) -> dict[str, str]:
    """All that decides a run's judgements and that the recipe does not spell: of gold, rules of the gate, and reward.

    Args:
        digest: gives the sha256 of a file of the reward's functions.

    Raises:
        RecipeError: if one cannot be built.
    """
    functions = function_digests(recipe.reward.functions, digest, recipe.reward.files)
    return {**grader_digests(recipe), **verifier_digests(recipe.reward), **functions}


def judging_files(recipe: Recipe) -> list[Path]:
    """Every file of the user's by which completions are judged; not those of installed libraries, which the lock names.

    Raises:
        RecipeError: if a file is missing, or a grader has no database.
    """
    files = {file for function in judging_functions(recipe) for file in source_files(function)}
    files |= {project_root() / name for name in _json_files(recipe)}
    files |= set(files_read(recipe.reward.files, "reward.files").values())
    read = {f"{key}.files": one.files for key, one in all_graders(recipe) if isinstance(one, UserFunction)}
    files |= {file for key, names in read.items() for file in files_read(names, key).values()}
    queries = [one for _, one in all_graders(recipe) if isinstance(one, Sql)]
    files |= {file for one in queries for file in database_files(Query(**one.model_dump(exclude={"type"})), project_root())}
    return sorted(file for file in files if INSTALLED.isdisjoint(file.parts))


def _json_files(recipe: Recipe) -> Iterator[str]:
    """Schemas of completions, and graders of OpenAI's, that stand in files."""
    graders = [one for _, one in all_graders(recipe)]
    given = [recipe.response and recipe.response.json_schema, recipe.reward.response]
    given += [getattr(one, "response", None) for one in graders]
    given += [one.grader for one in graders if isinstance(one, OpenAI) and isinstance(one.grader, str)]
    yield from (one for one in given if isinstance(one, str))
