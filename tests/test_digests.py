"""Digests of files and folders: they see what readers see, behind links as well."""

from __future__ import annotations

from pathlib import Path

from edgeaudit.digests import file_sha256, files_below, path_sha256, tree_sha256


def _tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


def _names(folder: Path, *, hidden: bool = True) -> list[str]:
    return [str(file.relative_to(folder)) for file in files_below(folder, hidden=hidden)]


def test_files_behind_a_link_to_a_folder_count(tmp_path: Path) -> None:
    _tree(tmp_path, "data/cat/0.png", "elsewhere/deep/1.png", "file.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "eel.png").symlink_to(tmp_path / "file.png")
    (tmp_path / "data" / "gone.png").symlink_to(tmp_path / "nothing")
    assert _names(tmp_path / "data") == ["cat/0.png", "dog/deep/1.png", "eel.png"]
    before = tree_sha256(tmp_path / "data")
    (tmp_path / "elsewhere" / "deep" / "1.png").write_text("another image", encoding="utf-8")
    assert tree_sha256(tmp_path / "data") != before


def test_a_link_that_leads_in_a_circle_ends(tmp_path: Path) -> None:
    _tree(tmp_path, "data/cat/0.png")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data" / "self")
    assert _names(tmp_path / "data") == ["cat/0.png"]


def test_two_links_to_one_folder_are_two_folders(tmp_path: Path) -> None:
    _tree(tmp_path, "elsewhere/0.png")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    assert _names(tmp_path / "data") == ["a/0.png", "b/0.png"]


def test_hidden_entries_are_left_out_on_request(tmp_path: Path) -> None:
    _tree(tmp_path, "a/0.png", "a/._0.png", ".cache/1.png")
    assert _names(tmp_path) == [".cache/1.png", "a/._0.png", "a/0.png"]
    assert _names(tmp_path, hidden=False) == ["a/0.png"]


def test_a_name_is_part_of_the_digest_and_the_place_of_the_folder_is_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _tree(tmp_path / name, "a/0.png")
    assert path_sha256(tmp_path / "one") == path_sha256(tmp_path / "two")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "b")
    assert path_sha256(tmp_path / "one") != path_sha256(tmp_path / "two")
    file = tmp_path / "one" / "a" / "0.png"
    assert path_sha256(file) == file_sha256(file)
