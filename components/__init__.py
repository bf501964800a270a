"""Plain Python, without Prefect: everything that a run does."""

if __name__ != "ratchet.components":
    raise ImportError("the package is ratchet.components; under another name its modules would be loaded twice. Import that.")
