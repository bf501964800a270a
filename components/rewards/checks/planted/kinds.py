"""The planted wrong answers that fit a grader's kind, and its references as completions that are right."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ratchet.components.graders import label
from ratchet.components.graders.choice import last_named
from ratchet.components.graders.number import final_number, format_number, reference_number
from ratchet.components.graders.openai_json import read_grader
from ratchet.components.graders.spaces import reference_of
from ratchet.components.graders.sql import Query
from ratchet.components.recipe import (
    Choice,
    Exact,
    GraderSettings,
    JsonMatch,
    JsonSchema,
    Label,
    Math,
    Multi,
    Numbers,
    OpenAI,
    Pattern,
    Similarity,
    Sql,
    StringCheck,
    TextSimilarity,
)
from ratchet.components.rewards.checks.planted import json_fields, json_forms, json_place, labels, queries, texts
from ratchet.components.rewards.checks.planted.texts import Case, Plant, each
from ratchet.components.storage.home import project_root
from ratchet.components.templates import as_text, parse_template

ANSWER = "{{item.answer}}"


@dataclass(frozen=True)
class Kind:
    """How a gold's references are read, and which wrong answers it must notice.

    Attributes:
        value: the reference of a row; None if it has none.
        written: a reference as a completion that is right.
        form: of a reference, what another answer must differ in.
        plants: wrong answers, by name.
        keyed: whether the recipe says where references are, so that each row must have one.
        same: whether a text is as right as the case's reference, as far as is known without the gold; None: by its form.
    """

    value: Callable[[Mapping[str, Any]], Any]
    written: Callable[[str], str]
    form: Callable[[str], str]
    plants: Mapping[str, Plant]
    keyed: bool = False
    same: Callable[[Case, str], bool] | None = None

    def right(self, case: Case, text: str) -> bool:
        """Whether a planted text is by chance no wrong answer."""
        return self.form(text) == case.form if self.same is None else self.same(case, text)

    def case(self, row: Mapping[str, Any]) -> Case | None:
        """The row with its reference; None without one."""
        value = self.value(row)
        if value is None:
            return None
        reference = self.written(as_text(value))
        return Case(row, reference, self.form(reference))


EVERY: dict[str, Plant] = {
    "the empty answer": texts.empty,
    "the prompt repeated": texts.echo,
    "another row's reference": texts.swapped,
    "the commonest reference": texts.majority,
}


UNSEEN: dict[str, Plant] = {  # to graders that we cannot see into
    "the reference with every word changed": each(texts.scrambled),
    "the reference between two others": texts.between,
}


def kind_of(settings: GraderSettings) -> Kind:
    """The kind of a gold; of a formula over graders that of the first that has references.

    Raises:
        RecipeError: if an OpenAI grader's file cannot be read.
    """
    own = leading(settings)
    return replace(_kind_of(own), keyed=hasattr(own, "reference"))


def _kind_of(settings: GraderSettings) -> Kind:
    value = _value_of(settings)
    match settings:
        case Numbers():
            return Kind(value, _strict, texts.form_of, {**EVERY, "the number one larger": each(texts.larger)})
        case Label():
            read = label.reader(settings.labels, settings.take, settings.field, settings.ignore_case)
            return _labelled(value, settings.labels, read, lambda text: _in_field(text, settings.field))
        case Choice():
            read = last_named(settings.options)
            return _labelled(value, settings.options, read, str)
        case JsonMatch():
            fields, others = settings.fields, settings.others
            return Kind(
                value,
                str,
                lambda text: json_forms.form_of(text, fields, others),
                EVERY | json_fields.plants(fields, others),
                same=lambda case, text: json_forms.same(case.reference, text, fields, others),
            )
        case JsonSchema():
            return Kind(value, str, lambda text: json_forms.form_of(text, {}), EVERY | json_fields.plants({}))
        case Sql():
            results = queries.Results(Query(**settings.model_dump(exclude={"type"})), project_root())
            return Kind(value, str, texts.folded, EVERY | queries.plants(results), same=results.same)
        case Math():
            return Kind(value, str, texts.form_of, {**EVERY, "the number one larger": each(_plainly_larger)})
        case Exact() | Pattern():
            return Kind(value, str, texts.folded, {**EVERY, "the reference with one character changed": each(texts.one_off)})
        case TextSimilarity():
            return Kind(value, str, texts.folded, {**EVERY, "half of the reference": each(texts.half)})
    if isinstance(settings, OpenAI) and (path := json_place.place_read(_openai(settings))):
        return Kind(json_place.whole(value, path), str, json_place.held(path), EVERY | UNSEEN)
    return Kind(value, str, texts.form_of, EVERY | UNSEEN)


def leading(settings: GraderSettings) -> GraderSettings:
    """The grader whose references are those of the whole: of a formula's graders the first that has a key ``reference``."""
    if not isinstance(settings, Multi):
        return settings
    inner = [leading(one) for one in settings.graders.values()]
    return next((one for one in inner if hasattr(one, "reference")), inner[0])


def _value_of(settings: GraderSettings) -> Callable[[Mapping[str, Any]], Any]:
    if isinstance(settings, OpenAI):
        return _openai_value(settings)
    template = getattr(settings, "reference", None)
    return (lambda row: row.get("answer")) if template is None else reference_of(template)


def _openai_value(settings: OpenAI) -> Callable[[Mapping[str, Any]], Any]:
    grader = _openai(settings)
    template = grader.reference if isinstance(grader, StringCheck | Similarity) else ANSWER
    own = bool(paths := parse_template(template).paths) and all(path[0] == "item" for path in paths)
    return reference_of(template if own else ANSWER)


def _openai(settings: OpenAI) -> Any:
    return read_grader(settings.grader, project_root()) if isinstance(settings.grader, str) else settings.grader


def _labelled(
    value: Callable[[Mapping[str, Any]], Any],
    known: Sequence[str],
    read: Callable[[str], str | None],
    written: Callable[[str], str],
) -> Kind:
    return Kind(value, written, lambda text: texts.folded(read(text) or text), EVERY | labels.plants(known, read, written))


def _in_field(text: str, field: str | None) -> str:
    return text if field is None else json.dumps({field: text}, ensure_ascii=False)


def _strict(reference: str) -> str:
    """A reference that is a bare number, or marked otherwise, in the strict form."""
    number = reference_number(reference)
    return reference if number is None or final_number(reference) == number else f"#### {format_number(number)}"


def _plainly_larger(reference: str) -> str | None:
    number = reference_number(reference)
    return None if number is None else format_number(number + 1)
