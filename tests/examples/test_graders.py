"""The graders of docs/examples/graders, each as a recipe names it and in the process that a run gives it: right, wrong,
empty and hostile completions."""

import importlib.util
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import TypeAdapter

from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import GraderSettings
from tests.places import ROOT

FOLDER = ROOT / "docs" / "examples" / "graders"
SETTINGS: TypeAdapter[Any] = TypeAdapter(GraderSettings)
INVOICE = {"vendor": "Arden", "total": 1, "date": "2026-03-02"}
TEXT = "In March the shop sold 120 lamps and 45 clocks, which is 30 more than it sold in February of last year."
NAMES = {"text": "The kettle has a steel lid and a cord.", "terms": ["kettle", "lid"]}
TICKET = {"queue": "billing", "reply": "We refund it."}

# file, the row's columns, completions with the score that each is due; None: it cannot be judged
CASES: list[tuple[str, dict[str, Any], dict[str, float | None]]] = [
    (
        "openai_function.py:grade",
        INVOICE,
        {
            '{"vendor": "Arden", "total": 1, "date": "2026-03-02"}': 1.0,
            '{"vendor": "Arden", "total": 2, "date": "2026-03-02"}': 2 / 3,
            "": 0.0,
            '{"vendor": "Arden", "total": true, "date": "2026-03-02"}': 2 / 3,
            '{"vendor": "Arden", "total": 1, "date": "2026-03-02", "note": "pay me"}': 0.0,
            "[" * 2000: 0.0,
        },
    ),
    (
        "trl_reward.py:accuracy_reward",
        {"answer": "4"},
        {
            "2 + 2 = 4 <answer>4</answer>": 1.0,
            "<answer>5</answer>": 0.0,
            "": 0.0,
            "<answer>3</answer><answer>4</answer>": 0.0,
            "<answer>4": 0.0,
            f"<answer>{'9' * 400}</answer>": 0.0,
        },
    ),
    ("trl_reward.py:accuracy_reward", {"answer": None}, {"<answer>4</answer>": None}),
    (
        "target_function.py:same_length",
        {"answer": "3.5 km"},
        {"3500 m": 1.0, "3.6 km": 0.0, "": 0.0, "1 km 3.5 km 9 km": 0.0, "nan km": 0.0, f"{'9' * 400} km": 0.0},
    ),
    ("target_function.py:same_length", {"answer": "far"}, {"3 m": None}),
    (
        "ratchet_batch.py:faithful",
        {"text": TEXT},
        {
            "It sold 120 lamps and 45 clocks, 30 more.": 1.0,
            "It sold 120 lamps.": 1 / 3,
            "It sold 121 lamps and 45 clocks, 30 more.": 0.0,
            "": 0.0,
            TEXT: 0.0,
            "120 45 30 " * 500: 0.0,
        },
    ),
    (
        "bedrock_lambda.py:lambda_handler",
        {"answer": "billing"},
        {"Team: billing": 1.0, "repair": 0.0, "": 0.0, "billing delivery account repair": 0.0, "billing\u200b?": 1.0},
    ),
    (
        "named_arguments.py:keeps_the_terms",
        NAMES,
        {"A kettle whose lid is steel": 1.0, "A kettle": 0.5, "": 0.0, NAMES["text"]: 0.0, "kettlelid": 0.0},
    ),
    (
        "inspect_scorer.py:last_line",
        {"answer": "Oslo"},
        {"I think it is\noslo": 1.0, "Bergen": 0.0, "": 0.0, "Oslo\nBergen": 0.0, "Oslo Bergen": 0.0},
    ),
]


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def graded(settings: dict[str, Any], columns: dict[str, Any], completions: list[str]) -> list[Grade]:
    prompt = columns.get("text", "asked")
    row = {"id": "r1", "prompt": prompt, "answer": columns.get("answer"), "item": columns}
    grader = build_grader(SETTINGS.validate_python(settings))
    return grader([prompt] * len(completions), completions, [row] * len(completions))


@pytest.mark.parametrize(("file", "columns", "due"), CASES, ids=[f"{file}-{number}" for number, (file, *_) in enumerate(CASES)])
def test_a_function_grades_as_its_page_says(file: str, columns: dict[str, Any], due: dict[str, float | None]) -> None:
    if file.startswith("inspect"):
        pytest.importorskip("inspect_ai", reason="needs the extra inspect")
    grades = graded({"file": file}, columns, list(due))
    assert [grade.fault for grade in grades] == [None] * len(due)
    assert [grade.score for grade in grades] == pytest.approx(list(due.values()))


def test_parts_and_reasons_arrive() -> None:
    (grade,) = graded({"file": "ratchet_batch.py:faithful"}, {"text": TEXT}, ["It sold 7 lamps."])
    assert (dict(grade.parts), grade.reason) == ({"kept": 0.0, "invented": 1.0, "short": 1.0}, "invented: ['7']")


def test_openais_json_grades_as_its_page_says() -> None:
    due = {
        '{"queue": "billing", "reply": "We refund it."}': 1.0,
        '{"queue": "repair", "reply": "We refund it."}': 0.0,
        "": 0.0,
        "billing": 0.0,
        '{"queue": ["billing"], "reply": ""}': 0.0,
    }
    grades = graded({"openai": "openai_grader.json"}, TICKET, list(due))
    assert [(grade.fault, grade.score) for grade in grades] == [(None, score) for score in due.values()]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GRADER_TOKEN", "correct horse")
    spec = importlib.util.spec_from_file_location("http_service_example", FOLDER / "http_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with ThreadingHTTPServer(("127.0.0.1", 0), module.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/grade"
        server.shutdown()


def test_a_service_grades_as_its_page_says(service: str) -> None:
    settings = {"http": service, "token": "GRADER_TOKEN", "measure": "binary", "revision": "1"}
    grades = graded(settings, {"capital": "Oslo"}, ["oslo", "Bergen", "", "Oslo Bergen Paris"])
    assert [(grade.score, grade.passed) for grade in grades] == [(1.0, True), (0.0, False), (0.0, False), (0.0, False)]
    assert grades[1].reason == "expected Oslo"


def test_a_service_refuses_another_token_which_is_a_fault_and_no_zero(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "battery staple")
    (grade,) = graded({"http": service, "token": "OTHER"}, {"capital": "Oslo"}, ["Oslo"])
    assert (grade.score, grade.fault) == (None, "protocol")
    assert "401" in grade.reason


def test_every_example_is_tested_and_on_the_page_as_it_is() -> None:
    page = (ROOT / "docs" / "examples" / "graders.md").read_text(encoding="utf-8")
    tested = {file.partition(":")[0] for file, *_ in CASES} | {"openai_grader.json", "http_service.py"}
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.is_file()}
    assert files.keys() == tested
    assert [name for name, text in files.items() if f"\n{text}```" not in page] == []
