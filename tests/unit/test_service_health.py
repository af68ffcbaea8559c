"""What a server says of its queue."""

from service.health import OneAtATime


def test_a_queue_that_is_being_asked_is_not_asked_again() -> None:
    told: list[dict[str, object]] = []

    def ask() -> dict[str, object]:
        if len(told) == 1:
            told.append(state())  # another caller comes while this one waits
        return {"asked": len(told)}

    state = OneAtATime(ask)
    told.append(state())
    told.append(state())

    assert told == [{"asked": 0}, {"asked": 0}, {"asked": 2}]
