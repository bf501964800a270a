"""What a recipe names outside of itself: models, data and functions. Looked for before anything runs; nothing is downloaded."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

from ratchet.components.code import user_sources
from ratchet.components.data.sources import source_files
from ratchet.components.errors import DataError, RatchetError, RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.judging import all_graders
from ratchet.components.graders.outside import reward_worker, user_worker
from ratchet.components.graders.response import schema_text
from ratchet.components.recipe import Recipe, UserFunction, parts

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
SECONDS = 10.0  # for the hub's answer

Answer = Literal["there", "missing", "unknown"]


def require_references(recipe: Recipe) -> list[str]:
    """Reject a recipe that names a directory, file, hub id or function that is not there.

    The user's functions are imported, in processes of their own.

    Returns:
        Notes on hub ids that could not be looked up.

    Raises:
        RecipeError: naming every such key.
    """
    answers = {f"{key}: {place!r}": model_answer(place, revision) for key, place, revision in _models(recipe)}
    missing = [f"{name} is neither a model's directory nor a hub id. Correct it." for name in _with(answers, "missing")]
    missing += [*_data(recipe), *_graders(recipe), *_functions(recipe)]
    if missing:
        raise RecipeError("\n  ".join(["the recipe names what is not there, or cannot be used:", *missing]))
    return [f"{name} is no directory here, and the hub could not be asked" for name in _with(answers, "unknown")]


def _with(answers: Mapping[str, Answer], wanted: Answer) -> list[str]:
    return [name for name, answer in answers.items() if answer == wanted]


def _models(recipe: Recipe) -> Iterator[tuple[str, str, str | None]]:
    model = recipe.reward.model
    named = (
        ("policy.model", recipe.policy.model, recipe.policy.revision),
        ("reward.model.pretrained", model.pretrained, model.revision),
        ("reward.model.base", model.base, None),
    )
    yield from ((key, place, revision) for key, place, revision in named if place is not None)


def model_answer(place: str, revision: str | None) -> Answer:
    """Whether a place is a model's directory, or a hub id that the cache or the hub knows."""
    if Path(place).is_dir():
        return "there" if (Path(place) / "config.json").is_file() else "missing"
    # A hub id may look like a path; where its first part is a folder here, the path was meant.
    if HUB_ID.fullmatch(place) is None or ("/" in place and Path(place).parent.is_dir()):
        return "missing"
    return _hub_answer(place, revision)


def _hub_answer(place: str, revision: str | None) -> Answer:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(try_to_load_from_cache(place, "config.json", revision=revision), str):
        return "there"
    try:
        HfApi().model_info(place, revision=revision, timeout=SECONDS)
    except (OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError):
        return "missing"
    except Exception:  # of the network, in the classes of whichever client
        return "unknown"
    return "there"


def _data(recipe: Recipe) -> Iterator[str]:
    for part in parts(recipe.data.source):
        try:
            source_files(part.source)
        except DataError as error:
            yield f"data.source: {error}"


def _graders(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the schema of completions, and with graders that are not functions of the user's."""
    makers: dict[str, Callable[[], object]] = {}
    if recipe.response is not None:  # before the graders that have it too
        makers["task.response"] = partial(schema_text, recipe.response.json_schema)
    makers |= {key: partial(build_grader, one, key) for key, one in all_graders(recipe) if not isinstance(one, UserFunction)}
    found: dict[str, str] = {}
    for key, make in makers.items():
        try:
            make()
        except RatchetError as error:
            found.setdefault(str(error), key)
    yield from (text if key in text else f"{key}: {text}" for text, key in found.items())


def _functions(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the user's functions: of the reward, and of graders, which may be inside a formula."""
    settings = recipe.reward
    named = {"reward.function": settings.function}
    named |= {f"reward.terms.{term.name}.function": term.function for term in settings.terms}
    makers = {key: partial(reward_worker, function, settings, key) for key, function in named.items() if function is not None}
    functions = {f"{key}.file": one for key, one in all_graders(recipe) if isinstance(one, UserFunction)}
    makers |= {key: partial(user_worker, one, key) for key, one in functions.items()}
    read = {f"{key}s": one.files for key, one in functions.items()} | {"reward.files": settings.files}
    for key, names in read.items():
        try:
            user_sources.files_read(names, key)
        except RecipeError as error:
            yield str(error)
    for make in makers.values():
        try:
            with closing(make()) as worker:
                user_sources.source_files(worker.target, worker.key)
                worker.start()
        except RatchetError as error:
            yield str(error)
