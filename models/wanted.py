"""Which models and versions an operator wants to serve; small, frozen, and the same in every process of a service."""

import msgspec


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What is wanted of one model.

    Attributes:
        pinned: The version that serves; None follows the newest one that can be made ready.
        unloaded: Nothing of it serves.
        since: The generation that it dates from; one that dates from later is followed anew, though it wants the same.
    """

    pinned: int | None = None
    unloaded: bool = False
    since: int = 0


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What is wanted of all models.

    Attributes:
        generation: One more with each change, so that the last one wins in whatever order processes hear of them.
        models: By name; a model that is not in here follows the newest version.
    """

    generation: int = 0
    models: dict[str, Wish] = {}

    def of(self, name: str) -> Wish:
        """What is wanted of a model."""
        return self.models.get(name, Wish())

    def changed(self, name: str, wish: Wish) -> "Wanted":
        """The next generation, in which this is wanted of a model."""
        since = self.generation + 1
        return Wanted(since, self.models | {name: msgspec.structs.replace(wish, since=since)})
