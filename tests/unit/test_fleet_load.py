"""`--cluster`: the form of what is given decides how it is read, and every way to fail is a `FleetError`."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from sim.fleet import load
from sim.fleet.load import builtin_fleet, load_fleet
from sim.fleet.model import FleetError

YAML = "rehearse_fleet: 1\npools: [{name: a, servers: 2, accelerator: T4, devices: 4}]\n"
LIST = "ip,DSW,PSW,ASW\nh1,G6,P10,S2\n"


def refusal(given):
    with pytest.raises(FleetError) as caught:
        load_fleet(str(given))
    return str(caught.value)


def test_the_demo_fleet_is_a_believable_bank():
    loaded = load_fleet("demo")
    fleet = loaded.fleet
    assert (loaded.source, loaded.sha256, fleet) == ("demo", None, builtin_fleet())
    assert (len(fleet.servers), fleet.devices) == (40, 304)
    assert fleet.devices_by_accelerator == {"nvidia-a100-sxm-80gb": 192, "ascend-910b3": 96, "nvidia-t4": 16}
    assert fleet.levels == ("leaf", "spine", "zone")
    assert {queue.cohort for queue in fleet.queues} == {"bank"}
    for accelerator, devices in fleet.devices_by_accelerator.items():
        assert sum(queue.nominal.get(accelerator, 0) for queue in fleet.queues) == devices


def test_shorthand_needs_no_file():
    loaded = load_fleet(" 3x8 ")
    assert (loaded.source, loaded.sha256, loaded.fleet.devices) == ("3x8", None, 24)


@pytest.mark.parametrize(("name", "text"), [("f.yaml", YAML), ("topo.csv", LIST), ("no-suffix", LIST)])
def test_a_file_by_its_content_plain_and_compressed(tmp_path, name, text):
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    first, second = load_fleet(str(plain)), load_fleet(str(packed))
    assert first.fleet.servers == second.fleet.servers
    assert first.fleet.name == name
    assert first.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert second.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert first.source == str(plain)


def test_a_byte_order_mark_does_not_matter(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf" + YAML.encode())
    assert load_fleet(str(tmp_path / "f")).fleet.devices == 8


def test_an_absent_file_says_what_is_near_and_what_is_accepted(tmp_path):
    (tmp_path / "fleet.yaml").write_text(YAML)
    text = refusal(tmp_path / "flet.yaml")
    assert "there is no such file; did you mean 'fleet.yaml'?" in text
    assert "a shorthand such as 312x8" in text
    assert "Lingjun topology CSV" in text
    assert "did you mean 'demo'?" in refusal("dmeo")
    assert "nor is there a folder" in refusal(tmp_path / "a" / "b")


def test_wrong_contents(tmp_path):
    file = tmp_path / "f"

    def says(data):
        file.write_bytes(data)
        return refusal(file).removeprefix(f"{file}: ")

    assert says(b"rehearse_fleet: 1\nname: \xff") == "line 2: is not UTF-8 (0xff)"
    assert says("rehearse_fleet: 1".encode("utf-16")) == "line 1: is not UTF-8 (0xff)"
    assert says(gzip.compress(YAML.encode())[:30]).startswith("is a broken or truncated gzip file: ")
    assert says(b"\x1f\x8bnonsense").startswith("is a broken or truncated gzip file: ")
    assert says(b"").startswith(
        "2 problems:\n  must be a mapping that begins with `rehearse_fleet: 1`, but holds nothing"
    )
    assert "a cluster is a built-in name (demo)" in says(b"name,gpu\na,1\n")
    assert "a cluster is" not in says(b"rehearse_fleet: 1\n")


def test_unreadable_paths(tmp_path):
    assert refusal(tmp_path).endswith("is not a file")
    assert "cannot be read" in refusal("x" * 5000)
    assert "cluster: " in refusal("")
    assert refusal("a\0b")


def test_too_large_files_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "MAX_BYTES", 100)
    (tmp_path / "f").write_bytes(b"#" * 101)
    assert refusal(tmp_path / "f").endswith("has 101 bytes; a fleet has at most 100")
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"#" * 101))
    assert refusal(tmp_path / "f.gz").endswith("unpacks to more than 100 bytes")


def test_an_unknown_built_in_fleet():
    with pytest.raises(FleetError, match=r"there is no built-in fleet 'dem'; did you mean 'demo'\?"):
        builtin_fleet("dem")
