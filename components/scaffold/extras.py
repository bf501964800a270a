"""The files of a project besides its recipe: tests, a workflow, a deployment."""

from importlib.resources import files

TESTS = "tests/test_graders.py"
WORKFLOW = ".github/workflows/ratchet.yml"
DEPLOYMENT = "prefect.yaml"
GRADERS = "graders.py"


def tests(with_references: bool) -> bytes:
    """Tests of the gold on rows of the project's data; without references, that an empty answer is wrong."""
    return _text("test_graders.py" if with_references else "test_graders_without_references.py")


def workflow() -> bytes:
    """GitHub's: the recipe's check and the tests, for each pull request."""
    return _text("workflow.yml")


def deployment(name: str) -> bytes:
    """Prefect's: a run per night by a work pool."""
    return _text("prefect.yaml").replace(b"{name}", name.encode())


def graders() -> bytes:
    """A function to start from, where the task is one's own."""
    return _text("graders.py")


def _text(name: str) -> bytes:
    return files(__package__).joinpath("texts", name).read_bytes()
