"""The section ``task``: how a row is asked, and what its reference is."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ratchet.components.recipe.base import Section
from ratchet.components.templates import parse_template

FILE = "file:"  # of a content that stands in a file of its own, which may have places too


class Message(Section):
    """One turn of what the policy is asked. ``content`` is a template, or ``file:`` and the path of one."""

    role: Literal["system", "user", "assistant", "tool"]  # who speaks
    content: str  # a template of the row, such as {{item.text}}

    @field_validator("content")
    @classmethod
    def _is_a_template(cls, content: str) -> str:
        return content if content.startswith(FILE) else checked_template(content)


class Task(Section):
    """Templates: ``{{item.x}}`` is a field of the source's row; a path, and nothing more. Either a prompt or messages."""

    prompt: str | None = None  # one user turn
    messages: list[Message] = Field(default_factory=list)  # several turns, in place of prompt
    answer: str | None = None  # the reference, where no column has it as text: {{item.expected}} of an object, #### {{item.n}}

    @field_validator("prompt")
    @classmethod
    def _is_a_template(cls, prompt: str | None) -> str | None:
        return prompt if prompt is None or prompt.startswith(FILE) else checked_template(prompt)

    @field_validator("answer")
    @classmethod
    def _reads_the_row(cls, answer: str | None) -> str | None:
        if answer is not None and not parse_template(checked_template(answer)).paths:
            raise ValueError("the answer has no {{item.x}}, so that every row would have the same; name a field of the rows")
        return answer

    @model_validator(mode="after")
    def _asks(self) -> "Task":
        if self.prompt is not None and self.messages:
            raise ValueError("a task has either a prompt or messages; write one of them")
        if not self.turns and self.answer is None:
            raise ValueError("a task has either a prompt or messages; write one of them")
        if self.messages and self.messages[-1].role == "assistant":
            raise ValueError(
                "the last message is the assistant's, and it is the policy's turn; end with a user's or a tool's message"
            )
        if self.prompt is not None and not self.prompt.startswith(FILE) and not parse_template(self.prompt).paths:
            raise ValueError("the prompt has no {{item.x}}, so that every row would ask the same; name a field of the rows")
        return self

    @property
    def turns(self) -> list[Message]:
        """What is asked, as messages; none where the rows say it themselves."""
        return self.messages if self.prompt is None else [Message(role="user", content=self.prompt)]

    @property
    def files(self) -> list[str]:
        """Paths of contents that stand in files."""
        return [turn.content.removeprefix(FILE) for turn in self.turns if turn.content.startswith(FILE)]


def checked_template(text: str) -> str:
    """The text, if it is a template of the row alone.

    Raises:
        ValueError: naming the place that is not a field of the row.
    """
    foreign = [path for path in parse_template(text).paths if path[0] != "item"]
    if foreign:
        raise ValueError(
            f"{{{{{foreign[0][0]}....}}}} is not known when a prompt is made; write {{{{item.x}}}}, a field of the row"
        )
    return text
