"""Settings of the graders that are not ours: a user's function, and a service."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ratchet.components.recipe.base import Positive
from ratchet.components.recipe.grader_base import REFERENCE, OfItem, ProjectFile, Sampled, without_empty_files
from ratchet.components.recipe.limits import Limits


class UserFunction(Sampled):
    """A function of the user's, in a process of its own; its protocol is found by its signature (docs/graders.md)."""

    type: Literal["file"]
    file: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")]  # graders.py:grade from the project's root, or module:function
    # How it is called; auto: by its signature.
    protocol: Literal["auto", "openai", "trl", "target", "ratchet", "lambda", "names", "inspect"] = "auto"
    reference: OfItem = REFERENCE  # the reference that protocols with a target get
    form: Literal["auto", "text", "messages"] = "auto"  # form of prompts and completions, for trl; auto: as the rows have them
    limits: Limits = Limits()
    environment: list[str] = Field(default_factory=list)  # names of variables that the function needs
    files: list[ProjectFile] = Field(default_factory=list)  # files that it reads, from the project's root: part of its digest

    @model_serializer(mode="wrap")
    def _older_digests_stay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty_files(handler(self))


class Http(Sampled):
    """A service that is sent {item, sample} and answers {score, passed, parts, reason}."""

    type: Literal["http"]
    url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$")]  # without user information
    token: str | None = None  # name of the environment variable that holds a bearer token
    seconds: Positive = 30.0  # per request
    retries: Annotated[int, Field(ge=0, le=10)] = 3  # after no answer, 429 and 5xx, with growing pauses
    parallel: Annotated[int, Field(ge=1, le=64)] = 8  # requests at a time
    revision: str = ""  # the service's version: part of the grader's digest, because Ratchet cannot see what the service runs
