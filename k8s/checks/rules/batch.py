"""How bulk scoring is divided and tried again."""

import re
from collections.abc import Iterator

from k8s.checks.builds import Build
from k8s.checks.environment import environment
from k8s.checks.manifest import Manifest, pods
from k8s.checks.rules.rule import rules

HOPELESS = 42
"""Exit status of `brainmri score` when trying again changes nothing."""


def shares_of_indexed_jobs(build: Build) -> Iterator[str]:
    """Each index scores its own share, and there are as many shares as indexes."""
    for job in _scoring(build):
        arguments = job.spec["template"]["spec"]["containers"][0]["args"]
        if job.spec.get("completionMode") != "Indexed":
            yield f"{job} must be Indexed"
        if _after("--shard-index", arguments) != "$(JOB_COMPLETION_INDEX)":
            yield f"{job} must take --shard-index from JOB_COMPLETION_INDEX"
        if _after("--num-shards", arguments) != str(job.spec.get("completions")):
            yield f"{job} must have as many --num-shards as completions"
        if "--resume" not in arguments:
            yield f"{job} must continue with --resume what an earlier pod began"


def retries_by_index(build: Build) -> Iterator[str]:
    """A share that cannot succeed fails alone; a drained node is no failure; a wrong call fails all at once."""
    for job in _scoring(build):
        rules_of_job = job.spec.get("podFailurePolicy", {}).get("rules", ())
        actions = {
            (rule["action"], value)
            for rule in rules_of_job
            for value in rule.get("onExitCodes", {}).get("values", ["disruption"])
        }
        if not {("FailIndex", HOPELESS), ("FailJob", 2), ("Ignore", "disruption")} <= actions:
            yield f"{job} must fail the index on {HOPELESS}, the job on 2, and ignore disruptions"
        if "backoffLimitPerIndex" not in job.spec:
            yield f"{job} must have a backoffLimitPerIndex"
        if job.spec["template"]["spec"].get("restartPolicy") != "Never":
            yield f"{job} must have restartPolicy Never, or its podFailurePolicy is refused"


def actors_of_ray(build: Build) -> Iterator[str]:
    """There are as many actors as workers, and each has the CPUs of a worker, which the command on the head sets."""
    for job in build.of_kind("RayJob"):
        workers = sum(group["replicas"] for group in job.spec["rayClusterSpec"]["workerGroupSpecs"])
        asked = re.search(r"--actors (\d+)", job.spec["entrypoint"])
        if asked is None or int(asked[1]) != workers:
            yield f"{job} must ask for as many actors as there are workers, {workers}"
        head, *groups = (pod.main[0] for pod in pods(job))
        cpus = {str(worker["resources"]["limits"]["cpu"]) for worker in groups}
        told = environment(build, head)
        for name in ("BRAINMRI_THREADS", "BRAINMRI_DECODE_WORKERS"):
            if {told.get(name)} != cpus:
                yield f"{name} of the head of {job} must be the CPU limit of a worker, {', '.join(sorted(cpus))}"


def _scoring(build: Build) -> Iterator[Manifest]:
    return (job for job in build.of_kind("Job") if job.name == "brainmri-score")


def _after(flag: str, arguments: list[str]) -> str | None:
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


RULES = rules(
    {
        "shares-of-indexed-jobs": shares_of_indexed_jobs,
        "retries-by-index": retries_by_index,
        "actors-of-ray": actors_of_ray,
    }
)
