import os

import pytest

from jobs.corpus.listing import list_inputs
from strideformer.errors import StrideformerError


@pytest.fixture
def root(tmp_path):
    for name in ("secret/s.txt", "in/a.txt", "in/deep/b.txt", "in/_hidden/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path / "in"


def names(pattern, root):
    return [os.path.relpath(file.source, root) for file in list_inputs([str(pattern)], {})]


@pytest.mark.parametrize("target", ["../secret", "../secret/s.txt", "/"])
@pytest.mark.parametrize("pattern", ["", "*", "**", "**/*.txt", "lin*", "lin*/*", "**/_hidden/*"])
def test_a_link_out_of_the_root_is_refused(root, target, pattern):
    (root / "link.txt").symlink_to(target)
    with pytest.raises(StrideformerError, match=r"link.txt is a link that leads out of .*/in: name /"):
        list_inputs([f"{root}/{pattern}"], {})


def test_a_link_that_is_named_itself_is_read(root):
    (root.parent / "link.txt").symlink_to(root / "a.txt")
    assert len(list_inputs([str(root.parent / "link.txt")], {})) == 1


def test_links_within_the_root_give_each_file_once(root):
    (root / "loop").symlink_to(".")
    (root / "deep" / "up").symlink_to("..")
    (root / "again.txt").symlink_to("a.txt")
    (root / "shown").symlink_to("_hidden")
    assert names(root, root) == ["a.txt", "deep/b.txt", "shown/c.txt"]


def test_a_link_to_nothing_is_no_silent_gap(root):
    (root / "gone.txt").symlink_to("was-here.txt")
    with pytest.raises(StrideformerError, match=r"gone.txt is a link to .*was-here.txt, which does not exist"):
        list_inputs([str(root)], {})


@pytest.mark.parametrize("pattern", ["*/../../secret/*", "*/..", "**/../../secret/s.txt", "de[e]p/../../secret/*"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_glob_does_not_climb(root, pattern, scheme):
    with pytest.raises(StrideformerError, match=r"has \.\. after a wildcard"):
        list_inputs([f"{scheme}{root}/{pattern}"], {})
    with pytest.raises(StrideformerError, match=r"has \.\. after a wildcard"):
        list_inputs([f"file://{root}/{pattern}".replace("..", "%2e%2e")], {})


def test_before_a_wildcard_it_is_the_users_own_way_of_writing_a_folder(root):
    assert names(f"{root}/deep/../*.txt", root) == ["a.txt"]
