"""Nothing is decided in silence: each choice that was made for the user is a sentence that names the option."""

import gzip

import pytest

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_trades

HEADER = "ts,open,high,low,close,volume"


def csv(rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def bars(form="2024-03-08 09:{minute}:00", values="170.5,171.0,169.5,170.25,100", count=9, separator=","):
    return [separator.join([form.format(minute=30 + at), values]) for at in range(count)]


CASES = [
    ("a zone of the calendar", csv(bars()), {},
     "no offset and are taken to be in America/New_York, the zone of the calendar XNYS; pass --tz"),
    ("a zone of a layout", "\n".join(bars("03/08/2024,09:{minute}")), {"calendar": "XTKS"},
     "America/New_York, as usual for kibot; pass --tz"),
    ("the order of the date", csv(bars("03/04/2024 09:{minute}")), {},
     "dates such as 03/04/2024 09:30 are taken as mdy (month first), dmy is possible too: pass --dates dmy"),
    ("a comma that may be a decimal", csv(bars(values='170,171,169,170,"6,873"')), {},
     "numbers such as 6,873 are read with a comma between thousands: pass --decimal comma"),
    ("a comma beside semicolons",
     csv(bars(values="170,250;171,125;169,500;170,250;100", separator=";"), HEADER.replace(",", ";")), {},
     "numbers such as 170,250 are read with a decimal comma: pass --decimal point"),
    ("a name of an offset", csv(bars("2024-03-08 09:{minute}:00 EST")), {},
     "EST in the stamps is read as a fixed offset from UTC; pass --tz if it means the local time"),
    ("a name of an offset that is overruled", csv(bars("2024-07-08 09:{minute}:00 EST")), {"tz": "America/New_York"},
     "EST in the stamps is ignored, because --tz is given"),
    ("rows that descend", csv(bars()[::-1]), {}, "the rows descend in time and are read from the last to the first"),
    ("no volume", csv([row.rpartition(",")[0] for row in bars()], HEADER.rpartition(",")[0]), {}, "the data hold no volume"),
    ("a volume of zero", csv(bars(values="170.5,171.0,169.5,170.25,0")), {},
     "the volume is 0 or missing in every bar: the data count as without volume"),
    ("some volumes missing", csv([*bars(), "2024-03-08 09:39:00,170.5,171.0,169.5,170.25,"]), {},
     "1 bars without a volume count as 0"),
    ("lots", csv(bars(values="170.5,171.0,169.5,170.25,100,170.2,7"), "date,open,high,low,close,volume,average,barCount"), {},
     "may count the volume of US shares in lots of 100"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "options", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_choice_is_said(tmp_path, content, options, words):
    path = tmp_path / "bars.csv"
    path.write_text(content)
    provenance = read_bars(path, Format(**options)).provenance
    assert words in " ".join(provenance.choices)
    assert words in str(provenance)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (csv(bars("2024-03-08T09:{minute}:00-05:00")), {}),
        (csv(bars()), {"tz": "America/New_York"}),
        (csv(bars("2024-03-08 09:{minute}:00 America/New_York")), {}),
        (csv(bars("13/03/2024 09:{minute}")), {"tz": "UTC"}),
        (csv(bars("03/04/2024 09:{minute}")), {"dates": "dmy", "tz": "UTC"}),
        (csv(bars(values='170,171,169,170,"6,873"')), {"decimal": "point", "tz": "UTC"}),
    ],
)
def test_what_the_data_or_the_user_state_is_no_choice(tmp_path, content, options):
    path = tmp_path / "bars.csv"
    path.write_text(content)
    assert read_bars(path, Format(**options)).provenance.choices == ()


def test_a_column_that_not_all_files_hold_is_said(tmp_path):
    (tmp_path / "a.csv").write_text(csv(bars()))
    (tmp_path / "b.csv").write_text(csv([row.rpartition(",")[0] for row in bars("2024-03-11 09:{minute}:00")], HEADER[:-7]))
    table = read_bars(tmp_path)
    assert not table.has_volume
    assert "volume is not used, because not all files hold it" in table.provenance.choices


def test_options_replace_what_was_decided(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(csv(bars("03/04/2024 09:{minute}")))
    assert read_bars(path).days("America/New_York")[0] == "2024-03-04"
    assert read_bars(path, Format(dates="dmy")).days("America/New_York")[0] == "2024-04-03"
    summer = tmp_path / "summer.csv"
    summer.write_text(csv(bars("2024-07-08 09:{minute}:00 EST")))
    hours = [int(read_bars(summer, Format(tz=tz)).time[0]) // 3_600_000_000_000 % 24 for tz in ("", "America/New_York")]
    assert hours == [14, 13]


def test_rows_that_are_left_out_are_counted(tmp_path):
    path = tmp_path / "trades.csv.gz"
    rows = ["2024-03-08 09:30:00Z,A,1.5,3", "2024-03-08 09:30:01Z,B,9.5,3", "2024-03-08 09:30:02Z,A,,3"]
    path.write_bytes(gzip.compress(csv(rows, "ts,symbol,price,size").encode()))
    provenance = read_trades(path, Format(symbol="A")).provenance
    assert (provenance.rows, provenance.dropped) == (3, {"rows without prices": 1, "rows of other instruments": 1})
    assert "1 rows left out: rows of other instruments" in str(provenance)
