"""The page over all runs: where the champion's line and the marks are, and that it is useful with one run and with many."""

import re
from dataclasses import replace
from itertools import pairwise

from ratchet.components.report.champions import FOOT, LEFT, RIGHT, TOP, Entry, Reign, champions_line
from ratchet.components.report.index import LISTED, Model, render

SCRIPT = "<script>alert(1)</script>"
WHEN = "2026-11-27 02:00 UTC"


def entry(number: int, dev: float | None, tone: str = "bad", **values: str | None) -> Entry:
    words = {"status": "refused", "said": f"Run {number}.", "version": str(number), "report": f"r{number}.html", **values}
    return Entry(run_id=f"r{number}", when=WHEN, tone=tone, dev=dev, **words)  # type: ignore[arg-type]


PROMOTED, REFUSED, UNTRAINED = entry(1, 0.5, "good", status="promoted"), entry(2, 0.75), entry(3, None, version=None)


def drawn(entries: list[Entry], reigns: list[Reign]) -> str:
    line = champions_line(entries, reigns)
    assert line is not None
    return line


def test_the_champions_line_is_steps_from_run_to_run() -> None:
    reigns = [Reign(0, "1", "gate", 0.0, None), Reign(1, "2", "gate", 1.0, 0.5)]
    line = drawn([entry(1, 0.0, "good"), entry(2, 1.0, "good")], reigns)
    first, second = LEFT + (RIGHT - LEFT) / 4, LEFT + 3 * (RIGHT - LEFT) / 4
    assert re.findall(r'class="steps dev" points="([^"]*)"', line) == [
        f"{first:.1f},{FOOT}.0 {second:.1f},{FOOT}.0",
        f"{second:.1f},{FOOT}.0 {second:.1f},{TOP}.0 {RIGHT}.0,{TOP}.0",
    ]
    assert re.findall(r'class="steps sealed" points="([^"]*)"', line) == [
        f"{second:.1f},{(TOP + FOOT) / 2} {RIGHT}.0,{(TOP + FOOT) / 2}"
    ]
    assert re.findall(r">(v\d)<", line) == ["v2", "v1"]


def test_a_run_without_a_candidate_is_a_cross_and_the_others_are_dots() -> None:
    line = drawn([PROMOTED, REFUSED, UNTRAINED], [Reign(0, "1", "gate", 0.5, None)])
    assert line.count('class="cross"') == 2
    assert re.findall(r'class="dot (\w+)"', line) == ["bad", "good"]
    assert f"<title>{WHEN}: refused. Run 3.</title>" in line


def test_labels_of_versions_do_not_overlap_and_the_newest_is_there() -> None:
    entries = [entry(number, 0.5, "good") for number in range(400)]
    line = drawn(entries, [Reign(number, str(number), "gate", 0.5, None) for number in range(400)])
    labels = re.findall(r'<text class="soft" x="([\d.]+)" y="[\d.]+" text-anchor="middle">v(\d+)', line)
    assert labels[0][1] == "399"
    places = [float(x) for x, _ in labels]
    assert all(left - right >= 59.9 for left, right in pairwise(places))


def test_ends_on_one_day_have_the_time_of_day() -> None:
    first, last = entry(1, 0.5), entry(2, 0.5)

    def ends(when: str) -> list[str]:
        return re.findall(r">(2026-[^<]*)</text>", drawn([first, replace(last, when=when)], []))

    assert ends("2026-11-27 14:30 UTC") == ["2026-11-27 02:00", "2026-11-27 14:30"]
    assert ends("2026-11-28 02:00 UTC") == ["2026-11-27", "2026-11-28"]


def test_noise_does_not_look_like_change() -> None:
    low, high = (float(one) for one in re.findall(r'cy="([\d.]+)"', drawn([entry(1, 0.5), entry(2, 0.51)], [])))
    assert abs(low - high) <= (FOOT - TOP) * 0.11


def test_without_a_measured_candidate_there_is_no_line() -> None:
    assert champions_line([UNTRAINED], []) is None
    page = render([Model("quickstart", [UNTRAINED], [], "There is no champion yet.")], WHEN, cut=False)
    assert "No candidate was measured yet." in page


def test_the_table_has_every_run_newest_first_with_its_report() -> None:
    page = render([Model("quickstart", [PROMOTED, REFUSED, entry(3, 0.5, report=None)], [], "")], WHEN, cut=False)
    assert re.findall(r"<td data-label=\"candidate's version\">(\d)</td>", page) == ["3", "2", "1"]
    assert re.findall(r'href="([^"]*)"', page) == ["r2.html", "r1.html"]
    assert "refused (2)" in page


def test_a_stranger_learns_which_figure_is_of_which_examples_and_what_a_use_is() -> None:
    page = render([Model("quickstart", [PROMOTED, REFUSED], [Reign(0, "1", "gate", 0.5, 0.4)], "")], WHEN, cut=False)
    read = re.sub(r"<[^>]*>", "", page)
    assert "the champion's score on its sealed fold, which training never saw" in read.replace("&#39;", "'")
    assert "one use of a sealed fold" in read
    assert all(heading.strip() for heading in re.findall(r"<th[^>]*>([^<]*)</th>", page))


def test_nothing_untrusted_is_markup() -> None:
    hostile = entry(1, 0.5, said=SCRIPT, status=SCRIPT, version=SCRIPT, report=None)
    page = render([Model(SCRIPT, [hostile], [Reign(0, SCRIPT, SCRIPT, 0.5, 0.5)], SCRIPT)], WHEN, cut=False)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page


def test_a_page_that_lists_only_the_newest_runs_says_so() -> None:
    model = Model("quickstart", [PROMOTED], [], "")
    assert f"The newest {LISTED} runs are listed." in render([model], WHEN, cut=True)
    assert "are listed" not in render([model], WHEN, cut=False)


def test_before_the_first_run_it_says_what_to_do() -> None:
    assert "There is no run yet." in render([], WHEN, cut=False)
