"""The class of a machine, its libraries."""

from ratchet.components.code.machine import installed_libraries, machine_class


def test_the_machine_has_a_processor_and_the_recipes_threads() -> None:
    found = machine_class(3)
    assert found["threads"] == 3
    assert all(found[name] for name in ("system", "architecture", "processor", "kernels"))


def test_without_threads_in_the_recipe_torch_decides() -> None:
    assert machine_class(0)["threads"] >= 1


def test_libraries_are_those_that_decide_what_comes_out() -> None:
    assert {"python", "torch", "transformers", "numpy"} <= set(installed_libraries())
