"""The section ``train.sampling.vllm``: a vLLM server that draws the completions of training."""

from typing import Annotated

from pydantic import Field

from ratchet.components.recipe.base import Positive, Section


class Vllm(Section):
    """A vLLM server in its own environment (docs/vllm.md). Where it is and how it is called do not change results."""

    url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^@?#\s]*)?$")]  # without user information
    # Absolute; weights are written here, and the server reads them at the same path.
    folder: Annotated[str, Field(pattern=r"^/")]
    token: str | None = None  # name of the environment variable that holds the server's API key
    seconds: Positive = 600.0  # time limit of a call
    parallel: Annotated[int, Field(ge=1, le=1024)] = 256  # completions at a time
    sleep: bool = False  # the server shares the trainer's GPU, and frees its memory between rollouts
