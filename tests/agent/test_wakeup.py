"""What ends a wait of the control loop."""

from __future__ import annotations

import socket
import threading

from modelfleet_agent.supervisor.wakeup import Wakeup


def test_a_set_before_the_wait_ends_it_once() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    wakeup.wait(60)
    wakeup.wait(0.001)  # nothing is left of the two
    wakeup.close()


def test_a_set_from_another_thread_ends_it() -> None:
    wakeup = Wakeup()
    threading.Timer(0.02, wakeup.set).start()
    wakeup.wait(60)
    wakeup.close()


def test_a_hangup_ends_it() -> None:
    wakeup = Wakeup()
    ours, theirs = socket.socketpair()
    threading.Timer(0.02, theirs.close).start()
    with ours:
        wakeup.wait(60, ours.fileno())
    wakeup.close()


def test_time_ends_it_with_an_open_socket() -> None:
    wakeup = Wakeup()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wakeup.wait(0.001, ours.fileno())
    wakeup.close()
