from pathlib import Path

import pytest

from models.errors import UnknownModel
from worker.errors import ScheduleError
from worker.inputs import MOST_FILES, files_of
from worker.schedule_file import Schedule, read

GOOD = """
[[schedule]]
name = "us-close"
input = "s3://prices/us/?region=us-east-1"
calendar = "XNYS"
"""
TWO = GOOD + GOOD.replace("us-close", "uk-close").replace("XNYS", "XLON") + "levels = [0.05, 0.95]\njoin = ['sector']\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def test_a_file_says_what_is_scored_after_which_close(tmp_path: Path) -> None:
    plan = read(written(tmp_path, TWO))

    us, uk = plan.schedule
    assert (us.name, us.calendar, us.after_close_minutes, us.model, us.levels) == ("us-close", "XNYS", 30, "lstm", None)
    assert (uk.name, uk.levels, uk.join) == ("uk-close", (0.05, 0.95), ("sector",))
    assert plan.catch_up_days == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "plan.toml: Object missing required field `schedule`"),
        ("schedule = []", "plan.toml, schedule: Expected `array` of length >= 1"),
        ("[[schedule]]\nname = us-close", r"plan.toml: Invalid value \(at line 2, column 8\)"),
        ("[[schedule]\n", r"plan.toml: .*\(at line 1"),
        ("catch_up_days = 0\n" + GOOD, "plan.toml, catch_up_days: Expected `float` > 0"),
        ("catch_up_days = 31\n" + GOOD, "plan.toml, catch_up_days: Expected `float` <= 30"),
        ("catchup = 1\n" + GOOD, "plan.toml: Object contains unknown field `catchup`"),
        (GOOD.replace('calendar = "XNYS"', ""), r"schedule\[0\]: Object missing required field `calendar`"),
        (GOOD + 'calender = "XNYS"', r"schedule\[0\]: Object contains unknown field `calender`"),
        (GOOD + 'after_close_minutes = "30"', r"schedule\[0\].after_close_minutes: Expected `float`, got `str`"),
        (GOOD + "after_close_minutes = -1", r"schedule\[0\].after_close_minutes: Expected `float` >= 0"),
        (GOOD + "after_close_minutes = nan", r"after_close_minutes: Expected `float`"),
        (GOOD + "version = 0", r"schedule\[0\].version: Expected `int` >= 1"),
        (GOOD + "levels = [0.5, 1]", r"schedule\[0\].levels\[1\]: Expected `float` < 1"),
        (TWO + "levels = [0.5]", "plan.toml: Cannot overwrite a value"),
        (GOOD + GOOD, "schedule 'us-close': two have this name"),
        (GOOD.replace("us-close", "us close"), "schedule 'us close': name: a name has 1 to 64 letters"),
        (GOOD.replace("us-close", "a" * 65), "name: a name has 1 to 64 letters"),
        (GOOD.replace("s3://prices/us/", "/data/prices"), "input: '/data/prices' is neither file:///"),
        (GOOD.replace("s3://prices/us/", "https://example.com/"), "is neither file:///"),
        (GOOD.replace("s3://prices/us/", "s3://key:secret@prices/us/"), "a password, which belongs into the env"),
        (GOOD.replace("s3://prices/us/", "file:///data/my prices/"), "a blank, which is %20"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_the_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=said):
        read(written(tmp_path, text))


def test_what_a_schedule_names_is_looked_at_and_the_schedule_named(tmp_path: Path) -> None:
    def check(schedule: Schedule) -> None:
        if schedule.name == "uk-close":
            raise UnknownModel(name=schedule.model, version=None, known=["mlp"])

    with pytest.raises(ScheduleError, match=r"plan.toml, schedule 'uk-close': .*lstm.*mlp"):
        read(written(tmp_path, TWO), check)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ScheduleError, match=r"plan.toml: 'utf-8' codec"):
        read(tmp_path / "plan.toml")


def test_a_file_s_uri_is_its_own_input() -> None:
    assert files_of("s3://prices/us.csv", "s3://prices/?region=us-east-1") == ["s3://prices/us.csv"]


def test_a_folder_s_uri_stands_for_each_file_under_it_but_what_is_hidden(tmp_path: Path) -> None:
    names = ["b.csv", "a b/c#1%.csv", "ü.csv", ".b.csv.swp", "_SUCCESS", "_tmp/d.csv", "e/.hidden/f.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()

    found = files_of(f"{tmp_path.as_uri()}/", f"{tmp_path.as_uri()}/")

    assert found == [f"{tmp_path.as_uri()}/{name}" for name in ("a%20b/c%231%25.csv", "b.csv", "%C3%BC.csv")]


def test_a_folder_that_is_not_there_or_holds_too_much_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files_of(f"{tmp_path.as_uri()}/none/", f"{tmp_path.as_uri()}/")

    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.csv").touch()
    with pytest.raises(ScheduleError, match="there are 1001 files under it; at most 1000"):
        files_of(f"{tmp_path.as_uri()}/", f"{tmp_path.as_uri()}/")


def test_what_may_not_be_read_is_not_listed(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="is not below what may be read here"):
        files_of(f"{tmp_path.as_uri()}/", f"{tmp_path.as_uri()}/in/")
