"""What a run says of where it was made: the code, and others' share of the processors."""

import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import pytest

from mcpcore_bench.method.machine import STAT, OtherWork, described, machine

TICKS = os.sysconf("SC_CLK_TCK")
BURN = "import time\nwhile time.process_time() < 0.3: pass"


def told(stat: Path, **seconds: float) -> None:
    """Have the kernel say that processors have spent so much, since it began, on what."""
    names = "user nice system idle iowait irq softirq steal guest guest_nice"
    ticks = " ".join(str(int(1000 + seconds.get(name, 0.0) * TICKS)) for name in names.split())
    stat.write_text(f"cpu  {ticks}\ncpu0 {ticks}\nintr 5\n")


@pytest.mark.parametrize("kind", ["user", "nice", "system"])
def test_what_others_take_is_a_share_of_the_time(kind: str, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    told(stat)
    before = time.monotonic()
    work = OtherWork(stat)
    after = time.monotonic()
    told(stat, **{kind: 1000.0})
    least = time.monotonic() - after
    share = work.share()
    most = time.monotonic() - before
    assert share is not None
    assert 990 / most <= share <= 1000 / least


@pytest.mark.parametrize("kind", ["idle", "iowait", "irq", "softirq", "steal", "guest"])
def test_what_no_process_has_worked_is_not_of_others(kind: str, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    told(stat)
    work = OtherWork(stat)
    told(stat, **{kind: 1000.0})
    assert work.share() == 0


def test_what_our_children_have_worked_is_not_of_others(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    told(stat)
    work, before = OtherWork(stat), os.times()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    now = os.times()
    took = now.children_user + now.children_system - before.children_user - before.children_system
    assert took > 0.2
    told(stat, user=took)
    assert work.share() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("text", [None, "", "cpu x 1 2\n", "nothing like it\n"])
def test_a_kernel_that_does_not_tell(text: str | None, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    work = OtherWork(stat)
    assert work.share() is None
    told(stat)
    assert work.share() is None


@pytest.mark.skipif(not STAT.exists(), reason="needs /proc/stat")
def test_this_machine_tells() -> None:
    share = OtherWork().share()
    assert share is not None
    assert share >= 0


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *settings, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if which("git") is None:
        pytest.skip("needs git")
    git(tmp_path, "init", "-q")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("VALUE = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_run_says_of_which_commit_it_is(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    facts = machine({}, checkout)
    assert (facts.commit, facts.changed) == (commit, False)
    assert f"our code: commit {commit[:12]}" in described(facts)
    (checkout / "run.json").write_text("{}")
    assert not machine({}, checkout).changed  # what nobody has added is no code
    (checkout / "package" / "module.py").write_text("VALUE = 2\n")
    facts = machine({}, checkout)
    assert (facts.commit, facts.changed) == (commit, True)
    assert f"our code: commit {commit[:12]}, with changes" in described(facts)


@pytest.mark.parametrize("folder", ["package", ".."])
def test_what_is_no_checkout_has_no_commit(folder: str, checkout: Path) -> None:
    """Neither has what lies within the checkout of something else, as an installed package does."""
    facts = machine({}, checkout / folder)
    assert (facts.commit, facts.changed, facts.code) == (None, False, None)
    assert not any("our code" in line for line in described(facts))
