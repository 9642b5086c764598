"""The deployment files in docs/deploy, read by the programs that they are for, or by their schemas and parsers.

Kubernetes: the project's own OpenAPI schemas, strict, so that a misspelt key is an error. The official client would do less:
its models drop unknown keys silently.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types
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

UNITS = ["backlake.service", "backlake.timer", "backlake-status.service", "backlake-status.timer"]


def unit_values(unit, key):
    """The values of a key in a unit file."""
    text = (DEPLOY / unit).read_text().replace("\\\n", " ")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def units(backlake, tmp_path):
    """Copies of the units that start the binary under test."""
    copies = [pathlib.Path(shutil.copy(DEPLOY / name, tmp_path)) for name in UNITS]
    for service in (copy for copy in copies if copy.suffix == ".service"):
        text = service.read_text()
        assert text.count("\nExecStart=/usr/local/bin/backlake ") == 1
        service.write_text(text.replace("ExecStart=/usr/local/bin/backlake ", f"ExecStart={backlake.binary} "))
    return copies


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
def jobs():
    """The jobs of the crontab: the night and the morning."""
    lines = [line for line in (DEPLOY / "backlake.cron").read_text().splitlines() if line and not line.startswith("#")]
    variables = [line for line in lines if re.match(r"[A-Z_]+=", line)]
    # A system crontab: each job names its user. A line that cannot be read is no job.
    jobs = [job for job in CronTab(tabfile=str(DEPLOY / "backlake.cron"), user=False) if job.is_enabled()]
    assert len(jobs) == len(lines) - len(variables) == 2, lines
    assert (DEPLOY / "backlake.cron").read_text().endswith("\n"), "cron ignores a last line without an end"
    return jobs


def test_cron_reads_the_jobs_their_user_and_their_variables(jobs):
    for job in jobs:
        assert job.is_valid() and job.user == "backlake"
        assert job.stdin is None, "cron ends a command at a % that is not escaped"
    # The parser keeps them with the first job; for cron they hold from where they stand.
    assert {"DATAFORSEO_LOGIN", "DATAFORSEO_PASSWORD_FILE"} <= set(jobs[0].env.keys())


def run_job(job, folder, code):
    """Runs a job with a program that ends with this code; returns what cron would mail, and what is in the system log."""
    for name, text in [("backlake", f"echo report\necho log >&2\nexit {code}"), ("logger", f"cat >{folder}/syslog")]:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    command = job.command.replace("/usr/local/bin/backlake", str(folder / "backlake")).replace("/srv/backlake", str(folder))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60,
                          env={"PATH": f"{folder}:/usr/bin:/bin"})
    log = folder / "syslog"
    return done.stdout + done.stderr, log.read_text() if log.exists() else ""


@pytest.mark.parametrize("code", [0, *sorted(ACT | CONTINUE)])
def test_cron_sends_mail_only_after_codes_that_need_someone(jobs, tmp_path, code):
    mail, log = run_job(jobs[0], tmp_path, code)
    assert bool(mail) == (code in ACT) and (str(code) in mail or not mail), mail
    assert log == "report\nlog\n"


@pytest.mark.parametrize("code", [0, 2, 7])
def test_cron_sends_the_status_of_a_night_that_is_not_published(jobs, tmp_path, code):
    mail, _ = run_job(jobs[1], tmp_path, code)
    assert mail == ("report\nlog\n" if code else "")


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


def test_hadolint_finds_nothing_wrong_with_the_image():
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


def test_the_image_has_the_program_that_the_profile_builds(dockerfile, image):
    profile, = re.findall(r"cargo build .*--profile (\w+)", " ".join(step["value"] for step in dockerfile))
    assert f"[profile.{profile}]" in (ROOT / "Cargo.toml").read_text()
    assert image["COPY"].startswith(f"--from=build /src/target/{profile}/backlake ")


def test_the_image_does_not_run_as_root(image, cronjob):
    # Kubernetes can only check a user that is a number.
    user = int(image["USER"].split(":")[0])
    context = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"]
    assert user > 0 and context["runAsNonRoot"] and context["runAsUser"] == user


def test_everything_that_the_image_copies_exists(dockerfile):
    copies = [step["value"].split() for step in dockerfile if step["instruction"] == "COPY"]
    sources = [source for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]]
    assert sources and all((ROOT / source).exists() for source in sources), sources


# What distroless/cc has that a program may load. (The build image and this machine are Debian 12, too.)
BASE = ["libc6", "libgcc-s1", "ca-certificates"]


@pytest.fixture
def root(backlake, image, tmp_path):
    """A root folder like the image's: the base's packages, the program where the image copies it, and a list."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the root folder")
    for command in (["update", "-qq"], ["download", "-qq", *BASE]):
        subprocess.run(["apt-get", *command], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    root = tmp_path / "root"
    for package in tmp_path.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True, timeout=60)
    program = root / image["COPY"].split()[-1].lstrip("/")
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(backlake.binary, program)
    for folder in ("tmp", "lake", "dev"):
        (root / folder).mkdir()
    (root / "pages.txt").write_text("https://crates.io/crates/serde\n")
    (root / "pages.toml").write_text('[targets]\npaths = ["/pages.txt"]\n[lake]\nurl = "/lake"\n[api]\nbase_url = "simulator"\n')
    return root


