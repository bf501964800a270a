"""A user's function as a reward or grader: it runs in a process of its own, with limits, and its failures are faults of calls.

This is no sandbox against malice: the process has the user's rights on files and network.
"""

import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.errors import RatchetError, RecipeError, RewardError
from ratchet.components.graders.faults import FaultError, kind_of
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.response import sample_of
from ratchet.components.graders.worker.printed import Printed
from ratchet.components.graders.worker.process import Process
from ratchet.components.recipe import Limits
from ratchet.components.storage.home import project_root
from ratchet.components.text import visible

SECONDS_TO_LOAD = 300.0  # for importing the user's module: torch alone takes ten on a busy machine


class Worker:
    """A user's function in a long-lived process, started by the first call and again after each death.

    Args:
        target: ``module:function``, or ``path/to/file.py:function`` from the project's root.
        adapter: ``module:name`` of our code, imported in the process alone; see ``protocols.serve``.
        options: JSON for the adapter.
        environment: names of variables that the function needs besides the usual ones.
        key: the recipe's key that names the function, for messages.
        schema: of ``sample.output_json``, as JSON; calls then have the sample.
    """

    def __init__(
        self,
        target: str,
        limits: Limits,
        *,
        adapter: str,
        options: Mapping[str, Any] | None = None,
        environment: Sequence[str] = (),
        key: str = "reward.function",
        schema: str | None = None,
    ) -> None:
        self.target, self.limits, self.key = target, limits, key
        self._root = str(project_root())
        self._settings = {"target": target, "adapter": adapter, "options": dict(options or {})}
        self._environment, self._schema = tuple(environment), schema
        self._process: Process | None = None
        self._at_exit: weakref.finalize[..., Worker] | None = None
        self._hello: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._printed = Printed(target)
        weakref.finalize(self, self._printed.end)  # also at exit

    def start(self) -> Mapping[str, Any]:
        """Load the function, if it is not loaded; what the adapter says of it.

        Raises:
            RecipeError: if the function cannot be imported.
            RewardError: if importing it ends or breaks the process, or its signature is not the protocol's.
        """
        with self._lock:
            self._started()
            return dict(self._hello["facts"])

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        """One grade per completion; those at fault have none, and say why.

        Raises:
            FaultError: if the call failed as a whole.
        """
        calls = [self._call(*one) for one in zip(prompts, completions, rows, strict=True)]
        with self._lock:
            process = self._started()
            if self._hello["batch"]:
                return self._ask(process, calls)
            return [self._alone(call) for call in calls]

    def _call(self, prompt: str, completion: str, row: Mapping[str, Any]) -> dict[str, Any]:
        sample = {} if self._schema is None else {"sample": sample_of(completion, self._schema)}
        return {"prompt": prompt, "completion": completion, "row": dict(row), **sample}

    def _alone(self, call: Mapping[str, Any]) -> Grade:
        try:
            return self._ask(self._started(), [call])[0]
        except FaultError as fault:
            return Grade(None, {}, fault=fault.kind, reason=str(fault))

    def _ask(self, process: Process, calls: Sequence[Mapping[str, Any]]) -> list[Grade]:
        try:
            reply = process.ask(_line(calls), self.limits.seconds)
        except BaseException:  # Ctrl-C too: the process has ended
            self._process = None
            raise
        if "fault" in reply:
            raise self._fault(reply)
        grades = reply.get("grades")
        if not isinstance(grades, list) or len(grades) != len(calls):
            raise FaultError("protocol", "its process gave no grades")
        return [self._grade(grade) for grade in grades]

    def _grade(self, grade: Mapping[str, Any]) -> Grade:
        if "fault" in grade:
            fault = self._fault(grade)
            return Grade(None, {}, fault=fault.kind, reason=str(fault))
        return Grade(**{"parts": {}, **grade, "reason": visible(grade.get("reason", ""))})

    def _fault(self, reply: Mapping[str, Any]) -> FaultError:
        return FaultError(kind_of(reply["fault"]), str(reply["reason"]))

    def _started(self) -> Process:
        if self._process is not None:
            return self._process
        process = Process(self._root, self.limits.model_dump(mode="json"), self._environment, self._printed.show)
        before, self._at_exit = self._at_exit, weakref.finalize(self, process.end)  # also at exit
        if before is not None:
            before.detach()  # it would keep the process before, which has ended
        try:
            hello = process.ask(_line(self._settings), SECONDS_TO_LOAD)
        except FaultError as fault:
            raise RewardError(f"{self.key} {self.target!r} cannot be imported: {fault}. {REMEDY}") from fault
        if "failed" in hello:
            process.end()
            raise self._not_loaded(hello)
        process.loaded()
        self._process, self._hello = process, hello
        return process

    def _not_loaded(self, hello: Mapping[str, Any]) -> RatchetError:
        message = visible(str(hello["failed"]))
        if hello["class"] == "RewardError":
            return RewardError(f"{self.key} {self.target!r}: {message}")
        if hello["class"] == "exit":
            return RewardError(f"{self.key} {self.target!r} cannot be imported: its module raised {message}. {REMEDY}")
        if hello["class"] in REMEDIES:
            return RecipeError(f"{self.key} {self.target!r} cannot be imported: {message}. {REMEDIES[hello['class']]}")
        return RecipeError(f"{self.key} {self.target!r}: {message}")

    def close(self) -> None:
        """End the process, and every process that the function left."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None
            self._printed.end()


def _line(value: object) -> bytes:
    return json.dumps(value, default=str).encode() + b"\n"


REMEDIES = {
    "name": "Write module:function, or path/to/file.py:function.",
    "syntax": "Correct the file.",
    "absent": "Install the module, or correct the name; the function is module:function, or path/to/file.py:function.",
    "raised": "Correct the module.",
}
REMEDY = 'Move code that does work or ends the process below `if __name__ == "__main__":`.'
