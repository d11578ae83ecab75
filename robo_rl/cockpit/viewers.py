"""Who of those who look at the page holds control."""

from __future__ import annotations

from dataclasses import dataclass

GRACE = 3.0
"""Seconds for which control is kept for a page that is gone: it is being loaded anew."""

PATIENCE = 10.0
"""Seconds after which one who asks for control and gets no answer from its holder is given it."""


@dataclass
class Viewer:
    """One who looks at the page.

    Attributes:
        name: that the page gave itself, which it keeps when it is loaded anew.
        connected: whether it is there.
        gone: when it was lost, s.
    """

    name: str
    connected: bool = True
    gone: float = 0.0


class Viewers:
    """Decides who holds control: the first who comes; others watch, and may ask for it.

    Whoever loads the page anew keeps it. Whoever is gone for longer than :data:`GRACE`, or does not answer one who asks
    within :data:`PATIENCE`, loses it. Times are told from outside, in seconds of one clock.

    Attributes:
        holder: name of who holds control, None if nobody does.
        asking: name of who asks for it, None if nobody does.

    Example:
        >>> viewers = Viewers()
        >>> viewers.enter("ann", 0.0), viewers.enter("bob", 1.0), viewers.holder
        ('ann', 'bob', 'ann')
        >>> viewers.ask("bob", 2.0); viewers.answer("ann", True); viewers.holder
        'bob'
    """

    def __init__(self) -> None:
        self._viewers: dict[str, Viewer] = {}
        self._asked = 0.0
        self.holder: str | None = None
        self.asking: str | None = None

    @property
    def present(self) -> list[str]:
        """Names of those who are there."""
        return [viewer.name for viewer in self._viewers.values() if viewer.connected]

    def enter(self, name: str, now: float) -> str:
        """Let somebody in; return the name they go by, which is another one if theirs is taken."""
        self.tick(now)
        known = self._viewers.get(name)
        if known is not None and known.connected:  # a copy of a tab takes its name along
            number = 2
            while f"{name}-{number}" in self._viewers:
                number += 1
            name = f"{name}-{number}"
        self._viewers[name] = Viewer(name)
        if self.holder is None:
            self.holder = name
        return name

    def leave(self, name: str, now: float) -> None:
        """Somebody is gone."""
        if name in self._viewers:
            self._viewers[name].connected, self._viewers[name].gone = False, now
        if self.asking == name:
            self.asking = None

    def ask(self, name: str, now: float) -> None:
        """Somebody asks for control, and has it at once if nobody is there who holds it."""
        self.tick(now)
        if name == self.holder or name not in self.present:
            return
        if self.holder is None or not self._viewers[self.holder].connected:
            self.holder, self.asking = name, None
        elif self.asking is None:
            self.asking, self._asked = name, now

    def answer(self, name: str, granted: bool) -> None:
        """The holder answers; from others it means nothing."""
        if name == self.holder and self.asking is not None:
            if granted:
                self.holder = self.asking
            self.asking = None

    def tick(self, now: float) -> None:
        """Let time pass."""
        for viewer in [each for each in self._viewers.values() if not each.connected and now - each.gone > GRACE]:
            del self._viewers[viewer.name]
            if self.holder == viewer.name:
                self.holder = self.asking
                self.asking = None
        if self.asking is not None and now - self._asked > PATIENCE:
            self.holder, self.asking = self.asking, None
        if self.holder is None and self.present:
            self.holder = self.present[0]
