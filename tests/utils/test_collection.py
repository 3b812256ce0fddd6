"""What is loaded for good is kept from the collector, which works as before afterwards."""

import gc

import pytest

from portrait360.utils.collection import keep_for_good


@pytest.fixture
def thaw():
    yield
    gc.unfreeze()


def test_what_is_made_meanwhile_is_not_collected_again(thaw):
    before = gc.get_freeze_count()
    with keep_for_good():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


def test_the_collector_goes_on_after_an_error(thaw):
    with pytest.raises(ImportError), keep_for_good():
        raise ImportError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off(thaw):
    gc.disable()
    try:
        with keep_for_good():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
