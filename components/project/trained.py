"""Which of today's sealed items training saw: compared with the datasets that the champion and its ancestors were trained on.

Where the questions are dealt to the tables as they were then, training saw none of them, and nothing is read. Where ``task``,
``data.split`` or groups changed since, the tables of those versions are restored, and each item whose question stands there
outside the sealed folds is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ratchet.components.data import versioning
from ratchet.components.data.questions import Asked, UnlikeError, asked_by, asked_in, fields_of
from ratchet.components.errors import DataError, RegistryError, StoreError
from ratchet.components.gate.items import Items, Judged, Trained, all_of, sealed_items
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.project import Project
from ratchet.components.provenance.ancestry import Ancestor, ancestry
from ratchet.components.provenance.lineage import Lineage
from ratchet.components.recipe import Data, LengthLimit, Split
from ratchet.components.registry.outage import is_outage
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context
from ratchet.components.storage.files import iterate_json_lines, read_json, write_json

SILENT = Trained(unknown="MLflow does not answer, and has the records of what training saw. Start it, and try again")
HAND = "or promote by hand a version whose training started from the base policy (`ratchet promote N --override`)"


class UnknownError(Exception):
    """What training saw cannot be told; the message says why, and what helps."""


class TrainedOn:
    """What training saw of a version's sealed items. Each answer is worked out once."""

    def __init__(self, project: Project, context: Context, ledger: Ledger | None = None) -> None:
        """
        Args:
            ledger: another than the project's own, for verbs that only look.
        """
        self._project, self._context = project, context
        self._ledger = project.ledger if ledger is None else ledger
        self._known: dict[object, Trained] = {}

    def __call__(self, data: DataStage, start: str | None = None) -> Trained:
        """
        Args:
            start: digest of the policy that training started from, if that may be another than today's champion.
        """
        history = self._ledger.history(self._project.name)
        started = {row.version for row in history if row.weights == start}
        versions = tuple(sorted({row.version for row in history[-1:]} | started))
        key = (data.version, versions)
        if key not in self._known:
            try:
                self._known[key] = self._find(data, versions)
            except UnknownError as error:
                return Trained(unknown=str(error))
            if start is None and self._known[key].items:
                _keep(self._context, data, versions, self._known[key])
        return self._known[key]

    def at_once(self, data: DataStage, instead: Trained = SILENT) -> Trained:
        """The same, or ``instead`` while MLflow, which has the records of versions, does not answer."""
        try:
            return self(data)
        except Exception as error:
            if not is_outage(error):
                raise
            return instead

    @property
    def said(self) -> str:
        """How many items do not count, by the last answer."""
        return next(reversed(self._known.values())).said if self._known else ""

    def _find(self, data: DataStage, versions: Sequence[str]) -> Trained:
        others = {one.lineage.dataset.md5: one for one in self._ancestors(versions) if one.lineage is not None}
        recipe = self._context.recipe.data
        changed = [one for one in others.values() if one.lineage is not None and not _dealt_alike(one.lineage, data, recipe)]
        folds, first, found = self._folds_without_questions(), not versions, set[str]()
        if not changed and not folds:
            return Trained(first=first)
        sealed = all_of(sealed_items(data, recipe.split.sealed_folds))
        for one in changed:
            assert one.lineage is not None
            found |= self._met(sealed, f"version {one.version}", one.lineage.dataset.md5, _asks(one.lineage), None)
        for version, fold in folds:
            found |= self._met(sealed, "an earlier verdict", version, True, fold)
        return Trained(frozenset(found), by=", ".join(one.version for one in changed), first=first)

    def _ancestors(self, versions: Sequence[str]) -> list[Ancestor]:
        found: dict[str, Ancestor] = {}
        for number in versions:
            with self._context.home.workspace("lineage") as scratch:
                try:
                    lines = ancestry(self._project.tracker, self._project.name, number, scratch)
                except RegistryError as error:
                    raise UnknownError(_unknown(f"version {number}", str(error))) from error
            found |= {one.version: one for one in lines}
        for one in found.values():
            if one.lineage is None:
                raise UnknownError(_unknown(f"version {one.version}", one.problem or "it has no record"))
        return list(found.values())

    def _met(self, sealed: Items, who: str, version: str, asks: bool, judged: tuple[str, Judged] | None) -> set[str]:
        """Ids of the sealed items that another version had outside its sealed folds, or in a fold that was judged."""
        with self._context.home.workspace("seen") as folder:
            try:
                tables = versioning.restore(version, folder, self._context.home.dvc, self._context.home.project)
            except DataError as error:
                raise UnknownError(_unknown(who, f"its dataset {version} cannot be had: {error}")) from error
            try:
                return {item for asked in self._asked(tables, asks, judged, who) for item in sealed.asking(asked)}
            except UnlikeError:
                remedy = f"Let task read one of the fields that it read for {who}, {HAND}"
                raise UnknownError(_unknown(who, "task asks by other fields now", remedy)) from None

    def _asked(self, tables: Path, asks: bool, judged: tuple[str, Judged] | None, who: str) -> Iterator[Asked]:
        """What the rows of a version ask.

        Raises:
            UnknownError: of a version of an earlier release, if its rows do not have the fields that the task reads.
        """
        again = asked_by(self._context.recipe.data.task)
        names = [path for path in sorted(tables.glob("*.jsonl")) if not path.stem.startswith("sealed") and path.stem != "added"]
        for path in names if judged is None else [tables / f"{judged[0]}.jsonl"]:
            for row in iterate_json_lines(path):
                if judged is not None and row["id"] not in judged[1]:
                    continue
                asked = asked_in(row) if row.get("asked") or not asks else again(row.get("item") or {})
                if asked is None:
                    why = f"its rows do not have the fields that task reads now ({path.stem})"
                    raise UnknownError(_unknown(who, why, f"Let task read the fields that it read then, {HAND}"))
                yield asked

    def _folds_without_questions(self) -> list[tuple[str, tuple[str, Judged]]]:
        """Of retired folds that schema 9 knew by ids alone, which change with an instruction: dataset, fold and items."""
        if not fields_of(self._context.recipe.data.task):
            return []
        past = self._ledger.past(self._project.name)
        judged = {fold: items for fold in past.retired if (items := past.items.get(fold)) and not all(items.values())}
        found = {record["fold_digest"]: record for record in past.records if record.get("data")}
        return [(found[fold]["data"], (found[fold]["fold"], items)) for fold, items in judged.items() if fold in found]


