"""What leaves through logs and through Prefect has no credential; what has none leaves as it was."""

import io
import logging
from collections.abc import Iterator

import pytest

from ratchet.components.errors import DataError, StaleChampionError
from ratchet.flows import tasks
from ratchet.flows.redaction import install, redacted_error, without_secrets

URL = "https://ada:hunter2-abc@judge.example/v1"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of some library, with a handler of its own."""
    install()
    stream, logger = io.StringIO(), logging.getLogger("some.library")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def test_a_factory_of_another_library_around_ours_is_left_in_place(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *arguments, **options: ours(*arguments, **options))  # as Ray's does when it is imported
    try:
        install()
        logger.error("GET %s", URL)
    finally:
        logging.setLogRecordFactory(ours)
    assert stream.getvalue() == "GET https://***@judge.example/v1\n"


def test_a_factory_that_replaced_ours_is_redacted_too(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logging.setLogRecordFactory(logging.LogRecord)
    install()
    logger.error("GET %s", URL)
    assert stream.getvalue() == "GET https://***@judge.example/v1\n"


def test_a_message_and_its_arguments_are_redacted(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.error("GET %s failed after %d tries: %r", URL, 3, ValueError(f"{URL}?token=hunter2-tok"))
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().startswith("GET https://***@judge.example/v1 failed after 3 tries: ValueError(")


def test_a_traceback_is_redacted_with_its_causes_and_source_lines(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    try:
        try:
            raise OSError("https://ada:hunter2-abc@judge.example refused")
        except OSError as error:
            raise ValueError("password=hunter2-pw") from error
    except ValueError:
        logger.exception("it failed")
    assert "hunter2" not in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "direct cause" in stream.getvalue()


def test_a_record_without_a_credential_is_what_it_was(log: tuple[logging.Logger, io.StringIO]) -> None:
    record = logging.getLogRecordFactory()("n", logging.INFO, "p", 1, "%s of %d", ("a", 2), None)
    assert (record.msg, record.args) == ("%s of %d", ("a", 2))


def test_arguments_that_do_not_fit_are_not_printed(log: tuple[logging.Logger, io.StringIO]) -> None:
    for message in (f"%d {URL}", "%s and %d"):
        record = logging.getLogRecordFactory()("n", logging.INFO, "p", 1, message, ("hunter2", "hunter2"), None)
        assert "hunter2" not in f"{record.getMessage()} {record.args}"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"GET {URL}"),
        OSError(111, f"cannot reach {URL}"),
        FileNotFoundError(2, "no such file", URL),
        KeyError(URL),
        DataError(f"cannot read {URL}. Correct it."),
        StaleChampionError(URL),
        UnicodeDecodeError("utf-8", b"x", 0, 1, URL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_its_class_and_loses_its_secret(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, without_secrets():
        raise error
    found = raised.value
    assert "hunter2" not in f"{found} {found!r} {found.args} {vars(found)}"
    assert "***@judge.example" in str(found)
    assert type(found).__name__ == type(error).__name__
    assert raised.traceback[-1].name == "test_an_error_keeps_its_class_and_loses_its_secret"
    assert [tasks._fits(found, kind) for kind, _, _ in tasks.RETRIED[:2]] == [
        tasks._fits(error, kind) for kind, _, _ in tasks.RETRIED[:2]
    ]


def test_an_error_of_a_class_that_cannot_be_made_from_a_text_is_told_by_its_name() -> None:
    shown = redacted_error(ExceptionGroup(URL, [ValueError("x")]))
    assert str(shown) == "ExceptionGroup: https://***@judge.example/v1 (1 sub-exception)"


def test_an_error_without_a_secret_is_the_same_object() -> None:
    error = DataError("no rows. Add some.")
    assert redacted_error(error) is error
