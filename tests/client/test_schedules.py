"""``storage snapshot schedules``."""

from __future__ import annotations

from collections.abc import Callable

import holdfast
from tests.client.conftest import Outcome


def test_schedules_are_shown_with_their_next_and_last_run(cli: Callable[..., Outcome]) -> None:
    document = cli("storage", "snapshot", "schedules").json
    nightly, new = document["schedules"]
    assert (document["total"], nightly["name"], nightly["cron"]) == (2, "nightly", "0 2 * * *")
    assert nightly["outcome"] == "failed"
    assert (nightly["next_at"], nightly["message"]) == ("2024-01-20T10:30:45Z", "no room")
    assert (new["next_at"], new["last_at"], new["outcome"]) == (None, None, None)
    assert "keep" not in nightly
    assert cli("storage", "snapshot", "schedules", "-v").json["schedules"][0]["keep"] == {"daily": 7, "within": "48h"}
    heading = cli("storage", "snapshot", "schedules", "--format", "table").out.splitlines()[0]
    assert heading.split()[:4] == ["NAME", "CRON", "TIME_ZONE", "NEXT_AT"]


def test_python_has_them_too(db: holdfast.Client) -> None:
    assert [each.name for each in db.snapshots.schedules()] == ["nightly", "new"]
