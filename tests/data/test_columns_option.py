"""The option --columns: a file may follow it, and it may be given several times."""

from hyperexec_env.cli import main


def test_a_file_follows_the_columns_and_columns_add_up(tmp_path, capsys):
    rows = ["when,first,top,bottom,final,shares"]
    for day in (5, 6):
        for minute in range(570, 960, 5):
            rows.append(f"2024-03-{day:02d} {minute // 60:02d}:{minute % 60:02d},100,101,99,100.5,{900 + minute % 7}")
    (tmp_path / "bars.csv").write_text("\n".join(rows) + "\n")
    given = ["--columns", "ts=when,open=first", "--columns", "high=top,low=bottom,close=final,volume=shares"]
    assert main(["data", "check", *given, str(tmp_path / "bars.csv")]) == 0
    assert "volume = shares" in capsys.readouterr().out
    assert main(["data", "check", "--columns", "ts", str(tmp_path / "bars.csv")]) == 2
    assert "columns must be pairs such as ts=Time,close=Last, got 'ts'" in capsys.readouterr().err
