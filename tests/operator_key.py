"""An API key that opens all there is, for tests that act as an operator."""

import hashlib
from pathlib import Path

SECRET = "nd_0a1b2c3d_the-operator-of-the-tests-and-of-nothing-else"
AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}


def key_file(folder: Path) -> dict[str, str]:
    """The setting of a service that lets the key in, whose file lies in a folder."""
    file = folder / "api-keys"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    file.write_text(f"0a1b2c3d operator forecast,jobs,admin sha256:{digest}\n")
    return {"NEXTDAY_API_KEYS_FILE": str(file)}