def test_the_program_runs_with_what_the_image_has_read_only_and_not_as_root(root, image):
    user, program = image["USER"].split(":")[0], image["COPY"].split()[-1]
    script = f"""set -e
        mount --bind {root} {root} && mount -o remount,ro,bind {root}
        mount -t tmpfs -o mode=1777 none {root}/tmp && mount -t tmpfs -o mode=0777 none {root}/lake
        ! touch {root}/x 2>/dev/null
        chroot --userspec={user}:{user} {root} {program} run /pages.toml
        ls {root}/lake/_snapshots"""
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and ".json" in done.stdout, done.stdout + done.stderr


# Airflow and Dagster: the examples run against stand-ins, which do what they use.

class Fails(Exception):
    """What is not tried again."""


def example(name):
    """The only example of a section of the README."""
    section, = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", (DEPLOY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    code, = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


def decorator(*args, **options):
    """A decorator with options that leaves the function as it is."""
    return lambda function: function


def outcome(code, exit_code, modules, monkeypatch, tmp_path, call=None):
    """What an example raises if the program ends with this code: an exception, and whether it is tried again."""
    for name, members in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**members))
    program = tmp_path / "backlake"
    program.write_text(f"#!/bin/sh\n[ $1 = run ] || exit 99\nexit {exit_code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    scope = {}
    try:
        exec(compile(code, "example", "exec"), scope)
        if call:
            scope[call]()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("code", [0, *sorted(ACT | CONTINUE)])
def test_airflow_tries_again_only_after_codes_that_need_nobody(monkeypatch, tmp_path, code):
    modules = {"airflow": {}, "airflow.exceptions": {"AirflowFailException": Fails},
               "airflow.sdk": {"dag": decorator, "task": decorator}}
    error = outcome(example("Airflow"), code, modules, monkeypatch, tmp_path)
    assert (error is None) == (code == 0) and isinstance(error, Fails) == (code in ACT), error


@pytest.mark.parametrize("code", [0, *sorted(ACT | CONTINUE)])
def test_dagster_tries_again_only_after_codes_that_need_nobody(monkeypatch, tmp_path, code):
    class Failure(Exception):
        def __init__(self, description, *, allow_retries):
            super().__init__(description)
            self.allow_retries = allow_retries

    members = {"asset": decorator, "Failure": Failure}
    members |= {name: lambda *args, **options: None for name in ("RetryPolicy", "Definitions", "ScheduleDefinition")}
    error = outcome(example("Dagster"), code, {"dagster": members}, monkeypatch, tmp_path, call="backlinks")
    assert (error is None) == (code == 0), error
    assert error is None or error.allow_retries == (code not in ACT), error


# The commands

def test_every_flag_of_the_commands_exists(backlake, jobs, cronjob):
    container, = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    commands = [container["args"]]
    for unit in (unit for unit in UNITS if unit.endswith(".service")):
        start, = unit_values(unit, "ExecStart")
        commands.append(shlex.split(start)[1:])
    for job in jobs:
        commands.append(shlex.split(*re.findall(r"/usr/local/bin/backlake (.*?) 2>&1", job.command)))
    assert sorted(args[0] for args in commands) == ["run", "run", "run", "status", "status"]
    for args in commands:
        known = re.findall(r"--[a-z-]+", backlake(args[0], "--help"))
        assert {arg for arg in args if arg.startswith("--")} <= set(known), args
