"""Small sweeps for tests, and an executor that needs no other process."""

from concurrent.futures import Future
from contextlib import nullcontext

TRACE = "job_id,submit_ms,run_ms,gpus,queue\n" + "".join(
    f"j{i},{i * 37},{100 + i * 53 % 900},{1 + i % 8},{'ab'[i % 2]}\n" for i in range(60)
)


def write(folder, grid, more="", base=""):
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(TRACE)
    (folder / "sweep.yaml").write_text(
        f"rehearse_sweep: 1\nbase: {{rehearse_scenario: 1, trace: t.csv, cluster: 4x8{base}}}\ngrid: {grid}\n" + more
    )
    return folder / "sweep.yaml"


class Here:
    """An executor that works in this process when it is asked."""

    def __init__(self, before=lambda job: None):
        self.before = before

    def submit(self, function, job):
        future = Future()
        try:
            self.before(job)
            future.set_result(function(job))
        except Exception as error:
            future.set_exception(error)
        return future


def here(before=lambda job: None):
    return lambda: nullcontext(Here(before))
