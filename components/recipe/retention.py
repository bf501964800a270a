"""The section ``retention``: what may be deleted, and when."""

from typing import Annotated

from pydantic import Field

from ratchet.components.recipe.base import Count, Section


class Retention(Section):
    """What `ratchet gc` keeps in addition to what a champion, a live run or an unretired verdict needs.

    It is for what this recipe's runs used; what another recipe in the project alone used stays.
    """

    keep_days: Annotated[int, Field(ge=0)] = 14  # everything used within these days stays
    keep_runs: Annotated[int, Field(ge=0)] = 10  # newest runs, whose stages and datasets stay
    keep_refused_versions: Annotated[int, Field(ge=0)] = 10  # newest versions that were not promoted whose weights stay
    keep_champions: Count | None = None  # newest champions whose weights and stages stay; null: all. The datasets of all stay