def last_known(context: Context, ledger: Ledger, data: DataStage) -> Trained:
    """What training saw by the last answer, for verbs that do not wait for MLflow; nothing if none was about this version."""
    champion, file = ledger.champion(context.recipe.name), _kept(context)
    if champion is None or not file.is_file():
        return Trained(first=champion is None)
    try:
        values = read_json(file)
        if (values["data"], values["versions"]) == (data.version, [champion.version]):
            return Trained(frozenset(values["items"]), by=values["by"])
    except (StoreError, KeyError, TypeError):  # somebody else's file
        pass
    return Trained()


def _keep(context: Context, data: DataStage, versions: Sequence[str], found: Trained) -> None:
    file = _kept(context)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(file, {"data": data.version, "versions": list(versions), "items": sorted(found.items), "by": found.by})


def _kept(context: Context) -> Path:
    return context.home.state / "trained" / f"{context.recipe.name}.json"


def _dealt_alike(lineage: Lineage, data: DataStage, today: Data) -> bool:
    """Whether no question can have stood outside the sealed folds then that stands in one today.

    Raises:
        UnknownError: if prompts are cut at another length, so that none can be compared.
    """
    if lineage.dataset.md5 == data.version:
        return True
    before, asked = lineage.recipe["data"], _fields(data, today)
    try:
        cut = LengthLimit.model_validate(before.get("length", {}))
        same = Split.model_validate(before.get("split", {})) == today.split
    except ValidationError:
        return False
    if asked == [] and _cut(cut) != _cut(today.length):
        who = f"the training of {lineage.model}'s champion or an ancestor"
        raise UnknownError(_unknown(who, "data.length cut prompts elsewhere", f"Set data.length back, {HAND}"))
    grouped = any(map(_grouped, (before, today.model_dump(mode="json"))))
    then = lineage.dataset.asked if _asks(lineage) else []
    return same and not grouped and asked is not None and then is not None and _one_rule(asked, then)


def _cut(length: LengthLimit) -> tuple[int, str | None] | None:
    """Where prompts are cut."""
    return None if length.max_prompt is None or length.policy != "truncate" else (length.max_prompt, length.tokenizer)


def _one_rule(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether questions asked by these fields are dealt alike: one text is dealt by itself, whatever its field is called."""
    return list(one) == list(other) or (len(one) < 2 and len(other) < 2)


def _fields(data: DataStage, today: Data) -> list[str] | None:
    """By which fields a version's questions were dealt; None of an earlier release's, which dealt the finished prompts."""
    return data.summary.get("asked") or (None if fields_of(today.task) else [])


def _asks(lineage: Lineage) -> bool:
    """Whether a version's rows were asked by fields."""
    if lineage.dataset.asked is not None:
        return bool(lineage.dataset.asked)
    task = lineage.recipe["data"].get("task") or {}
    return bool(task.get("prompt") or task.get("messages"))


def _grouped(section: Mapping[str, Any]) -> bool:
    source = section.get("source")
    parts = [one.get("source", one) for one in source.get("sources", [source])] if isinstance(source, Mapping) else []
    return section.get("group") is not None or any(isinstance(one, Mapping) and one.get("group") is not None for one in parts)


def _unknown(who: str, why: str, remedy: str = f"Restore it, {HAND}") -> str:
    return f"it is not known which questions {who} was trained on: {why.rstrip('.')}. {remedy}"
