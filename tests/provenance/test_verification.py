"""What becomes of a recorded hash: ok, differs, not reachable."""

from ratchet.components.digests import digest_of
from ratchet.components.provenance.verification import Check, State, check_tags, check_verdicts, compared, differs
from tests.provenance.records import lineage

TAGS = {
    "weights_sha256": lineage().weights_sha256,
    "dataset_md5": lineage().dataset.md5,
    "recipe_digest": lineage().recipe_digest,
    "commit": lineage().code.commit,
}


def test_equal_hashes_are_ok_and_absent_ones_not_reachable() -> None:
    assert compared("x", "a", "a", "it").state is State.OK
    assert compared("x", "a", None, "it").state is State.UNREACHABLE
    assert compared("x", "a", "b", "it").state is State.DIFFERS


def test_files_that_differ_are_named() -> None:
    check = compared("x", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}, "the store")
    assert check == Check("x", State.DIFFERS, "b, c differ from the store")


def test_a_tag_that_was_edited_differs() -> None:
    assert check_tags(lineage(), TAGS).state is State.OK
    edited = check_tags(lineage(), {**TAGS, "commit": "f" * 40})
    assert (edited.state, edited.detail) == (State.DIFFERS, "commit differ from the version's tags")


def test_a_verdict_is_checked_against_its_digest() -> None:
    row = {"record": {"outcome": "PROMOTE", "alpha": 0.05}, "digest": digest_of({"outcome": "PROMOTE", "alpha": 0.05})}
    assert check_verdicts([row]).state is State.OK
    assert check_verdicts([row, {**row, "record": {"outcome": "REJECT"}}]).state is State.DIFFERS
    assert check_verdicts([]).state is State.UNREACHABLE


def test_only_a_difference_is_a_fault() -> None:
    ok, gone, wrong = (Check("x", state, "") for state in (State.OK, State.UNREACHABLE, State.DIFFERS))
    assert not differs([ok, gone])
    assert differs([ok, wrong])
