"""Files that another user wrote are taken only as what they are."""

import os

import pytest
from edgesynth_agent.errors import RefusedError
from edgesynth_agent.releases.handover import own, taken


@pytest.mark.parametrize("take", [own, taken])
class TestHandover:
    def test_a_file(self, tmp_path, take):
        path = tmp_path / "file"
        path.write_bytes(b"content")
        path.chmod(0o666)
        assert take(str(path)) in (None, b"content")
        assert path.stat().st_mode & 0o777 == (0o644 if take is own else 0o666)

    def test_a_link_is_not_followed(self, tmp_path, take):
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "link").symlink_to("secret")
        with pytest.raises(OSError, match="symbolic links"):
            take(str(tmp_path / "link"))

    def test_a_file_with_another_name_is_refused(self, tmp_path, take):
        (tmp_path / "secret").write_text("secret")
        os.link(str(tmp_path / "secret"), str(tmp_path / "link"))
        with pytest.raises(RefusedError, match="no regular file of its own"):
            take(str(tmp_path / "link"))

    def test_what_is_no_file_is_refused(self, tmp_path, take):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RefusedError, match="no regular file"):
            take(str(tmp_path / "pipe"))
