"""A search with proposals ahead: each once, up to the limit, whatever goes wrong."""

import threading
import time

import pytest

from paretune.api import read_recipes
from paretune.catalog import recipe
from paretune.core.errors import RecipeError, StoreError
from paretune.core.worker import WorkFailed
from paretune.strategies.sweep import Sweep
from tests.searching import Filing, Free, search

LISTED = tuple(
    recipe([{"technique": "structured_pruning", "ratio": s / 10}]) for s in range(1, 7)
)
STRATEGIES = [Free(), Sweep(listed=LISTED)]


def steps(study):
    return [str(t.steps) for t in study.trials if t.number]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("slots", [1, 2])
def test_each_is_tried_once_up_to_the_limit(strategy, slots, tmp_path):
    workers = [Filing(tmp_path) for _ in range(slots)]
    study = search(tmp_path, strategy, workers, trials=6).run()
    assert [t.number for t in study.trials] == list(range(7))
    assert len(set(steps(study))) == 6


def test_a_list_ends_by_itself_and_is_run_up_to_a_limit(tmp_path):
    strategy = Sweep(listed=LISTED)
    some = search(tmp_path, strategy, [Filing(tmp_path)], trials=2)
    assert len(steps(some.run())) == 2
    some.course.store.release(some.course.lease)
    study = search(tmp_path, strategy, [Filing(tmp_path), Filing(tmp_path)]).run()
    assert sorted(steps(study)) == sorted(str(tuple(r.to_json())) for r in LISTED)


class Crashing(Filing):
    """Goes down over one recipe, and notes each time that it tries it."""

    def __init__(self, root, fatal) -> None:
        super().__init__(root)
        self.fatal, self.tries = fatal.to_json(), 0

    def do(self, operation, arguments, timeout_s=None):
        if arguments.get("steps") == self.fatal and arguments["judge"]:
            self.tries += 1
            raise WorkFailed("crash(SIGSEGV)", "worker-lost", "it fell.", lost=True)
        return super().do(operation, arguments)


def test_a_recipe_that_crashes_is_tried_three_times_and_the_others_go_on(tmp_path):
    workers = [Crashing(tmp_path, LISTED[1]), Crashing(tmp_path, LISTED[1])]
    study = search(tmp_path, Sweep(listed=LISTED), workers).run()
    states = [t.state for t in study.trials]
    assert sorted(states) == ["failed:crash(SIGSEGV)", *["ok"] * 6]
    assert sorted(w.tries for w in workers) == [0, 3]
    assert len(set(steps(study))) == 6


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_after_an_interrupt_each_is_still_tried_once(strategy, slots, tmp_path):
    def interrupt(kind, facts):
        if kind == "start" and facts["number"] == 3:
            raise KeyboardInterrupt

    workers = [Filing(tmp_path) for _ in range(slots)]
    cut = search(tmp_path, strategy, workers, trials=6, on_event=interrupt)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    assert len(steps(cut.course.study())) in (2, 3)
    cut.course.store.release(cut.course.lease)
    study = search(tmp_path, strategy, workers, trials=6).run()
    assert [t.number for t in study.trials] == list(range(7))
    assert all(t.ok for t in study.trials)
    assert len(set(steps(study))) == 6


def test_what_waits_when_the_time_is_up_is_never_begun(tmp_path):
    said = []
    strategy = Sweep(listed=LISTED)
    limited = search(
        tmp_path,
        strategy,
        [Slow(tmp_path), Slow(tmp_path)],
        seconds=0.6,
        on_event=lambda kind, facts: said.append(facts.get("what", "")),
    )
    study = limited.run()
    assert 0 < len(steps(study)) < 6
    assert all(t.ok for t in study.trials)
    assert len([what for what in said if "no longer fit" in what]) == 1
    assert not limited.course.store.running("s")


class Slow(Filing):
    """Takes its time over each recipe, and notes when."""

    spans = None

    def do(self, operation, arguments, timeout_s=None):
        begin = time.monotonic()
        told = super().do(operation, arguments)
        if operation == "realise" and arguments["judge"] and arguments["steps"]:
            time.sleep(0.3)
            if self.spans is not None:
                end = time.monotonic()
                self.spans.append((str(arguments["steps"][0]), begin, end))
        return told


def test_no_slot_waits_on_what_another_computes_while_there_is_other_work(tmp_path):
    """Three recipes share a beginning, and three another: two slots, one of each."""
    listed = tuple(
        recipe([*one.to_json(), {"technique": "fine_tuning", "epochs": epochs}])
        for one in LISTED[:2]
        for epochs in (1, 2, 3)
    )
    workers, spans = [Slow(tmp_path), Slow(tmp_path)], []
    for worker in workers:
        worker.spans = spans
    search(tmp_path, Sweep(listed=listed), workers).run()
    assert len(spans) == 6
    for share, begin, end in spans:
        others = [s for s in spans if s[0] == share and s[1] != begin]
        assert all(e <= begin or b >= end for _, b, e in others)
    one = [s for s in spans if s[0] == spans[0][0]]
    other = [s for s in spans if s not in one]
    assert any(b < end and e > begin for _, b, e in one for _, begin, end in other)


def test_another_search_that_took_the_study_over_ends_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr("paretune.search.BEAT_S", 0.1)
    said, begun = [], threading.Event()

    def hear(kind, facts):
        said.append(facts.get("what", ""))
        if kind == "start" and not begun.is_set():
            begun.set()
            store, old = losing.course.store, losing.course.lease
            store.release(old)
            store.acquire("s", "another")

    workers = [Slow(tmp_path), Slow(tmp_path)]
    losing = search(tmp_path, Sweep(listed=LISTED), workers, on_event=hear)
    with pytest.raises(StoreError, match="taken the study over"):
        losing.run()
    assert len(losing.course.store.trials("s")) == 1  # the baseline


def test_choices_in_a_file_of_recipes_are_expanded(tmp_path):
    path = tmp_path / "recipes.yaml"
    path.write_text(
        "- - {technique: structured_pruning, ratio: {choice: [0.3, 0.5]}}\n"
        "- recipe: [{technique: structured_pruning, ratio: 0.5}]\n"
    )
    assert [r.steps[0].ratio for r in read_recipes(path)] == [0.3, 0.5]
    path.write_text("- - {technique: structured_pruning, ratio: {real: [0.3, 0.5]}}\n")
    with pytest.raises(RecipeError, match="expanded"):
        read_recipes(path)
