"""What tegrastats prints, on every board there is a line of, and on lines of no board at all."""

import datetime
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import edgesynth_agent
import pytest
from edgesynth_agent.cli import main
from edgesynth_agent.tegrastats import parse_line
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import need

DATA = Path(__file__).parent / "data" / "tegrastats"
LINES = [line for path in sorted(DATA.glob("*.log")) for line in path.read_text().splitlines()]
EXPECTED = {name: want for name, want in json.loads((DATA / "expected.json").read_text()).items() if ":" in name}
FIELDS = [
    "t", "rails", "total_mw", "total_rule", "ram_mb", "cpu", "gpu", "emc", "temps_c", "other", "warnings",
]  # fmt: skip
# A soak sets more.
FUZZ_LINES = int(os.environ.get("EDGESYNTH_FUZZ_LINES", "5000"))


def line_of(name):
    file, _, number = name.partition(":")
    return (DATA / file).read_text().splitlines()[int(number) - 1]


class TestRealLines:
    def test_each_file_has_a_line_read_by_hand(self):
        assert {name.partition(":")[0] for name in EXPECTED} == {path.name for path in DATA.glob("*.log")}
        assert all(path.name in (DATA / "sources.md").read_text() for path in DATA.glob("*.log"))

    @pytest.mark.parametrize("name", EXPECTED)
    def test_is_as_read_by_hand(self, name):
        want, got = EXPECTED[name], parse_line(line_of(name))
        assert list(got) == FIELDS
        for field in ("total_mw", "total_rule", "ram_mb", "temps_c"):
            assert got[field] == want[field], field
        assert got["rails"] == {rail: self.rail(*values) for rail, values in want["rails"].items()}
        assert got["cpu"] == [self.core(text) for text in want["cpu"]]
        for field in ("gpu", "emc"):
            assert got[field] == dict(zip(("load", "mhz"), want[field])), field
        time_s = want["t"] and datetime.datetime.strptime(want["t"] + "+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp()
        assert got["t"] == time_s

    @staticmethod
    def rail(mw, mean_mw, max_mw=None):
        return {"mw": mw, "mean_mw": mean_mw, "max_mw": max_mw}

    @staticmethod
    def core(text):
        load, _, mhz = text.partition("@")
        return None if text == "off" else {"load": int(load), "mhz": int(mhz)}

    @pytest.mark.parametrize("line", LINES)
    def test_has_a_total_and_no_word_that_is_not_understood(self, line):
        record = parse_line(line)
        assert record["total_mw"] > 1000
        assert "words" not in record["other"]
        assert not any("power" in warning for warning in record["warnings"])

    def test_the_mean_is_no_sample(self):
        """The second number is the mean since tegrastats began: it follows the first one, late."""
        rails = [parse_line(line)["rails"]["VIN_SYS_5V0"] for line in LINES if line.startswith("05-09-2026")]
        assert [rail["mw"] for rail in rails] == [4707, 4607, 4707]
        assert [rail["mean_mw"] for rail in rails] == [4707, 4657, 4674]

    def test_what_has_no_place_of_its_own_is_kept_as_text(self):
        other = parse_line(line_of("xavier-agx-r32-datadog.log:1"))["other"]
        assert other == {
            "RAM": "721/31927MB (lfb 7291x4MB)",
            "SWAP": "0/15963MB (cached 0MB)",
            "APE": "150",
            "MTS": "fg 0% bg 0%",
            "PMIC": "100C",
        }
        other = parse_line(line_of("thor-r39.2.0.log:2"))["other"]
        assert other["NVENC0_FREQ"] == "@1556"
        assert (other["VIC"], other["PVA0_FREQ"]) == ("59%@423", "off")
        assert other["temps_max_c"]["cpu"] == 34.843
        assert other["time"] == "07-23-2026 15:29:27"

    def test_what_is_unknown_says_why(self):
        warnings = parse_line(line_of("thor-r39.2.0.log:2"))["warnings"]
        assert warnings == ["the load of GR3D_FREQ is unknown: it reads @[314,314,314]"]
        warnings = parse_line(line_of("orin-agx-r35-nc-rails.log:1"))["warnings"]
        assert "the temperature of GPU is unknown: its sensor is off" in warnings
        assert parse_line(line_of("nano-r32.7.1.log:1"))["warnings"] == ["the time is unknown: the line carries none"]


class TestOtherForms:
    """Forms that public logs and parsers show and that no file here has."""

    def test_the_oldest_tx1(self):
        # github.com/hordiales/jetson-tx1-dev, SCRIPTS.md: L4T 28.1
        record = parse_line(
            "RAM 3468/3983MB (lfb 48x4MB) SWAP 873/8192MB (cached 295MB) "
            "cpu [17%,13%,29%,5%]@408 EMC 1%@408 APE 25 GR3D 3%@76"
        )
        assert record["cpu"] == [{"load": load, "mhz": 408} for load in (17, 13, 29, 5)]
        assert (record["emc"], record["gpu"]) == ({"load": 1, "mhz": 408}, {"load": 3, "mhz": 76})
        assert (record["rails"], record["total_mw"], record["total_rule"]) == ({}, None, None)
        assert "the total power is unknown: there are no power rails" in record["warnings"]

    def test_cores_with_one_clock_and_some_off(self):
        record = parse_line("CPU [0%,5%,off]@2601 EMC_FREQ @4266")
        assert record["cpu"] == [{"load": 0, "mhz": 2601}, {"load": 5, "mhz": 2601}, None]
        assert record["emc"] == {"load": None, "mhz": 4266}

    def test_agx_orin_of_jetpack_5_0_has_two_gpu_fields(self):
        record = parse_line("EMC_FREQ 0%@204 GR3D_FREQ 7%@114 GR3D2_FREQ 9%@115 NVJPG1 729")
        assert record["gpu"] == {"load": 7, "mhz": 114}
        assert record["other"] == {"GR3D2_FREQ": "9%@115", "NVJPG1": "729"}

    def test_thor_with_its_input_does_not_add_the_parts(self):
        record = parse_line("VDD_GPU 37939mW/8660mW/37939mW VDD_CPU_SOC_MSS 30059mW/1mW/1mW VIN 124486mW/36487mW/1mW")
        assert (record["total_mw"], record["total_rule"]) == (124486, "VIN")

    def test_a_rail_below_zero_counts_and_is_told(self):
        record = parse_line("VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS 3924mW/3924mW VIN_SYS_5V0 5000mW/5000mW")
        assert record["total_mw"] == 8532
        assert "rail VDD_GPU is negative" in record["warnings"]

    @pytest.mark.parametrize("text", ["VDD_IN 0/0", "VDD_IN -5mW/3mW"])
    def test_a_total_that_cannot_be_is_unknown_not_zero(self, text):
        record = parse_line(text)
        assert (record["total_mw"], record["total_rule"]) == (None, None)
        assert any("the total power is unknown: VDD_IN reads" in warning for warning in record["warnings"])

    def test_a_sum_that_lacks_a_rail_is_unknown(self):
        record = parse_line("VDD_GPU_SOC 2412mW/2412mW VDD_CPU_CV 1607mW/1607mW")
        assert record["total_mw"] is None
        assert "the total power is unknown: rail VIN_SYS_5V0 is missing" in record["warnings"]

    def test_rails_of_a_board_that_nobody_knows(self):
        record = parse_line("VDD_NEW 5mW/6mW VDD_OTHER 7mW/8mW")
        assert list(record["rails"]) == ["VDD_NEW", "VDD_OTHER"]
        assert "of no known board are the rails VDD_NEW, VDD_OTHER" in record["warnings"][-1]

    @pytest.mark.parametrize(
        ("text", "rail"),
        [
            ("VDD_IN 5.5W/4W", [5500, 4000, None]),
            ("VDD_IN 4761 mW", [4761, None, None]),
            ("VDD_IN 4761mW", [4761, None, None]),
            ("VDD_IN 4761.5mW/4778mW", [4761.5, 4778, None]),
            ("VDD_IN 100mW/200", [100, 200, None]),
        ],
    )
    def test_power_in_other_units_and_numbers(self, text, rail):
        record = parse_line(text)
        assert list(record["rails"]["VDD_IN"].values()) == rail
        assert record["total_mw"] == rail[0]

    def test_a_number_without_a_unit_is_a_clock_not_power(self):
        record = parse_line("VDD_IN 5000")
        assert record["rails"] == {}
        assert record["other"]["VDD_IN"] == "5000"

    def test_two_inputs_are_ambiguous(self):
        record = parse_line("VDD_IN 5000/5000 VDD_IN 6000/6000")
        assert list(record["rails"]) == ["VDD_IN", "VDD_IN#2"]
        assert "several rails called VDD_IN" in record["warnings"][-1]

    def test_memory_in_other_units(self):
        assert parse_line("RAM 2048/4096kB (lfb 1x512kB)")["ram_mb"] == 2.0
        assert parse_line("RAM 2/16GB (lfb 1x512kB)")["ram_mb"] == 2048

    @pytest.mark.parametrize(("text", "mhz"), [("0%@[305,612]", 612), ("@[0,0,0]", 0), ("3%@[1098, 1098]", 1098)])
    def test_of_several_clocks_the_highest(self, text, mhz):
        record = parse_line("GR3D_FREQ " + text)
        assert record["gpu"]["mhz"] == mhz
        assert ("GR3D_FREQ" in record["other"]) == (text == "0%@[305,612]")

    @pytest.mark.parametrize("text", ["GR3D_FREQ 101%@1098", "GR3D_FREQ @1098", "GR3D_FREQ off"])
    def test_a_load_that_is_none(self, text):
        record = parse_line(text)
        assert record["gpu"]["load"] is None
        assert any("the load of GR3D_FREQ is unknown" in warning for warning in record["warnings"])

    def test_a_pmic_that_measures_counts(self):
        record = parse_line("PMIC@61.5C")
        assert record["temps_c"] == {"PMIC": 61.5}

    def test_fields_that_nobody_knows_are_kept(self):
        record = parse_line("NEW_FREQ 5%@9 FUTURE value <x> fan=3 WORDS")
        assert record["other"] == {"NEW_FREQ": "5%@9", "words": ["FUTURE", "value", "<x>", "fan=3", "WORDS"]}

    def test_a_field_called_as_one_of_ours_does_no_harm(self):
        record = parse_line("05-09-2026 18:42:06 time 5 words 6 temps_max_c 7 stray a@1C/2C")
        assert record["other"] == {
            "time": "05-09-2026 18:42:06",
            "time#2": "5",
            "words": "6",
            "temps_max_c": "7",
            "temps_max_c#2": {"a": 2},
            "words#2": ["stray"],
        }

    @pytest.mark.parametrize("stamp", ["13-01-2026 00:00:00", "02-30-2026 00:00:00", "01-01-2026 24:00:00"])
    def test_a_time_that_cannot_be_is_none(self, stamp):
        record = parse_line(stamp + " VDD_IN 5/5")
        assert record["t"] is None
        assert record["total_mw"] == 5

    def test_an_endless_line_is_cut_and_says_so(self):
        record = parse_line("VDD_IN 5000/5000 " + "x" * 100000)
        assert record["total_mw"] == 5000
        assert "cut after" in record["warnings"][0]


def check(line):
    """What holds of any line: a record of the one form, JSON, on one line, with finite numbers."""
    record = parse_line(line)
    text = json.dumps(record, allow_nan=False)
    assert "\n" not in text
    assert list(record) == FIELDS
    assert (record["total_mw"] is None) == (record["total_rule"] is None)
    assert record["total_mw"] is None or 0 < record["total_mw"] < math.inf
    assert record["total_mw"] is not None or any("total power is unknown" in text for text in record["warnings"])
    assert all(set(rail) == {"mw", "mean_mw", "max_mw"} for rail in record["rails"].values())
    assert all(core is None or set(core) == {"load", "mhz"} for core in record["cpu"])
    assert set(record["gpu"]) == set(record["emc"]) == {"load", "mhz"}
    for load in [record["gpu"]["load"], record["emc"]["load"], *(core["load"] for core in record["cpu"] if core)]:
        assert load is None or 0 <= load <= 100
    return text


PIECES = [word for line in LINES for word in line.split()] + [
    "[", "]", "(", ")", "@", "/", "%", "mW", "-", "nan", "inf", "1e999", "9" * 40, "CPU [", "\0", "\u2028", "٣/٣",
    "\ud800",
]  # fmt: skip


def mutated(line, chance):
    """A line with one to four things wrong with it."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(line) + 1)
        until = min(len(line), at + chance.choice((1, 1, 2, 8, 60)))
        line = chance.choice(
            (
                line[:at] + line[until:],
                line[:at] + chance.choice(PIECES) + line[at:],
                line[:at] + line[at:until] * chance.choice((2, 3, 50)) + line[until:],
                line[:at] + " " + line[at:],
                line[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0x110000)))) + line[at:],
                line[:at] + chance.choice(LINES)[at:],
                line[:at],
            )
        )
    return line


class TestFuzz:
    @pytest.mark.parametrize("line", LINES)
    def test_real_lines_hold_what_any_line_does(self, line):
        check(line)

    def test_lines_with_something_wrong(self):
        chance = random.Random(0)
        for _ in range(FUZZ_LINES):
            line = mutated(chance.choice(LINES), chance)
            assert check(line), line

    @given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["", " ", "  "]))
    def test_words_in_any_order(self, words, between):
        check(between.join(words))

    @given(st.text(max_size=300))
    def test_any_text(self, text):
        check(text)

    @given(st.sampled_from(LINES), st.integers(0, 700), st.integers(0, 700))
    def test_pieces_of_real_lines(self, line, first, last):
        check(line[first:last])

    @pytest.mark.parametrize(
        "piece", ["[", "(", "[(", "CPU [", "NC 0/0 ", "a@1C ", "9", "@", "MTS ", "RAM 1/1MB (", "-"]
    )
    def test_a_line_made_to_be_slow_comes_back(self, piece):
        check(piece * 20000)


class TestCommand:
    def run(self, *arguments, data=b""):
        return subprocess.run(
            [sys.executable, "-m", "edgesynth_agent", "tegrastats", *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )

    def test_a_file_keeps_the_times_of_its_lines(self, capsys):
        assert main(["tegrastats", str(DATA / "orin-agx-r36.4.4.log")]) == 0
        out, err = capsys.readouterr()
        records = [json.loads(line) for line in out.splitlines()]
        assert [record["total_mw"] for record in records] == [8726, 8626, 8726]
        assert [record["t"] - records[0]["t"] for record in records] == [0, 1, 2]
        assert err == ""

    @pytest.mark.parametrize("arguments", [(), ("-",)])
    def test_stdin_is_stamped_by_this_machines_clock(self, arguments):
        begin_s = time.monotonic()
        done = self.run(*arguments, data=(DATA / "orin-agx-r36.4.4.log").read_bytes())
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert [record["total_mw"] for record in records] == [8726, 8626, 8726]
        assert begin_s <= records[0]["t"] <= records[1]["t"] <= records[2]["t"] <= time.monotonic()
        assert records[0]["other"]["time"] == "05-09-2026 18:42:06"

    def test_each_line_comes_out_as_it_goes_in(self):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgesynth_agent", "tegrastats"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with process:
            for line in LINES[:3]:
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["rails"]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130

    def test_bytes_that_are_no_text_and_a_last_line_without_an_end(self):
        done = self.run(data=b"\xff\xfe VDD_IN 5000/5000\r\n\nVDD_IN 6000/6000")
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert [record["total_mw"] for record in records] == [5000, None, 6000]
        assert (done.returncode, done.stderr) == (0, b"")

    def test_a_missing_file_is_one_line_and_bad_input(self, tmp_path):
        done = self.run(str(tmp_path / "nowhere.log"))
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"nowhere.log: No such file or directory; name a file" in done.stderr

    def test_a_reader_who_has_seen_enough_is_no_error(self):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgesynth_agent", "tegrastats"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        process.stdin.write(b"VDD_IN 5000/5000\n")
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
        process.stderr.close()

    def test_a_full_disk_is_told(self):
        need(Path("/dev/full").exists(), "/dev/full, which Linux has")
        with Path("/dev/full").open("wb") as full:
            process = subprocess.run(
                [sys.executable, "-m", "edgesynth_agent", "tegrastats", str(DATA / "tx1-datadog.log")],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
                timeout=60,
            )
        assert process.returncode == 3
        assert process.stderr.count(b"\n") == 1

    def test_prints_what_the_parser_says(self):
        for path in sorted(DATA.glob("*.log")):
            done = subprocess.run(
                [sys.executable, "-m", "edgesynth_agent", "tegrastats", str(path)],
                env={"PYTHONPATH": str(Path(edgesynth_agent.__file__).parent.parent)},
                stdout=subprocess.PIPE,
                check=True,
                timeout=60,
            )
            records = [json.loads(line) for line in done.stdout.splitlines()]
            assert records == [parse_line(line) for line in path.read_text().splitlines()]
