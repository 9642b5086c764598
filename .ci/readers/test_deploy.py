"""The deployment files in docs/deploy, read by the programs that they are for, or by their schemas and parsers.

Kubernetes: the project's own OpenAPI schemas, strict, so that a misspelt key is an error. The official client would do less:
its models drop unknown keys silently.
"""

import json
import re
import shlex
import shutil
import subprocess
import zoneinfo

import kubernetes_validate
import pytest
import yaml
from crontab import CronSlices, CronTab
from dockerfile_parse import DockerfileParser
from packaging.version import Version

from lakes import ROOT

DEPLOY = ROOT / "docs/deploy"
# After these exit codes of `run` someone must act; after all others the same command continues.
ACT, CONTINUE = {2, 3, 4}, {1, 5, 6, 130, 143}
INSTRUCTIONS = set("""ADD ARG CMD COMMENT COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER
    VOLUME WORKDIR""".split())
# The schemas since 1.31 hold all that the file uses.
KUBERNETES = sorted({version for version in kubernetes_validate.utils.all_versions() if Version(version) >= Version("1.31")})


# systemd

def unit_values(unit, key):
    """The values of a key in a unit file."""
    text = (DEPLOY / unit).read_text().replace("\\\n", " ")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def units(backlake, tmp_path):
    """Copies of the units that start the binary under test."""
    for name in ("backlake.service", "backlake.timer"):
        shutil.copy(DEPLOY / name, tmp_path)
    service = tmp_path / "backlake.service"
    text = service.read_text()
    assert text.count("\nExecStart=/usr/local/bin/backlake ") == 1
    service.write_text(text.replace("ExecStart=/usr/local/bin/backlake ", f"ExecStart={backlake.binary} "))
    return [service, tmp_path / "backlake.timer"]


def test_systemd_finds_nothing_wrong_with_the_units(units):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    # Unknown keys and bad values are only warned about.
    assert done.returncode == 0 and done.stdout + done.stderr == "", done.stdout + done.stderr


def test_systemd_finds_what_is_wrong_with_a_unit(units):
    units[0].write_text(units[0].read_text() + "TimeoutStopSecs=90\n")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    assert "TimeoutStopSecs" in done.stderr


def test_systemd_fails_only_after_codes_that_need_someone():
    success, = unit_values("backlake.service", "SuccessExitStatus")
    assert set(map(int, success.split())) == CONTINUE


# cron

@pytest.fixture
def job():
    """The only job of the crontab."""
    lines = [line for line in (DEPLOY / "backlake.cron").read_text().splitlines() if line and not line.startswith("#")]
    variables = [line for line in lines if re.match(r"[A-Z_]+=", line)]
    # A system crontab: each job names its user. A line that cannot be read is no job.
    jobs = [job for job in CronTab(tabfile=str(DEPLOY / "backlake.cron"), user=False) if job.is_enabled()]
    assert len(jobs) == len(lines) - len(variables) == 1, lines
    assert (DEPLOY / "backlake.cron").read_text().endswith("\n"), "cron ignores a last line without an end"
    return jobs[0]


def test_cron_reads_the_job_its_user_and_its_variables(job):
    assert job.is_valid() and job.user == "backlake"
    assert {"DATAFORSEO_LOGIN", "DATAFORSEO_PASSWORD_FILE"} <= set(job.env.keys())
    assert job.stdin is None, "cron ends a command at a % that is not escaped"


@pytest.mark.parametrize("code", [0, *sorted(ACT | CONTINUE)])
def test_cron_sends_mail_only_after_codes_that_need_someone(job, tmp_path, code):
    binary = tmp_path / "backlake"
    binary.write_text(f"#!/bin/sh\necho report\necho log >&2\nexit {code}\n")
    binary.chmod(0o755)
    command = job.command.replace("/usr/local/bin/backlake", str(binary))
    command = re.sub(r"/srv/backlake|/var/log/backlake", str(tmp_path), command)
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert bool(done.stdout + done.stderr) == (code in ACT), done
    assert (tmp_path / "run.log").read_text() == "report\nlog\n"


# Kubernetes

@pytest.fixture
def cronjob():
    resource, = yaml.safe_load_all((DEPLOY / "cronjob.yaml").read_text())
    assert (resource["apiVersion"], resource["kind"]) == ("batch/v1", "CronJob")
    return resource


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_cronjob_keeps_the_schema_of_kubernetes(cronjob, version):
    kubernetes_validate.validate(cronjob, version, strict=True)


def test_the_schema_of_kubernetes_finds_a_misspelt_key(cronjob):
    job = cronjob["spec"]["jobTemplate"]["spec"]
    job["backoffLimits"] = job.pop("backoffLimit")
    with pytest.raises(kubernetes_validate.ValidationError, match="backoffLimits"):
        kubernetes_validate.validate(cronjob, KUBERNETES[-1], strict=True)


def test_the_cronjob_keeps_the_rules_that_no_schema_holds(cronjob):
    spec = cronjob["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]
    assert CronSlices.is_valid(spec["schedule"]) and spec["timeZone"] in zoneinfo.available_timezones()
    assert spec["concurrencyPolicy"] == "Forbid"
    # The API server accepts a podFailurePolicy with no other restartPolicy.
    assert pod["restartPolicy"] == "Never"
    assert {rule["action"] for rule in job["podFailurePolicy"]["rules"]} <= {"FailJob", "FailIndex", "Ignore", "Count"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} == volumes


def test_the_cronjob_fails_at_once_after_codes_that_need_someone(cronjob):
    rules = cronjob["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    codes, = (rule["onExitCodes"] for rule in rules if rule["action"] == "FailJob")
    assert codes["operator"] == "In" and set(codes["values"]) == ACT


# Docker

@pytest.fixture
def dockerfile():
    """The Dockerfile's instructions."""
    with (DEPLOY / "Dockerfile").open("rb") as file:
        steps = DockerfileParser(fileobj=file).structure
    assert {step["instruction"] for step in steps} <= INSTRUCTIONS, steps
    return steps


@pytest.fixture
def image(dockerfile):
    """The last value of each instruction in the Dockerfile's last stage."""
    last = max(at for at, step in enumerate(dockerfile) if step["instruction"] == "FROM")
    return {step["instruction"]: step["value"] for step in dockerfile[last:]}


def test_the_image_runs_backlake(image):
    assert json.loads(image["ENTRYPOINT"]) == ["backlake"] and "CMD" not in image
    assert image["COPY"].endswith(" /usr/local/bin/backlake")


def test_the_image_does_not_run_as_root(image, cronjob):
    # Kubernetes can only check a user that is a number.
    user = int(image["USER"].split(":")[0])
    context = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"]
    assert user > 0 and context["runAsNonRoot"] and context["runAsUser"] == user


def test_everything_that_the_image_copies_exists(dockerfile):
    copies = [step["value"].split() for step in dockerfile if step["instruction"] == "COPY"]
    sources = [source for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]]
    assert sources and all((ROOT / source).exists() for source in sources), sources


# The commands

def test_every_flag_of_the_commands_exists(backlake, job, cronjob):
    start, = unit_values("backlake.service", "ExecStart")
    container, = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    in_cron, = re.findall(r"/usr/local/bin/backlake ([^>;]*)", job.command)
    for args in [shlex.split(start)[1:], shlex.split(in_cron), container["args"]]:
        assert args[0] == "run", args
        known = re.findall(r"--[a-z-]+", backlake("run", "--help"))
        assert {arg for arg in args if arg.startswith("--")} <= set(known), args
