"""Tests of fridge.path: everybody finds the same segment, and is told why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fridge import path

UID = os.geteuid()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three candidate paths in folders of the test's own: first, second, third."""
    found = [tmp_path / name / "fridge" / "default" for name in ("first", "second", "third")]
    monkeypatch.setattr(path, "candidates", lambda environment, uid: [str(p) for p in found])
    return found


def test_the_variable_wins() -> None:
    found = path.resolve({"FRIDGE_SEGMENT": "/somewhere/else"}, UID)
    assert found.path == "/somewhere/else"
    assert "FRIDGE_SEGMENT" in found.reason


def test_candidates_are_those_of_the_design() -> None:
    assert path.candidates({}, 7) == ["/run/fridge/default", "/dev/shm/fridge-7/default"]
    assert path.candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, 7)[1] == "/run/user/7/fridge/default"


def test_one_that_exists_wins_over_an_earlier_one_that_could_be_made(places: list[Path]) -> None:
    places[0].parent.parent.mkdir()
    places[1].parent.mkdir(parents=True)
    places[1].touch()
    found = path.resolve({}, UID)
    assert found.path == str(places[1])
    assert found.reason == "it is the first that exists"
    assert [c.chosen for c in found.looked_at] == [False, True, False]


def test_without_one_the_first_that_can_be_created_wins(places: list[Path]) -> None:
    places[1].parent.parent.mkdir()
    places[2].parent.mkdir(parents=True)
    found = path.resolve({}, UID)
    assert found.path == str(places[1])
    assert "first that can be created" in found.reason


def test_nowhere_says_what_was_tried(places: list[Path]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        path.resolve({}, UID)
    assert all(str(p) in str(caught.value) for p in places)
    assert "$FRIDGE_SEGMENT" in str(caught.value)


def test_a_directory_of_somebody_else_is_passed_over(places: list[Path]) -> None:
    places[0].parent.mkdir(parents=True)
    if UID == 0:
        os.chown(places[0].parent, 12345, 12345)  # root's own would be trusted; anybody else's is a stranger's to 4711
    places[2].parent.mkdir(parents=True)
    found = path.resolve({}, 4711)
    assert "belongs to somebody else" in found.looked_at[0].finding


def test_a_file_in_the_directory_s_place_is_passed_over(places: list[Path]) -> None:
    places[0].parent.parent.mkdir()
    places[0].parent.touch()
    places[2].parent.mkdir(parents=True)
    found = path.resolve({}, UID)
    assert found.path == str(places[2])
    assert "directory" in found.looked_at[0].finding


def test_resolving_creates_nothing_and_preparing_creates_an_owner_only_directory(places: list[Path]) -> None:
    places[0].parent.parent.mkdir()
    found = path.resolve({}, UID)
    assert not places[0].parent.exists()
    path.prepare(found.path)
    assert places[0].parent.stat().st_mode & 0o777 == 0o700
