"""Who holds control."""

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, floats, sampled_from

from robo_rl.cockpit.viewers import GRACE, PATIENCE, Viewers


def test_who_loads_the_page_anew_keeps_control():
    viewers = Viewers()
    viewers.enter("a", 0.0)
    viewers.enter("b", 0.0)
    viewers.leave("a", 1.0)
    viewers.tick(1.0 + GRACE / 2)
    assert viewers.enter("a", 1.0 + GRACE / 2) == "a"
    viewers.tick(100.0)
    assert viewers.holder == "a"


def test_who_is_gone_for_good_loses_it():
    viewers = Viewers()
    viewers.enter("a", 0.0)
    viewers.enter("b", 0.0)
    viewers.leave("a", 1.0)
    viewers.tick(1.1 + GRACE)
    assert viewers.holder == "b"


def test_control_is_asked_for_and_kept_or_given():
    viewers = Viewers()
    for name in "abc":
        viewers.enter(name, 0.0)
    viewers.ask("b", 1.0)
    viewers.answer("c", True)  # not theirs to give
    assert (viewers.holder, viewers.asking) == ("a", "b")
    viewers.answer("a", False)
    assert (viewers.holder, viewers.asking) == ("a", None)
    viewers.ask("c", 2.0)
    viewers.tick(2.1 + PATIENCE)
    assert viewers.holder == "c"


def test_one_who_asks_one_who_is_away_has_it_at_once():
    viewers = Viewers()
    viewers.enter("a", 0.0)
    viewers.enter("b", 0.0)
    viewers.leave("a", 1.0)
    viewers.ask("b", 1.5)
    assert viewers.holder == "b"


def test_a_copied_tab_gets_a_name_of_its_own():
    viewers = Viewers()
    assert viewers.enter("a", 0.0) == "a"
    other = viewers.enter("a", 0.0)
    assert other != "a"
    assert viewers.holder == "a"


class Coming(RuleBasedStateMachine):
    """Whoever comes, goes, asks and answers: one holds control, and it is somebody who is there or has just gone."""

    def __init__(self):
        super().__init__()
        self.viewers, self.now, self.gone = Viewers(), 0.0, {}

    @rule(name=sampled_from("abc"))
    def enter(self, name):
        if name not in self.viewers.present:
            self.viewers.enter(name, self.now)
            self.gone.pop(name, None)

    @rule(name=sampled_from("abc"))
    def leave(self, name):
        if name in self.viewers.present:
            self.viewers.leave(name, self.now)
            self.gone[name] = self.now

    @rule(name=sampled_from("abc"))
    def ask(self, name):
        self.viewers.ask(name, self.now)

    @rule(name=sampled_from("abc"), granted=booleans())
    def answer(self, name, granted):
        self.viewers.answer(name, granted)

    @rule(seconds=floats(0.0, 12.0))
    def wait(self, seconds):
        self.now += seconds
        self.viewers.tick(self.now)

    @invariant()
    def held_by_one_who_is_there(self):
        holder, present = self.viewers.holder, self.viewers.present
        self.viewers.tick(self.now)
        holder = self.viewers.holder
        if present:
            assert holder is not None
        if holder is not None and holder not in present:
            assert self.now - self.gone[holder] <= GRACE


TestComing = Coming.TestCase
TestComing.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
