"""Read a recipe file, apply overrides, and explain what is wrong with it."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ratchet.components.credentials import is_credential
from ratchet.components.errors import RecipeError
from ratchet.components.recipe.recipe import Recipe
from ratchet.components.recipe.roles import Roles

MAX_RECIPE_BYTES = 1_000_000
DEFAULTS = ("ratchet.yaml", "recipes/quickstart.yaml")  # a project's default recipe: the first that it has


class _UniqueKeyLoader(yaml.SafeLoader):
    """safe_load that rejects duplicate keys and aliases (which could expand without bound)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("YAML aliases are not allowed in a recipe")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        repeated = {str(key) for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.YAMLError(f"duplicate key: {', '.join(sorted(repeated))}")
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 reads the key "on" as true; every recipe writer means a word.
_UniqueKeyLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:[Tt]rue|TRUE|[Ff]alse|FALSE)$"), list("tTfF"))

# YAML 1.1 reads 3e-4 as a string; every recipe writer means a number.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, source: str, remedy: str = "Correct the file.") -> Any:
    """Parse one YAML document safely; ``source`` names it in errors, which end with the remedy."""
    try:
        loader = _UniqueKeyLoader(text)
        loader.name = source
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{source} is not valid YAML: {error}. {remedy}") from error


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply ``key.path=value`` overrides.

    Raises:
        RecipeError: naming the key, the value and the remedy.
    """
    values = _read(path)
    for override in overrides:
        _override(values, override)
    return build_recipe(values, str(path), [override.partition("=")[0] for override in overrides])


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(f"{path} is larger than {MAX_RECIPE_BYTES} bytes. Give a recipe file.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if path == Path(DEFAULTS[-1]) and isinstance(error, FileNotFoundError):  # nobody named it
            absent = "there is no ratchet.yaml here or in a folder above"
            raise RecipeError(
                f"{absent}. `ratchet init` makes a project; or give the path of a recipe with --recipe."
            ) from error
        raise RecipeError(f"cannot read recipe {path}: {error}. Give the path of a recipe with --recipe.") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"{path} does not contain a mapping. `ratchet init` writes a recipe to start from.")
    return values


def default_name(project: Path) -> str | None:
    """The name that a project's default recipe gives; None if the project has no default recipe.

    Raises:
        RecipeError: if it is not YAML.
    """
    path = default_file(project)
    values = _read(path) if path is not None else {}
    return str(values["name"]) if "name" in values else None


def default_file(project: Path) -> Path | None:
    """The file of a project's default recipe; None if it has none."""
    return next((path for name in DEFAULTS if (path := project / name).is_file()), None)


def roles_in(project: Path, model: str) -> dict[str, Roles]:
    """Who may decide about a model, by each recipe of the project that has its name: ``ratchet.yaml`` and ``recipes/*.yaml``.

    A file that is no recipe is passed over unless it mentions roles; of a recipe that is not valid, its roles count.

    Raises:
        RecipeError: if a file that mentions roles cannot be read, since it may name people, or its roles are not valid.
    """
    found = {}
    for path in (project / DEFAULTS[0], *sorted((project / "recipes").glob("*.yaml"))):
        values = _read_if_roles(path) if path.is_file() else {}
        if values.get("name") == model and values.get("roles") is not None:
            place = str(path.relative_to(project))
            try:
                found[place] = Roles.model_validate(values["roles"])
            except ValidationError as error:
                raise _refusal(place, [{**one, "loc": ("roles", *one["loc"])} for one in error.errors()]) from error
    return found


