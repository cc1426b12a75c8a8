"""The option --columns: a file may follow it, and it may be given several times."""

from hyperexec_env.cli import main


def test_a_file_follows_the_columns_and_columns_add_up(tmp_path, capsys):
    clocks = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(570, 960, 5)]
    rows = [f"2024-03-{day:02d} {clock},100,101,99,100.5,{900 + day}" for day in (5, 6) for clock in clocks]
    rows.insert(0, "when,first,top,bottom,final,shares")
    (tmp_path / "bars.csv").write_text("\n".join(rows) + "\n")
    given = ["--columns", "ts=when,open=first", "--columns", "high=top,low=bottom,close=final,volume=shares"]
    assert main(["data", "check", *given, str(tmp_path / "bars.csv")]) == 0
    assert "volume = shares" in capsys.readouterr().out
    assert main(["data", "check", "--columns", "ts", str(tmp_path / "bars.csv")]) == 2
    assert "columns must be pairs such as ts=Time,close=Last, got 'ts'" in capsys.readouterr().err
