"""The ``[[schedule]]`` tables of the settings: what they mean, and where a wrong one is wrong."""

from __future__ import annotations

import re

import pytest

from holdfastd.config import ConfigError, ServerConfig, load
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshot_request import SnapshotRequest
from holdfastd.schedule_tables import MAX_SCHEDULES
from tests.support.sources import ROOT


def loaded(text: str) -> ServerConfig:
    return load(["--config", "d.toml"], {}, read=lambda path: text.encode(), working_directory="/work")


WHOLE = """
log_level = "warning"

[[schedule]]
name = "nightly"
cron = "0 2 * * *"
time_zone = "Europe/Berlin"
path = "/backups/daily/"
compress = true
description = "by night"
verify = 3
keep_daily = 14
keep_within = "2d"

[[schedule]]
name = "hourly"
cron = "0 * * * *"
collection = "products"
incremental = true
"""


def test_tables_are_schedules() -> None:
    config = loaded(WHOLE)
    nightly, hourly = config.schedules
    assert (nightly.name, nightly.cron.line, nightly.cron.time_zone) == ("nightly", "0 2 * * *", "Europe/Berlin")
    assert nightly.request == SnapshotRequest(path="/backups/daily", compress=True, description="by night")
    assert nightly.policy == RetentionPolicy(daily=14, within_us=2 * 86_400_000_000)
    assert (hourly.cron.time_zone, hourly.policy) == ("UTC", None)
    assert (nightly.verify_level, hourly.verify_level) == (3, 0)
    assert hourly.request == SnapshotRequest(collection="products", incremental=True)
    assert config.log_level == "warning"
    assert loaded("").schedules == ()


def test_a_schedule_may_lead_into_an_object_store() -> None:
    [schedule] = loaded(GOOD + 'path = "S3://acme/shop/"').schedules
    assert schedule.request.path == "s3://acme/shop"


def test_a_duration_may_be_of_several_parts_as_on_the_command_line() -> None:
    [schedule] = loaded(GOOD + 'keep_within = "1d12h"').schedules
    assert schedule.policy == RetentionPolicy(within_us=36 * 3_600_000_000)


@pytest.mark.parametrize("url", ["s3://key:pa55word@bucket/x", "s3://bucket/x?token=pa55word"])
def test_a_password_in_an_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="credentials come from the daemon's environment") as caught:
        loaded(GOOD + f'path = "{url}"')
    assert "path is an URL" in str(caught.value)
    assert "pa55word" not in str(caught.value)


GOOD = '[[schedule]]\nname = "a"\ncron = "0 2 * * *"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('schedule = "0 2 * * *"', "d.toml: schedule is no list of tables: begin each with a line [[schedule]]"),
        ('[schedule]\nname = "a"', "begin each with a line [[schedule]]"),
        (GOOD + '[[schedule]]\nname = "b"\n', "d.toml: schedule 2 ('b'): cron is missing"),
        ('[[schedule]]\ncron = "0 2 * * *"\n', "d.toml: schedule 1: name is missing"),
        (GOOD + GOOD, "schedule 2 ('a'): name is that of another schedule"),
        ('[[schedule]]\nname = "a"\ncron = "0 25 * * *"', "schedule 1 ('a'): '0 25 * * *' is no cron line: bad hour"),
        ('[[schedule]]\nname = "a"\ncron = "@daily"', "write five fields"),
        ('[[schedule]]\nname = "a"\ncron = 5', "cron is 5, it must be a text"),
        ('[[schedule]]\nname = "a b"\ncron = "0 2 * * *"', "name is 'a b', it must be 1 to 128 characters"),
        (GOOD + 'time_zone = "Mars/Olympus"', "'Mars/Olympus' is no time zone of this machine"),
        (GOOD + "keep_dayly = 3", "the key 'keep_dayly' is not known; known are name, cron"),
        (GOOD + "keep_daily = 0", "keep_daily is 0, it must be a number of 1 or more"),
        (GOOD + "keep_daily = true", "keep_daily is True, it must be a number of 1 or more"),
        (GOOD + 'keep_within = "0d"', "keep_within is '0d', it must be a duration"),
        (GOOD + 'keep_within = "999999999d"', "it must be a duration of at most 10,000 years"),
        (GOOD + 'keep_within = "7 days"', "it must be a duration of at most 10,000 years, such as"),
        ('[[schedule]]\nname = ""\ncron = "0 2 * * *"', "name is '', it must be a text that is not empty"),
        (GOOD + "keep_within = 5", "keep_within is 5, it must be a duration"),
        (GOOD + 'path = "backups"', "path is 'backups', it must be an absolute path"),
        (GOOD + 'path = "s3://acme/shop?x=1"', "credentials come from the daemon's environment"),
        (GOOD + 'path = "s3:/acme/shop"', "name s3://bucket/prefix"),
        (
            GOOD + "verify = 1",
            "verify is 1, it must be the level of a verification that reads every byte: 2 (check",
        ),
        (GOOD + "verify = true", "verify is True, it must be the level of a verification"),
        (GOOD + 'compress = "yes"', "compress is 'yes', it must be true or false"),
        (GOOD + 'collection = "../x"', "collection is '../x', it must be"),
        (GOOD + 'description = "a\\nb"', "description is 'a\\nb': write one line"),
        (
            "".join(f'[[schedule]]\nname = "s{n}"\ncron = "* * * * *"\n' for n in range(MAX_SCHEDULES + 1)),
            "the limit is 64",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("d.toml: ")


def test_the_tables_of_the_handbook_are_schedules() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    daily, hourly = loaded(shown).schedules
    assert (daily.verify_level, hourly.verify_level) == (4, 2)
    assert (daily.policy, hourly.policy) == (RetentionPolicy(daily=14), RetentionPolicy(within_us=2 * 86_400_000_000))
