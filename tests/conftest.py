"""Tests pass wherever they are started: in a shell's background job, which ignores SIGINT, and on a machine that other
work has slowed down, where Hypothesis would take slow draws for a fault of the test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("slow machine")
