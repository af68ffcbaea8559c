"""A package, since a dependency brings a package of that name, too."""
