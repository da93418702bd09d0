import signal
import threading

import pytest

from didvit.training.stopping import SIGNALS, stopping_on_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_request_and_handlers_are_put_back(number):
    before = [signal.getsignal(other) for other in SIGNALS]
    with stopping_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
    assert stop.exit_code == 128 + number
    assert [signal.getsignal(other) for other in SIGNALS] == before


def test_a_second_interrupt_is_not_held_back():
    with stopping_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_where_another_process_heard_the_signal():
    with stopping_on_signals() as stop:
        assert not stop.is_set()
    assert stop.exit_code == 143


def test_another_thread_hears_nothing_and_changes_nothing():
    before, heard = [signal.getsignal(number) for number in SIGNALS], []

    def run():
        with stopping_on_signals() as stop:
            heard.append(([signal.getsignal(number) for number in SIGNALS], stop.is_set()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [(before, False)]
