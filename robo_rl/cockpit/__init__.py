"""The page in a browser from which a person watches and moves a robot: its server, and the loop's end of it.

The loop's process (:class:`~robo_rl.cockpit.cockpit.Cockpit`) leaves the newest state and pictures in mailboxes and
never waits. The server (:mod:`robo_rl.cockpit.server`) is a process of its own; what a person does comes back over a
socket.
"""
