"""The comparison of two runs of the benchmarks, by hand."""

import json

import pytest

from tests.benchmarks.compare import Change, changes, read


def test_what_got_slower_is_named_worst_first(tmp_path):
    rows = [{"what": "a", "value": 1.0}, {"what": "b", "value": 2.0}, {"what": "c", "value": 1.0}]
    (tmp_path / "old.json").write_text(json.dumps({"rows": rows}))
    old = read(tmp_path / "old.json")
    new = {"a": 1.3, "b": 4.0, "c": 1.05, "d": 9.0}
    assert changes(old, new) == [Change("b", 2.0, 4.0), Change("a", 1.0, 1.3)]
    assert changes(old, old) == []


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="to be a file of the benchmarks"):
        read(path)
