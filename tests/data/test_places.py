from pathlib import Path

import pytest

from edgesynth.data.places import cache_folder, download_folder, find_folder


def put(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a").touch()
    (folder / "b").touch()
    return folder


def find(system: tuple[Path, ...] = ()) -> Path | None:
    return find_folder(("a", "b"), ("things",), system)


def test_the_nearest_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, system = tmp_path / "root", tmp_path / "system"
    monkeypatch.setenv("EDGESYNTH_DATA", str(root))
    assert find() is None
    cache = put(cache_folder() / "things")
    assert find((system,)) == cache
    put(system)
    assert find((system,)) == system
    put(root)
    assert find((system,)) == root
    put(root / "things")
    assert find((system,)) == root / "things"


def test_a_folder_with_a_file_missing_does_not_count(tmp_path: Path) -> None:
    system = put(tmp_path / "system")
    (system / "b").unlink()
    assert find((system,)) is None


def test_downloads_go_to_the_root_or_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download_folder("things") == tmp_path / "cache" / "edgesynth" / "data" / "things"
    monkeypatch.setenv("EDGESYNTH_DATA", str(tmp_path / "root"))
    assert download_folder("things") == tmp_path / "root" / "things"
    monkeypatch.setenv("EDGESYNTH_DATA", "")
    assert download_folder("things").is_relative_to(tmp_path / "cache")


def test_a_relative_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "edgesynth" / "data"
