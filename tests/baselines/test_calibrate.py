"""The command that makes a scenario from bars: what it must not write over."""

import pytest

from hyperexec_env import cli


@pytest.mark.parametrize("target", ["bars.csv", "./bars.csv"])
def test_bars_are_never_written_over(capsys, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    rows = [f"2024-03-05T{m // 60:02d}:{m % 60:02d}:00,100,100,100,100,{1000 + m}" for m in range(570, 960)]
    content = "\n".join(["ts,open,high,low,close,volume", *rows]) + "\n"
    (tmp_path / "bars.csv").write_text(content)
    assert cli.main(["calibrate", "bars.csv", "--stamp", "start", "--out", "a.toml", "--json", target]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"hyperexec: error: cannot write {target}: it is one of the files that are read; give another name\n"
    assert (tmp_path / "bars.csv").read_text() == content
    assert not (tmp_path / "a.toml").exists()