def _read_if_roles(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except RecipeError:
        with suppress(OSError):
            if b"roles" not in path.read_bytes():
                return {}
        raise


def build_recipe(values: dict[str, Any], source: str, overridden: Sequence[str] = ()) -> Recipe:
    """Validate a mapping into a recipe; ``source`` names it in errors, which tell apart the keys that ``--set`` gave."""
    _refuse_credentials(values, source)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _refusal(source, error.errors(), overridden) from error


def _refusal(source: str, errors: Sequence[Any], overridden: Sequence[str] = ()) -> RecipeError:
    lines = dict(map(_explain, reversed(errors)))  # one line per key, a union's first
    given = {key for key in lines if any(f"{key}.".startswith(f"{one}.") for one in overridden)}
    said = [f"  {'--set ' * (key in given)}{line}" for key, line in reversed(lines.items())]
    # a --set may contradict a key that the file has, or that another --set gave
    changed = f"{source} with --set {', '.join(overridden)}" if overridden and not given else source
    heading = f"--set is not valid for {source}:" if given == set(lines) else f"{changed} is not a valid recipe:"
    return RecipeError("\n".join([heading, *said]))


def _refuse_credentials(value: Any, source: str, key: str = "") -> None:
    """Prefect, MLflow, reports and cards show a recipe.

    Raises:
        RecipeError: naming the key whose text has a credential.
    """
    if isinstance(value, str) and is_credential(value):
        raise RecipeError(
            f"{source}: {key or 'recipe'} contains a credential, and Prefect, MLflow and reports show recipes. Keep it in a "
            "variable of the environment (docs/secrets.md), and replace it if this text was shown to others."
        )
    if isinstance(value, dict):
        for name, one in value.items():
            _refuse_credentials(one, source, f"{key}.{name}" if key else str(name))
    if isinstance(value, list):
        for one in value:
            _refuse_credentials(one, source, key)


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override!r} is not key.path=value. Write, for example, --set train.algorithm=ppo.")
    *parents, last = key.split(".")
    if key.split(".")[0] == "roles":
        raise RecipeError(f"--set {key}: who may decide is not a matter of the command line. Write it in the recipe.")
    place = values
    for parent in parents:
        child = place[parent] = {} if place.get(parent) in (None, "auto") else place[parent]
        if not isinstance(child, dict):
            raise RecipeError(f"--set {key}: {parent!r} is a value, not a section. Check the key with `ratchet recipe show`.")
        place = child
    remedy = f"Put a text that has one of {{}}[]:#'\" into quotes of its own: --set '{key}=\"...\"'."
    place[last] = parse_yaml(text, f"--set {key}", remedy)


def _explain(error: Any) -> tuple[str, str]:
    # A union's tag appears in the location; users never write it.
    parts = [str(part) for part in error["loc"] if not str(part).startswith(("literal[", "constrained-int"))]
    if parts[:2] == ["data", "task"]:
        parts = parts[1:]
    if parts[:1] == ["response"]:
        parts = ["task", *parts]
    if parts[:1] == ["data"]:
        pairs = zip(parts, ["", *parts], strict=False)
        parts = [part for part, before in pairs if before != "source" and part not in ("NearDuplicates", "Decontaminate")]
    if parts[:2] == ["reward", "verifier"] and len(parts) > 2:
        del parts[2]
    if parts[:1] == ["graders"] and len(parts) > 3:
        del parts[2]
    if parts[:2] == ["policy", "warmup"] and len(parts) > 2:
        del parts[2]
    if parts[:2] == ["evaluation", "benchmarks"] and len(parts) > 3:
        del parts[3]
    if parts[:3] == ["gate", "rules", "primary"] and len(parts) > 3:
        del parts[3]
    if parts in (["seed", "int"], ["train", "k", "int"]):
        del parts[-1]
    key = ".".join(parts)
    given = "" if error["type"] in ("missing", "value_error") else f" (given: {error['input']!r})"
    remedy = {
        "extra_forbidden": "Remove it, or see `ratchet recipe show` for the available keys.",
        "missing": "Add it, as in the recipe that `ratchet init` writes.",
    }.get(error["type"], "Correct the value.")
    if error["type"] == "missing" and key in ("gate", "gate.rules"):
        remedy = (
            "Add it: gate: {rules: {}} selects the default rules. Without rules nothing can be promoted; see docs/gates.md."
        )
    message = {"extra_forbidden": "unknown key", "model_type": "takes keys and values, not one value"}.get(
        error["type"], error["msg"].removeprefix("Value error, ")
    )
    return key, f"{key or 'recipe'}: {message}{given}. {remedy}"
