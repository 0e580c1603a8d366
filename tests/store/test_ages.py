"""The record of what entries were worth when they went."""

from hypothesis import given
from hypothesis import strategies as st

from paretune.store._ages import MOST, Ages
from tests.store.faults import folder


def ages(root):
    (root / "making").mkdir()
    return Ages(root / "ages", root / "making")


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e6)), max_size=8))
def test_the_level_at_a_time_is_the_most_that_had_gone_by_then(went):
    with folder() as root:
        kept = ages(root)
        for at, worth in went:
            kept.add(at, worth)
        level = kept.level()
        for at in {0.0, 5e8, 1e9, *(at for at, _ in went)}:
            assert level(at) == max((w for t, w in went if t <= at), default=0.0)


def test_a_long_record_forgets_only_what_went_before_all_that_is_left():
    with folder() as root:
        kept = ages(root)
        lines = [f"{float(n)!r} {n / 10!r}\n" for n in range(MOST + 1)]
        (root / "ages").write_text("".join(lines))
        before = kept.level()
        oldest = MOST - 99.5
        kept.trim(oldest)
        assert len((root / "ages").read_text().splitlines()) == 101
        after = kept.level()
        for at in (oldest, oldest + 10, MOST, MOST + 5.0):
            assert after(at) == before(at)
        assert not list((root / "making").iterdir())


def test_a_short_record_is_left_as_it_is():
    with folder() as root:
        kept = ages(root)
        kept.add(1.0, 2.0)
        kept.trim(5.0)
        assert (root / "ages").read_text() == "1.0 2.0\n"
