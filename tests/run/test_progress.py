"""The file that says how far a run is."""

from pathlib import Path

from ratchet.components.run.progress import Pace, Progress, ProgressFile, path_of, progress_of
from ratchet.components.storage.home import Home


def test_it_is_written_once_per_second_and_at_each_new_stage(tmp_path: Path) -> None:
    home, now = Home(tmp_path, tmp_path), [100.0]
    file = ProgressFile(path_of(home, "id"), lambda: now[0])

    def noted(seconds: float, stage: str, done: int) -> tuple[str, int] | None:
        now[0] += seconds
        file.note(stage, done, 10, "")
        found = progress_of(home, "id")
        return found and (found.stage, found.done)

    assert noted(0, "train", 1) == ("train", 1)
    assert noted(0.5, "train", 2) == ("train", 1)
    assert noted(0.5, "train", 3) == ("train", 3)
    assert noted(0.1, "evaluate", 0) == ("evaluate", 0)
    file.delete()
    assert progress_of(home, "id") is None


def test_the_time_left_is_at_the_stage_s_mean_pace(tmp_path: Path) -> None:
    home, now = Home(tmp_path, tmp_path), [100.0]
    file = ProgressFile(path_of(home, "id"), lambda: now[0])
    file.note("train", 0, 40, "")
    assert (found := progress_of(home, "id")) is not None
    assert (found.number, found.stages, found.seconds_left) == (5, 7, None)
    now[0] = 130.0
    file.note("train", 10, 40, "reward 0.5")
    assert (found := progress_of(home, "id")) is not None
    assert found.seconds_left == 30.0 / 10 * 30


def test_the_steps_of_an_earlier_process_count_neither_as_work_nor_as_time(tmp_path: Path) -> None:
    home, now = Home(tmp_path, tmp_path), [100.0]
    file = ProgressFile(path_of(home, "id"), lambda: now[0])
    for step in range(301):  # read from a checkpoint
        now[0] += 0.001
        file.note("train", step, 400, "")
    for step in range(301, 304):
        now[0] += 10.0
        file.note("train", step, 400, "")
    assert (found := progress_of(home, "id")) is not None
    assert found.seconds_left is not None
    assert round(found.seconds_left) == 970


def test_a_replay_that_something_holds_up_still_counts_as_no_work() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])

    def noted(seconds: float, done: int) -> Progress:
        now[0] += seconds
        return pace.note("warmup", done, 400, "")

    noted(0.0, 0)
    noted(2.0, 1)  # a checkpoint is loaded, a line is drawn
    for step in range(2, 300):
        noted(0.05 if step == 150 else 0.001, step)
    found = [noted(10.0, step) for step in (300, 301)]
    assert [one.seconds_left for one in found] == [10.0 * 100, 10.0 * 99]
    assert found[-1].since == 100.0


def test_the_next_part_of_a_stage_has_a_pace_of_its_own() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    for done in (0, 60):  # a reward model is trained, and then validated
        found = pace.note("reward", done, 60, "")
        now[0] += 30.0
    found = pace.note("reward", 0, 2, "")
    assert (found.since, found.seconds_left) == (160.0, None)
    now[0] += 5.0
    assert pace.note("reward", 1, 2, "").seconds_left == 5.0


def test_a_damaged_file_or_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    ProgressFile(Path("/dev/null/progress")).note("train", 1, 2, "")
    path_of(home, "id").parent.mkdir(parents=True)
    path_of(home, "id").write_text('{"stage": 1}')
    assert progress_of(home, "id") is None
