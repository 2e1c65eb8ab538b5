"""Points in time as people write them."""

from __future__ import annotations

import datetime
import random

import pytest

from retrieval.base import moments

FORMS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%dT%H%M%S", "%Y:%m:%d  %H:%M:%S",
         "%Y.%m.%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y-%m-%dt%H:%M:%Sz", "%Y-%m-%d %H:%M:%S UTC"]  # fmt: skip
BEGAN = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_time_is_the_same_time(form: str) -> None:
    rng = random.Random(form)
    for _ in range(200):
        time = BEGAN + datetime.timedelta(seconds=rng.randrange(-60 * 10**9, 250 * 10**9))
        expected = (time - BEGAN) // datetime.timedelta(microseconds=1)
        written = time.strftime(form).zfill(len(datetime.datetime(2024, 1, 1).strftime(form)))
        assert moments.read(written) == (expected, 10**6)
        assert moments.start(written) == expected
        hours = rng.randrange(-12, 13)
        there = time.astimezone(datetime.timezone(datetime.timedelta(hours=hours)))
        assert moments.start(there.isoformat(" ")) == expected


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("2024-05-01", "2024-05-01", 86400.0),
        ("2024/5/1", "2024-05-01", 86400.0),
        ("20240501", "2024-05-01", 86400.0),
        ("2024-02", "2024-02-01", 29 * 86400.0),
        ("2024-05-01 7:05", "2024-05-01T07:05", 60.0),
        ("2024-05-01T07:05:09.5", "2024-05-01T07:05:09.500000", 0.1),
        ("2024-05-01T07:05:09,123456789", "2024-05-01T07:05:09.123456", 1e-6),
        ("2024-05-01 07:05+0530", "2024-05-01T01:35", 60.0),
        ("2024-05-01 07:05 -03", "2024-05-01T10:05", 60.0),
        ("0001-01-01", "0001-01-01", 86400.0),
        ("9999-12-31", "9999-12-31", 86400.0),
    ],
)
def test_what_a_text_stands_for(text: str, start: str, length: float) -> None:
    found = moments.read(text)
    assert found is not None
    since = datetime.datetime.fromisoformat(start).replace(tzinfo=datetime.UTC) - BEGAN
    assert (found.start, found.length) == (since // datetime.timedelta(microseconds=1), round(length * 10**6))


@pytest.mark.parametrize(
    "text",
    ["", "2024", "202405", "2024-13-01", "2024-02-30", "2024-00", "2024-05-01T", "2024-05-01 24:00",
     "2024-05-01T07:60", "24-05-01",
     "2024-05/01", "1/5/2024", "2024-05-01 07:05 CEST", "２０２４-05-01",
     "2024-05-01x07:05:09", "2024-05-01T1"],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert moments.read(text) is None
    assert moments.start(text) is None


def test_cells_that_are_not_understood_are_named() -> None:
    columns = {
        "taken": ["2024-05-01", "2024/05/02 07:00", "unknown", 7, None],
        "local": ["31.12.2024 23:30", "01.01.2025 00:10", "31.12.2024 23:30"],
        "american": ["12/31/24 11:30 PM", "May 1, 2024", "1 May 2024", "Wed, 01 May 2024 23:30:00 GMT"],
        "words": ["a", "b", "2024-05-01"],
        "versions": ["1.2.3", "10.0.12", "192.168.1.17"],
        "sound": ["2024-05-01", "20240501T2330"],
    }
    doubts = moments.Doubts()
    for column, cells in columns.items():
        for cell in cells:
            doubts.see(column, cell)
    assert [note.partition(" and match")[0] for note in doubts.notes()] == [
        "4 of 4 dates in 'american' were not understood",
        "3 of 3 dates in 'local' were not understood",
        "1 of 3 dates in 'taken' were not understood",
    ]
    assert doubts.notes()[1].endswith("in a filter: '31.12.2024 23:30', '01.01.2025 00:10', ...")
