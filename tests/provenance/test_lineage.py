"""The lineage record: whole, closed, and only as its tag says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ratchet.components.code.checkout import CodeState
from ratchet.components.errors import RegistryError
from ratchet.components.provenance.lineage import commit_tags, read_lineage
from ratchet.components.stages.environment import code_of
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json
from tests.provenance.records import ONE, TWO, lineage
from tests.provenance.repository import git, new_repository


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, lineage().model_dump(mode="json"))
    assert read_lineage(path, file_digest(path)) == lineage()


def test_a_record_that_its_tag_does_not_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, lineage().model_dump(mode="json"))
    with pytest.raises(RegistryError, match="tag says 111111111111"):
        read_lineage(path, ONE)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, {**lineage().model_dump(mode="json"), "format": 2})
    with pytest.raises(RegistryError, match=r"format.*release that wrote it"):
        read_lineage(path, file_digest(path))


@pytest.mark.parametrize(("field", "value"), [("weights_sha256", "../x"), ("model", "a/b"), ("stages", [{"name": ".."}])])
def test_names_that_could_leave_their_folder_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        lineage(**{field: value})


def test_a_stage_is_found_by_its_name() -> None:
    train = lineage().stage("train")
    assert train is not None
    assert train.files["model/model.safetensors"] == ONE
    assert lineage().stage("champion") is None


def test_dirty_code_is_recorded_with_its_difference() -> None:
    state = CodeState("c" * 40, "", ("a.py",), "M a.py\n+x")
    code = code_of(state, TWO, None)
    assert (code.changed, code.diff_sha256) == (["a.py"], state.difference_digest)


def test_tags_say_whether_the_code_was_as_committed(tmp_path: Path) -> None:
    clean, dirty = new_repository(tmp_path / "clean"), new_repository(tmp_path / "dirty")
    (dirty / "constraints.txt").write_text("edited", encoding="utf-8")
    commit = git(clean, "rev-parse", "HEAD")
    assert commit_tags(clean) == {"commit": commit, "dirty": "false", "mlflow.source.git.commit": commit}
    assert commit_tags(dirty)["dirty"] == "true"
    assert len(commit_tags(dirty)["diff_sha256"]) == 64
    assert commit_tags(tmp_path) == {"commit": "unknown", "dirty": "unknown"}
