"""The section ``notify``: who is told of what. A secret address is in the environment or a Prefect block, never here."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ratchet.components.recipe.base import Positive, Section

Occasion = Literal[
    "promoted",
    "refused",
    "reward_refused",
    "invalid",
    "stopped",
    "failed",
    "unchanged",
    "stale",
    "rolled_back",
    "overridden",
    "approved",
]
USUAL: tuple[Occasion, ...] = ("promoted", "refused", "reward_refused", "invalid", "stopped", "failed")
VARIABLE = re.compile(r"(?:env:([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\})")
BLOCK = re.compile(r"block:([a-z0-9-]+/[a-z0-9-]+)")
WEBHOOK = re.compile(r"https?://[^/@?#\s]+(?:/[^@?#\s]*)?")  # without a login or a query, which may be one
REMEDY = (
    "write env:NAME or ${NAME}, where the variable NAME holds an Apprise URL or a webhook's; block:TYPE/NAME, a notification "
    "block of Prefect's; or the https URL of a webhook that contains no secret"
)


def _is_place(text: str) -> str:
    if not any(form.fullmatch(text) for form in (VARIABLE, BLOCK, WEBHOOK)):
        raise ValueError(f"a recipe is shown to others, and an address may be a secret; {REMEDY}")
    return text


class Notification(Section):
    """One receiver. A notification that cannot be delivered is reported, and changes nothing else."""

    to: Annotated[str, AfterValidator(_is_place)]  # env:NAME, block:TYPE/NAME, or a webhook's URL
    on: list[Occasion] = Field(default_factory=lambda: list(USUAL))  # the events that it is told of
    secret: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None  # variable with the key that signs a webhook
    hours_without_run: Positive | None = None  # stale: no run finished for so long
    hours_without_promotion: Positive | None = None  # stale: no new champion for so long

    @model_validator(mode="after")
    def _stale_has_a_time(self) -> "Notification":
        timed = self.hours_without_run is not None or self.hours_without_promotion is not None
        if timed != ("stale" in self.on):
            raise ValueError("stale, and hours_without_run or hours_without_promotion, need one another; add what is missing")
        if self.secret is not None and self.block is not None:
            raise ValueError("a block has its own way to sign; remove secret")
        return self

    @property
    def variable(self) -> str | None:
        """The variable that holds the address."""
        found = VARIABLE.fullmatch(self.to)
        return found and (found[1] or found[2])

    @property
    def block(self) -> str | None:
        """The notification block, as ``type/name``."""
        found = BLOCK.fullmatch(self.to)
        return found and found[1]
