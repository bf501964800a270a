"""How many tokens fit a model, from its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.pretrained.context_length import limit_of_folder

ORIGINAL = {"original_max_position_embeddings": 32}
LONG_ROPE = {"rope_type": "longrope", **ORIGINAL, "short_factor": [1.0], "long_factor": [4.0]}


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"n_positions": 64}, 64),
        ({"text_config": {"max_position_embeddings": 64}}, 64),
        ({"max_position_embeddings": 128, **ORIGINAL, "rope_scaling": {**LONG_ROPE, "rope_type": "su"}}, 32),
        ({"max_position_embeddings": 128, "rope_parameters": LONG_ROPE}, 32),
        # one for each type of layer
        ({"max_position_embeddings": 128, "rope_parameters": {"full": LONG_ROPE}}, 32),
        # the frequencies are the same at any length
        ({"max_position_embeddings": 128, "rope_scaling": {**LONG_ROPE, "long_factor": [1.0]}}, 128),
        ({"max_position_embeddings": 128, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}}, 128),
        # dynamic NTK: the base frequencies hold within the whole context
        ({"max_position_embeddings": 128, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, 128),
        ({}, None),
    ],
)
def test_the_limit_is_the_context_or_where_longrope_changes(tmp_path: Path, fields: dict[str, Any], tokens: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    limit = limit_of_folder(tmp_path)
    assert (None if limit is None else limit.tokens) == tokens
